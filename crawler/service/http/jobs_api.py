"""Jobs over HTTP: make, list, look, and the verbs."""

from __future__ import annotations

import asyncio
import functools
import re
import shutil
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from crawler.service.http.access import Role
from crawler.service.http.app_context import AppContext, caller
from crawler.service.http.problem import Problem
from crawler.service.http.routes import (
    CURSOR,
    JOB,
    JSON,
    LIMIT,
    Param,
    Route,
    among,
    json,
    paging,
    words_of,
)
from crawler.service.http.views import JobList, job_view
from crawler.service.jobs.crawl_job_request import stored
from crawler.service.jobs.job import ACTIVE, VERBS, JobKind, JobState
from crawler.service.jobs.retention import put_away

KINDS: Final = tuple(kind.value for kind in JobKind)

STATES: Final = tuple(state.value for state in JobState)

_KEY: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")

KEY: Final = Param(
    "Idempotency-Key",
    "A word of yours: the same word again answers with the same job",
    {"type": "string", "pattern": f"^{_KEY.pattern}$"},
    "header",
)


class JobsApi:
    """`routes()` is what the server answers."""

    def __init__(self, parts: AppContext) -> None:
        self._parts = parts
        self._making = asyncio.Lock()  # the limit is looked at and used in one step

    def routes(self) -> list[Route]:
        verbs = {
            "pause": "Finish what is in hand, then wait",
            "resume": "Go on with a paused job",
            "cancel": "Stop for good; what was fetched stays",
            "retry": "Go on with a failed or cancelled job where it stopped",
        }
        one = {200: ("JobView", JSON, "The job")}
        return [
            Route("POST", "/jobs", "createJob", "Start a crawl, or a download", self.create,
                  Role.ADMIN, params=(KEY,), body="NewJob",
                  gives={201: ("JobView", JSON, "The new job"),
                         200: ("JobView", JSON, "The job this Idempotency-Key made before")},
                  fails=(422, 429)),
            Route("GET", "/jobs", "listJobs", "Jobs, the newest first", self.listed,
                  params=(
                      Param("state", "Only these states, comma-separated", words_of(STATES),
                            example="running,queued"),
                      Param("kind", "Only jobs of this kind", {"enum": list(KINDS)}),
                      Param("name", "Only names that contain this",
                            {"type": "string", "maxLength": 200}),
                      CURSOR, LIMIT),
                  gives={200: ("JobList", JSON, "A page of jobs")}, fails=(422,)),
            Route("GET", "/jobs/{id}", "getJob", "One job, with what it does now", self.get,
                  params=(JOB,), gives=one, fails=(404,)),
            Route("DELETE", "/jobs/{id}", "deleteJob", "Forget a job and delete its folder",
                  self.delete, Role.ADMIN, params=(JOB,), gives={204: ("", "", "It is gone")},
                  fails=(404, 409)),
            *(
                Route("POST", f"/jobs/{{id}}/{verb}", f"{verb}Job", summary,
                      functools.partial(self.verb, verb=verb), Role.ADMIN, params=(JOB,),
                      gives=one, fails=(404, 409))
                for verb, summary in verbs.items()
            ),
        ]  # fmt: skip

    async def create(self, request: Request) -> Response:
        token = caller(request)
        parts = self._parts
        order = parts.read(request.state.body, token.name)
        key = request.headers.get("idempotency-key")
        if key is not None and not _KEY.fullmatch(key):
            raise Problem(422, "Idempotency-Key: 1 to 100 letters, digits, dots, dashes")
        async with self._making:
            await self._room(token.name)
            job, new = await parts.register.create(
                name=order.name,
                owner=token.name,
                config=stored(order.config),
                webhooks=order.webhooks,
                key=key,
                files=order.files,
            )
        view = job_view(job, parts.foreman.shifts.get(job.id), whole=True)
        return json(view, 201 if new else 200, {"location": f"/jobs/{job.id}"})

    async def _room(self, owner: str) -> None:
        """Raises Problem 429 when the queue is full."""
        for who, limit in ((owner, self._parts.access.limits_of(owner)),
                           (None, self._parts.config.limits())):  # fmt: skip
            if limit.queued is None:
                continue
            counts = await self._parts.register.counts(who)
            waiting = sum(counts.get(state, 0) for state in (JobState.QUEUED, JobState.HELD))
            if waiting >= limit.queued:
                whose = "the queue is" if who is None else "your queue is"
                raise Problem(
                    429, f"{whose} full: {waiting} jobs wait", headers={"retry-after": "60"}
                )

    async def listed(self, request: Request) -> Response:
        if len(request.query_params.get("name", "")) > 200:
            raise Problem(422, "name: longer than 200 characters")
        kinds = among(request, "kind", KINDS)
        if len(kinds) > 1:
            raise Problem(422, "kind: one of them, or none for all")
        wanted = paging(request)
        jobs = await self._parts.register.jobs(
            states=among(request, "state", STATES),
            kind=kinds[0] if kinds else None,
            name=request.query_params.get("name"),
            before=wanted.after,
            limit=wanted.read,
        )
        shifts = self._parts.foreman.shifts
        shown, following = wanted.page(jobs, lambda job: job.number)
        return json(
            JobList(
                tuple(job_view(job, shifts.get(job.id)) for job in shown),
                following,
                await self._parts.register.counts(),
            )
        )

    async def get(self, request: Request) -> Response:
        job = await self._parts.job(request)
        return json(job_view(job, self._parts.foreman.shifts.get(job.id), whole=True))

    async def verb(self, request: Request, *, verb: str) -> Response:
        assert verb in VERBS
        job = await self._parts.job(request)
        job = await self._parts.foreman.ask(job.id, verb)
        return json(job_view(job, self._parts.foreman.shifts.get(job.id), whole=True))

    async def delete(self, request: Request) -> Response:
        job = await self._parts.job(request)
        if job.state in ACTIVE or job.id in self._parts.foreman.shifts:
            raise Problem(409, f"the job is {job.state}: cancel it first")
        await self._parts.foreman.forget(job)
        trash = await asyncio.to_thread(put_away, self._parts.foreman.folder_of(job.id))
        await self._parts.register.delete(job.id)
        if trash is not None:
            await asyncio.to_thread(shutil.rmtree, trash, ignore_errors=True)
        return Response(status_code=204)
