"""What is not about one job: tokens, schedules, the audit trail, the form's schema."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from crawler.service.http.access import NAME, AccessToken, Role
from crawler.service.http.admin_views import (
    AuditList,
    AuditRow,
    ScheduleList,
    ScheduleView,
    TokenList,
    TokenView,
)
from crawler.service.http.app_context import AppContext, caller
from crawler.service.http.problem import Problem, missing
from crawler.service.http.routes import CURSOR, JSON, LIMIT, Param, Route, json, paging
from crawler.service.http.schema import job_schema
from crawler.service.http.views import moment
from crawler.service.jobs import download_job_request
from crawler.service.jobs.crawl_job_request import public
from crawler.service.jobs.cron import CronSchedule, CronScheduler
from crawler.service.jobs.job import JobLimits
from crawler.service.jobs.request_body import HIDDEN, InvalidBody, without_login

_NAME: Final = Param(
    "name", "Letters, digits, dots, dashes", {"type": "string", "pattern": f"^{NAME.pattern}$"},
    "path", "nightly",
)  # fmt: skip


class NewToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token to be made. Its value is chosen by the service and told once."""

    name: str
    role: Role = Role.READ
    limits: JobLimits = JobLimits()


class NewSchedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A job and its times: a cron expression of five fields, in a time zone."""

    cron: str
    job: dict[str, Any]
    zone: str = "UTC"


class AdminApi:
    """`routes()` is what the server answers."""

    def __init__(self, parts: AppContext, timetable: CronScheduler) -> None:
        self._parts = parts
        self._timetable = timetable

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/schedules", "listSchedules", "Schedules by name", self.schedules,
                  gives={200: ("ScheduleList", JSON, "All of them")}),
            Route("PUT", "/schedules/{name}", "putSchedule", "Make or replace a schedule",
                  self.put_schedule, Role.ADMIN, params=(_NAME,), body="NewSchedule",
                  gives={200: ("ScheduleView", JSON, "As it is now")}, fails=(422,)),
            Route("DELETE", "/schedules/{name}", "deleteSchedule", "Drop a schedule; its jobs stay",
                  self.drop_schedule, Role.ADMIN, params=(_NAME,),
                  gives={204: ("", "", "It is gone")}, fails=(404, 422)),
            Route("GET", "/tokens", "listTokens", "Tokens, without their values", self.tokens,
                  Role.ADMIN, gives={200: ("TokenList", JSON, "All of them")}),
            Route("POST", "/tokens", "createToken", "Make a token", self.make_token, Role.ADMIN,
                  body="NewToken",
                  gives={201: ("TokenView", JSON, "With its value, this once")},
                  fails=(409, 422)),
            Route("DELETE", "/tokens/{name}", "deleteToken", "Drop a token", self.drop_token,
                  Role.ADMIN, params=(_NAME,), gives={204: ("", "", "It is gone")},
                  fails=(404, 409, 422)),
            Route("GET", "/audit", "listAudit", "Who changed what, the newest first", self.audit,
                  Role.ADMIN, params=(CURSOR, LIMIT),
                  gives={200: ("AuditList", JSON, "A page of changes")}, fails=(422,)),
            Route("GET", "/schema", "getSchema",
                  "What a job's body may say: a JSON schema with help and defaults", self.schema,
                  gives={200: ("Schema", JSON, "JSON schema, draft 2020-12")}),
        ]  # fmt: skip

    # ── schedules ────────────────────────────────────────────────────────────────────────────

    async def schedules(self, request: Request) -> Response:  # noqa: ARG002 - every route has one
        return json(ScheduleList(tuple(_schedule(one) for one in await self._timetable.all())))

    async def put_schedule(self, request: Request) -> Response:
        asked = convert(request.state.body, NewSchedule)
        name = _named(request)
        made = await self._timetable.put(
            name, caller(request).name, asked.cron, asked.zone, asked.job
        )
        return json(_schedule(made))

    async def drop_schedule(self, request: Request) -> Response:
        if not await self._timetable.drop(_named(request)):
            raise missing("schedule")
        return Response(status_code=204)

    # ── tokens ───────────────────────────────────────────────────────────────────────────────

    async def tokens(self, request: Request) -> Response:  # noqa: ARG002
        return json(TokenList(tuple(_token(one) for one in self._parts.access.all())))

    async def make_token(self, request: Request) -> Response:
        asked = convert(request.state.body, NewToken)
        if not NAME.fullmatch(asked.name):
            raise InvalidBody("letters, digits, dots and dashes, 64 at most", "/name")
        access = self._parts.access
        if access.open and asked.role is not Role.ADMIN:
            raise Problem(
                409, "the first token must be an admin's: without one nobody could change anything"
            )
        secret = await access.make(asked.name, asked.role, asked.limits)
        if secret is None:
            raise Problem(409, "a token of that name exists")
        limits = msgspec.structs.asdict(asked.limits)
        return json(TokenView(asked.name, asked.role, None, limits, secret), 201)

    async def drop_token(self, request: Request) -> Response:
        name = _named(request)
        access = self._parts.access
        if access.is_given(name):
            raise Problem(409, "it comes from the environment: it ends with the service")
        if access.is_last_admin(name):
            raise Problem(409, "it is the last admin's")
        if not await access.drop(name):
            raise missing("token")
        return Response(status_code=204)

    # ── the rest ─────────────────────────────────────────────────────────────────────────────

    async def audit(self, request: Request) -> Response:
        wanted = paging(request)
        rows = await self._parts.register.audited(wanted.after, wanted.read)
        told = [AuditRow(**{**row, "at": moment(row["at"])}) for row in rows]
        return json(AuditList(*wanted.page(told, lambda row: row.id)))

    async def schema(self, request: Request) -> Response:  # noqa: ARG002
        return json(job_schema(self._parts))


def convert(body: object, kind: Any) -> Any:
    """A body as one of our records. Raises Invalid."""
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at ")
        raise InvalidBody(message, where.strip("`").removeprefix("$").replace(".", "/")) from error


def _named(request: Request) -> str:
    name: str = request.path_params["name"]
    if not NAME.fullmatch(name):
        raise Problem(422, "name: letters, digits, dots and dashes, 64 at most")
    return name


def _token(token: AccessToken) -> TokenView:
    return TokenView(
        token.name,
        token.role,
        moment(token.created_at) if token.created_at else None,
        msgspec.structs.asdict(token.limits),
    )


def _schedule(schedule: CronSchedule) -> ScheduleView:
    body = dict(schedule.request)
    extras = body.pop("job", None)
    files = body.pop("files", None)
    shown = public(body) if files is None else public(body, download_job_request.is_open)
    if isinstance(files, list):
        shown["files"] = [_file(one) for one in files]
    if isinstance(extras, dict):
        hooks = [
            {**hook, "secret": None, "url": without_login(hook["url"])}
            for hook in extras.get("webhooks", ())
        ]
        shown["job"] = {**extras, "webhooks": hooks} if hooks else extras
    return ScheduleView(
        schedule.name,
        schedule.owner,
        schedule.cron,
        schedule.zone,
        moment(schedule.next_at) or "",
        schedule.last_job,
        shown,
    )


def _file(asked: Any) -> Any:
    """A file of a schedule's download, without logins and what its headers say."""
    if isinstance(asked, str):
        return without_login(asked)
    shown = {**asked, "url": without_login(asked["url"])}
    if "headers" in shown:
        shown["headers"] = dict.fromkeys(shown["headers"], HIDDEN)
    if "mirrors" in shown:
        shown["mirrors"] = [without_login(one) for one in shown["mirrors"]]
    return shown
