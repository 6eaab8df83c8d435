"""Administration: tokens, schedules, audit log, and the JSON schema of the dashboard's form."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from crawler.service.http.access import TOKEN_NAME, AccessToken, Role
from crawler.service.http.app_context import AppContext, caller
from crawler.service.http.routes import (
    CURSOR,
    JSON,
    LIMIT,
    Param,
    Problem,
    Route,
    json,
    not_found,
    paging,
)
from crawler.service.http.schema import job_schema
from crawler.service.http.views import rfc3339
from crawler.service.jobs.cron import CronScheduler
from crawler.service.jobs.job import JobLimits
from crawler.service.jobs.kinds import handler_of_body
from crawler.service.jobs.request_body import HIDDEN, InvalidBody, json_pointer, without_login
from crawler.service.jobs.store_tables import CronSchedule

_NAME_PARAM: Final = Param(
    "name", "Letters, digits, dots, dashes",
    {"type": "string", "pattern": f"^{TOKEN_NAME.pattern}$"}, "path", "nightly",
)  # fmt: skip


class NewToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Request for a token. The service chooses its value and returns it once."""

    name: str
    role: Role = Role.READ
    limits: JobLimits = JobLimits()


class NewSchedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Request for a recurring job: a cron expression of five fields, in a time zone."""

    cron: str
    job: dict[str, Any]
    zone: str = "UTC"


class TokenView(msgspec.Struct, frozen=True):
    """A token. Its value `token` is only in the response that creates it."""

    name: str
    role: str
    created_at: str | None
    limits: dict[str, int | None]
    token: str | None = None


class TokenList(msgspec.Struct, frozen=True):
    """All tokens."""

    tokens: tuple[TokenView, ...]


class ScheduleView(msgspec.Struct, frozen=True):
    """A recurring job. `job` is its request body, without secrets."""

    name: str
    owner: str
    cron: str
    zone: str
    next_at: str
    last_job: str | None
    job: dict[str, Any]


class ScheduleList(msgspec.Struct, frozen=True):
    """All schedules, sorted by name."""

    schedules: tuple[ScheduleView, ...]


class AuditRow(msgspec.Struct, frozen=True):
    """Who changed what, and when."""

    id: int
    at: str
    who: str
    what: str
    target: str
    detail: str


class AuditList(msgspec.Struct, frozen=True):
    """Changes, newest first. `next`: cursor of the next page, null: there are no more."""

    audit: tuple[AuditRow, ...]
    next: str | None


class AdminApi:
    """Routes of administration."""

    def __init__(self, context: AppContext, cron_scheduler: CronScheduler) -> None:
        self._context = context
        self._cron_scheduler = cron_scheduler

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/schedules", "listSchedules", "Schedules by name", self.schedules,
                  responses={200: ("ScheduleList", JSON, "All of them")}),
            Route("PUT", "/schedules/{name}", "putSchedule", "Create or replace a schedule",
                  self.put_schedule, Role.ADMIN, params=(_NAME_PARAM,), body="NewSchedule",
                  responses={200: ("ScheduleView", JSON, "The schedule")}, error_statuses=(422,)),
            Route("DELETE", "/schedules/{name}", "deleteSchedule",
                  "Delete a schedule; its jobs stay", self.delete_schedule, Role.ADMIN,
                  params=(_NAME_PARAM,),
                  responses={204: ("", "", "Deleted")}, error_statuses=(404, 422)),
            Route("GET", "/tokens", "listTokens", "Tokens, without their values", self.tokens,
                  Role.ADMIN, responses={200: ("TokenList", JSON, "All of them")}),
            Route("POST", "/tokens", "createToken", "Create a token", self.create_token, Role.ADMIN,
                  body="NewToken",
                  responses={201: ("TokenView", JSON, "The token, with its value")},
                  error_statuses=(409, 422)),
            Route("DELETE", "/tokens/{name}", "deleteToken", "Delete a token", self.delete_token,
                  Role.ADMIN, params=(_NAME_PARAM,), responses={204: ("", "", "Deleted")},
                  error_statuses=(404, 409, 422)),
            Route("GET", "/audit", "listAudit", "Who changed what, newest first", self.audit,
                  Role.ADMIN, params=(CURSOR, LIMIT),
                  responses={200: ("AuditList", JSON, "A page of changes")}, error_statuses=(422,)),
            Route("GET", "/schema", "getSchema",
                  "JSON schema of a job's body, with help and defaults", self.schema,
                  responses={200: ("Schema", JSON, "JSON schema, draft 2020-12")}),
        ]  # fmt: skip

    # ── schedules ────────────────────────────────────────────────────────────────────────────

    async def schedules(self, request: Request) -> Response:  # noqa: ARG002 - every route has one
        return json(
            ScheduleList(
                tuple(_schedule(schedule) for schedule in await self._cron_scheduler.all())
            )
        )

    async def put_schedule(self, request: Request) -> Response:
        new = convert(request.state.body, NewSchedule)
        name = _valid_name(request)
        schedule = await self._cron_scheduler.put(
            name, caller(request).name, new.cron, new.zone, new.job
        )
        return json(_schedule(schedule))

    async def delete_schedule(self, request: Request) -> Response:
        if not await self._cron_scheduler.delete(_valid_name(request)):
            raise not_found("schedule")
        return Response(status_code=204)

    # ── tokens ───────────────────────────────────────────────────────────────────────────────

    async def tokens(self, request: Request) -> Response:  # noqa: ARG002
        return json(TokenList(tuple(_token(token) for token in self._context.access.all())))

    async def create_token(self, request: Request) -> Response:
        new = convert(request.state.body, NewToken)
        if not TOKEN_NAME.fullmatch(new.name):
            raise InvalidBody("letters, digits, dots and dashes, 64 at most", "/name")
        access = self._context.access
        if access.is_open and new.role is not Role.ADMIN:
            raise Problem(
                409, "the first token must have the role admin: without it nothing could be changed"
            )
        secret = await access.create(new.name, new.role, new.limits)
        if secret is None:
            raise Problem(409, "a token of that name exists")
        limits = msgspec.structs.asdict(new.limits)
        return json(TokenView(new.name, new.role, None, limits, secret), 201)

    async def delete_token(self, request: Request) -> Response:
        name = _valid_name(request)
        access = self._context.access
        if access.is_from_environment(name):
            raise Problem(409, "the token comes from the environment and cannot be deleted")
        if access.is_last_admin(name):
            raise Problem(409, "it is the last admin token")
        if not await access.delete(name):
            raise not_found("token")
        return Response(status_code=204)

    # ── audit, schema ─────────────────────────────────────────────────────────────────────────────

    async def audit(self, request: Request) -> Response:
        page = paging(request)
        rows = await self._context.store.audit.before(page.after, page.read_limit)
        shown = [AuditRow(**{**row, "at": rfc3339(row["at"])}) for row in rows]
        return json(AuditList(*page.page(shown, lambda row: row.id)))

    async def schema(self, request: Request) -> Response:  # noqa: ARG002
        return json(job_schema(self._context))


def convert(body: object, kind: Any) -> Any:
    """Convert a body to a record. Raises InvalidBody."""
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at ")
        raise InvalidBody(message, json_pointer(where)) from error


def _valid_name(request: Request) -> str:
    name: str = request.path_params["name"]
    if not TOKEN_NAME.fullmatch(name):
        raise Problem(422, "name: letters, digits, dots and dashes, 64 at most")
    return name


def _token(token: AccessToken) -> TokenView:
    return TokenView(
        token.name,
        token.role,
        rfc3339(token.created_at) if token.created_at else None,
        msgspec.structs.asdict(token.limits),
    )


def _schedule(schedule: CronSchedule) -> ScheduleView:
    body = dict(schedule.request)
    handler = handler_of_body(body)
    options = body.pop("job", None)
    files = body.pop("files", None)
    shown = handler.visible_config(body)
    if isinstance(files, list):
        shown["files"] = [_file(file) for file in files]
    if isinstance(options, dict):
        hooks = [
            {**hook, "secret": None, "url": without_login(hook["url"])}
            for hook in options.get("webhooks", ())
        ]
        shown["job"] = {**options, "webhooks": hooks} if hooks else options
    return ScheduleView(
        schedule.name,
        schedule.owner,
        schedule.cron,
        schedule.zone,
        rfc3339(schedule.next_at) or "",
        schedule.last_job,
        shown,
    )


def _file(file: Any) -> Any:
    """A file of a schedule's download, without logins and header values."""
    if isinstance(file, str):
        return without_login(file)
    shown = {**file, "url": without_login(file["url"])}
    if "headers" in shown:
        shown["headers"] = dict.fromkeys(shown["headers"], HIDDEN)
    if "mirrors" in shown:
        shown["mirrors"] = [without_login(url) for url in shown["mirrors"]]
    return shown
