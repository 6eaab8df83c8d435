"""Jobs over HTTP: create, list, show, delete, the actions of `ACTIONS`, the files of a download."""

from __future__ import annotations

import asyncio
import functools
import re
import shutil
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from crawler.config.model import UrlsConfig
from crawler.service.http.access import Role
from crawler.service.http.app_context import AppContext, caller
from crawler.service.http.routes import (
    CURSOR,
    JOB_ID,
    JSON,
    LIMIT,
    Param,
    Problem,
    Route,
    choices_of,
    choices_schema,
    json,
    paging,
)
from crawler.service.http.views import JobList, job_view
from crawler.service.jobs.crawl_job_request import config_tree
from crawler.service.jobs.data_folder import move_to_trash
from crawler.service.jobs.job import ACTIONS, ACTIVE_STATES, JobKind, JobState
from crawler.service.results.job_files import FILE_STATES, FileEntry, file_entries

KINDS: Final = tuple(kind.value for kind in JobKind)

STATES: Final = tuple(state.value for state in JobState)

_IDEMPOTENCY_KEY: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")

IDEMPOTENCY_PARAM: Final = Param(
    "Idempotency-Key",
    "A value you choose: the same value again returns the same job",
    {"type": "string", "pattern": f"^{_IDEMPOTENCY_KEY.pattern}$"},
    "header",
)


class JobsApi:
    """Routes of jobs."""

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._create_lock = asyncio.Lock()  # between the check of the queue limit and the insert

    def routes(self) -> list[Route]:
        actions = {
            "pause": "Finish URLs in progress, then wait",
            "resume": "Resume a paused job",
            "cancel": "Stop for good; results stay",
            "retry": "Resume a failed or cancelled job where it stopped",
        }
        job_response = {200: ("JobView", JSON, "The job")}
        return [
            Route("POST", "/jobs", "createJob", "Start a crawl, or a download", self.create,
                  Role.ADMIN, params=(IDEMPOTENCY_PARAM,), body="NewJob",
                  responses={201: ("JobView", JSON, "The new job"),
                             200: ("JobView", JSON, "The job with this Idempotency-Key")},
                  error_statuses=(422, 429)),
            Route("GET", "/jobs", "listJobs", "Jobs, newest first", self.list_jobs,
                  params=(
                      Param("state", "Only these states, comma-separated", choices_schema(STATES),
                            example="running,queued"),
                      Param("kind", "Only jobs of this kind", {"enum": list(KINDS)}),
                      Param("name", "Only names that contain this",
                            {"type": "string", "maxLength": 200}),
                      CURSOR, LIMIT),
                  responses={200: ("JobList", JSON, "A page of jobs")}, error_statuses=(422,)),
            Route("GET", "/jobs/{id}", "getJob", "One job, with its live figures", self.get,
                  params=(JOB_ID,), responses=job_response, error_statuses=(404,)),
            Route("DELETE", "/jobs/{id}", "deleteJob", "Delete a job and its folder",
                  self.delete, Role.ADMIN, params=(JOB_ID,), responses={204: ("", "", "Deleted")},
                  error_statuses=(404, 409)),
            *(
                Route("POST", f"/jobs/{{id}}/{action}", f"{action}Job", summary,
                      functools.partial(self.apply_action, action=action), Role.ADMIN,
                      params=(JOB_ID,),
                      responses=job_response, error_statuses=(404, 409))
                for action, summary in actions.items()
            ),
        ]  # fmt: skip

    async def create(self, request: Request) -> Response:
        token = caller(request)
        context = self._context
        new = context.read_request(request.state.body, token.name)
        key = request.headers.get("idempotency-key")
        if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
            raise Problem(422, "Idempotency-Key: 1 to 100 letters, digits, dots, dashes")
        async with self._create_lock:
            await self._check_queue_limits(token.name)
            job, is_new = await context.store.create(
                name=new.name,
                owner=token.name,
                config=config_tree(new.config),
                webhooks=new.webhooks,
                key=key,
                files=new.files,
            )
        view = job_view(job, context.supervisor.active_runs.get(job.id), detailed=True)
        return json(view, 201 if is_new else 200, {"location": f"/jobs/{job.id}"})

    async def _check_queue_limits(self, owner: str) -> None:
        """Raises Problem 429 when the queue is full."""
        for counted_owner, limit in ((owner, self._context.access.limits_of(owner)),
                           (None, self._context.config.limits())):  # fmt: skip
            if limit.queued is None:
                continue
            counts = await self._context.store.count_by_state(counted_owner)
            waiting = sum(counts.get(state, 0) for state in (JobState.QUEUED, JobState.HELD))
            if waiting >= limit.queued:
                whose = "the queue is" if counted_owner is None else "your queue is"
                raise Problem(
                    429, f"{whose} full: {waiting} jobs wait", headers={"retry-after": "60"}
                )

    async def list_jobs(self, request: Request) -> Response:
        if len(request.query_params.get("name", "")) > 200:
            raise Problem(422, "name: longer than 200 characters")
        kinds = choices_of(request, "kind", KINDS)
        if len(kinds) > 1:
            raise Problem(422, "kind: at most one value")
        page = paging(request)
        jobs = await self._context.store.find(
            states=choices_of(request, "state", STATES),
            kind=kinds[0] if kinds else None,
            name=request.query_params.get("name"),
            before=page.after,
            limit=page.read_limit,
        )
        active_runs = self._context.supervisor.active_runs
        shown, following = page.page(jobs, lambda job: job.number)
        return json(
            JobList(
                tuple(job_view(job, active_runs.get(job.id)) for job in shown),
                following,
                await self._context.store.count_by_state(),
            )
        )

    async def get(self, request: Request) -> Response:
        job = await self._context.job(request)
        return json(job_view(job, self._context.supervisor.active_runs.get(job.id), detailed=True))

    async def apply_action(self, request: Request, *, action: str) -> Response:
        assert action in ACTIONS
        job = await self._context.job(request)
        job = await self._context.supervisor.apply_action(job.id, action)
        return json(job_view(job, self._context.supervisor.active_runs.get(job.id), detailed=True))

    async def delete(self, request: Request) -> Response:
        job = await self._context.job(request)
        if job.state in ACTIVE_STATES or job.id in self._context.supervisor.active_runs:
            raise Problem(409, f"the job is {job.state}: cancel it first")
        await self._context.supervisor.delete_remote(job)
        trash = await asyncio.to_thread(move_to_trash, self._context.supervisor.folder_of(job.id))
        await self._context.store.delete(job.id)
        if trash is not None:
            await asyncio.to_thread(shutil.rmtree, trash, ignore_errors=True)
        return Response(status_code=204)


STATE_PARAM: Final = Param(
    "state", "Only files in these states", choices_schema(FILE_STATES), example="failed"
)


class DownloadList(msgspec.Struct, frozen=True):
    """Files of a download, in the order of its request; empty when the job is a crawl."""

    downloads: tuple[FileEntry, ...]
    next: str | None


class DownloadsApi:
    """Routes of downloads."""

    def __init__(self, context: AppContext) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/jobs/{id}/downloads", "listDownloads",
                  "A download's files, each with its state", self.downloads,
                  params=(JOB_ID, STATE_PARAM, CURSOR, LIMIT),
                  responses={200: ("DownloadList", JSON, "A page of files")},
                  error_statuses=(404, 422)),
        ]  # fmt: skip

    async def downloads(self, request: Request) -> Response:
        job = await self._context.job(request)
        page = paging(request)
        run = self._context.supervisor.active_runs.get(job.id)
        rows = await asyncio.to_thread(
            file_entries,
            self._context.supervisor.folder_of(job.id),
            await self._context.store.download_requests(job.id),
            msgspec.convert(job.config.get("urls", {}), UrlsConfig),
            received_bytes={} if run is None else run.received_bytes(),
            states=choices_of(request, "state", FILE_STATES),
            after=page.after or 0,
            limit=page.read_limit,
        )
        return json(DownloadList(*page.page(rows, lambda row: row.number)))
