"""What a job has found: pages, links, refusals, errors, stories, hosts, files, the report."""

from __future__ import annotations

import asyncio
import functools
from typing import Any, Final
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from crawler.config.model import Config
from crawler.errors import ConfigError, FrontierError
from crawler.frontier.sqlite.statements import STATES
from crawler.records import Outcome
from crawler.service.http.app_context import AppContext
from crawler.service.http.problem import Problem, missing
from crawler.service.http.routes import (
    CURSOR,
    JOB,
    JSON,
    LIMIT,
    Paging,
    Param,
    Route,
    among,
    json,
    paging,
    whole,
    words_of,
)
from crawler.service.http.views import FileList, HostList, LinkList, PageList
from crawler.service.jobs.job import Job, JobKind
from crawler.service.jobs.runner import ResultsNotKept
from crawler.service.results import downloaded_files, job_files

OUTCOMES: Final = tuple(outcome.value for outcome in Outcome if outcome is not Outcome.RETRY)

REFUSED: Final = tuple(state for state in STATES if state in {"skipped", "refused", "braked"})
"""States that a rule of ours or of the site's put a link in."""

LONGEST: Final = 4096
"""Characters of a path (PATH_MAX)."""

SANDBOX: Final = {
    "content-security-policy": (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    ),
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}
"""For what comes from foreign sites, or quotes them: no script of theirs runs in our origin."""


class ResultsApi:
    """`routes()` is what the server answers. Reading is done in threads, a page at a time."""

    def __init__(self, parts: AppContext) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        links = {200: ("LinkList", JSON, "A page of URLs")}
        paged = (JOB, CURSOR, LIMIT)
        return [
            Route("GET", "/jobs/{id}/pages", "listPages", "Records, in the order of writing",
                  self.pages, params=(
                      JOB,
                      Param("outcome", "Only these outcomes", words_of(OUTCOMES), example="done"),
                      Param("status", "Only this HTTP status",
                            {"type": "integer", "minimum": 100, "maximum": 999}, example=404),
                      CURSOR, LIMIT),
                  gives={200: ("PageList", JSON, "Records; few or none while `next` names more")},
                  fails=(404, 422)),
            Route("GET", "/jobs/{id}/links", "listLinks", "Every URL that was seen", self.links,
                  params=(JOB, Param("state", "Only these states", words_of(STATES),
                                     example="queued,resting"), CURSOR, LIMIT),
                  gives=links, fails=(404, 409, 422)),
            Route("GET", "/jobs/{id}/skipped", "listSkipped", "URLs that a rule refused",
                  functools.partial(self.links, states=REFUSED), params=paged,
                  gives=links, fails=(404, 409, 422)),
            Route("GET", "/jobs/{id}/errors", "listErrors",
                  "URLs that failed, with the page that links to them: broken links",
                  functools.partial(self.links, states=("failed",)), params=paged,
                  gives=links, fails=(404, 409, 422)),
            Route("GET", "/jobs/{id}/hosts", "listHosts",
                  "Hosts, those with the most work left first", self.hosts,
                  params=(JOB, LIMIT), gives={200: ("HostList", JSON, "Hosts")},
                  fails=(404, 409, 422)),
            Route("GET", "/jobs/{id}/why", "explainUrl", "The story of one URL", self.why,
                  params=(JOB, Param("url", "The URL", {"type": "string", "minLength": 1,
                                                        "maxLength": 8192},
                                     example="https://example.com/")),
                  gives={200: ("Story", JSON, "How it was found and what became of it")},
                  fails=(404, 409, 422)),
            Route("GET", "/jobs/{id}/files", "listFiles", "Files to download", self.files,
                  params=(JOB, Param("cursor", "`next` of the page before",
                                     {"type": "string", "maxLength": LONGEST}), LIMIT),
                  gives={200: ("FileList", JSON, "Files")}, fails=(404, 422)),
            Route("GET", "/jobs/{id}/files/{path}", "getFile", "Download a file, or a range of it",
                  self.file, params=(JOB, Param("path", "As in the list of files",
                                                {"type": "string", "minLength": 1}, "path",
                                                "pages.jsonl")),
                  gives={200: ("", "application/octet-stream", "The file"),
                         206: ("", "application/octet-stream", "The range asked for")},
                  fails=(400, 404, 416)),
            Route("GET", "/jobs/{id}/report", "getReport", "The report, as HTML", self.report,
                  params=(JOB,), gives={200: ("", "text/html", "The report")}, fails=(404,)),
        ]  # fmt: skip

    async def pages(self, request: Request) -> Response:
        job = await self._parts.job(request)
        statuses = (
            [whole(request, "status", 0, 100, 999)] if "status" in request.query_params else []
        )
        wanted = paging(request)
        found, place = await self._read(
            job,
            self._parts.foreman.runner_of(job).pages,
            after=wanted.after or 0,
            limit=wanted.limit,
            outcomes=among(request, "outcome", OUTCOMES),
            statuses=statuses,
        ) or ([], None)
        return json(PageList(tuple(found), None if place is None else str(place)))

    async def links(self, request: Request, *, states: tuple[str, ...] = ()) -> Response:
        job = await self._parts.job(request)
        wanted = paging(request)
        rows = await self._ask(
            job,
            self._parts.foreman.runner_of(job).links,
            states=states or among(request, "state", STATES),
            after=wanted.after or 0,
            limit=wanted.read,
        )
        return json(LinkList(*wanted.page(rows or [], lambda row: row.id)))

    async def hosts(self, request: Request) -> Response:
        job = await self._parts.job(request)
        hosts = self._parts.foreman.runner_of(job).hosts
        rows = await self._ask(job, hosts, limit=whole(request, "limit", 100)) or []
        return json(HostList(tuple(rows)))

    async def why(self, request: Request) -> Response:
        job = await self._parts.job(request)
        url = request.query_params.get("url", "")
        if not 0 < len(url) <= 8192:
            raise Problem(422, "url: name one, of at most 8192 characters")
        story = await self._ask(job, self._parts.foreman.runner_of(job).why, url)
        if story is None:
            raise Problem(404, "this crawl never saw that URL")
        return json(story)

    async def files(self, request: Request) -> Response:
        job = await self._parts.job(request)
        wanted = Paging(None, whole(request, "limit", 100))  # by path: `after` is a word here
        after = request.query_params.get("cursor", "")
        if len(after) > LONGEST:
            raise Problem(422, "cursor: not one of ours")
        if job.kind is JobKind.DOWNLOAD:
            every = await self._read(job, downloaded_files.finished)
            rows = [row for row in every if row.path > after]
        else:
            rows = await self._read(job, job_files.files, wanted.read, after) or []
        return json(FileList(*wanted.page(rows, lambda row: row.path)))

    async def file(self, request: Request) -> Response:
        job = await self._parts.job(request)
        folder = self._parts.foreman.folder_of(job.id)
        find = downloaded_files.locate if job.kind is JobKind.DOWNLOAD else job_files.locate
        path = await asyncio.to_thread(find, folder, request.path_params["path"])
        if path is None:
            raise missing("file")
        name = quote(path.name)
        return FileResponse(
            path,
            headers={**SANDBOX, "content-disposition": f"attachment; filename*=utf-8''{name}"},
            media_type="application/octet-stream",
        )

    async def report(self, request: Request) -> Response:
        job = await self._parts.job(request)
        folder = self._parts.foreman.folder_of(job.id)
        path = await asyncio.to_thread(job_files.locate, folder, "report.html")
        if path is None:
            raise Problem(404, "there is no report: it is written when a crawl ends")
        return FileResponse(path, headers=SANDBOX, media_type="text/html")

    async def _ask(self, job: Job, question: Any, *args: Any, **kwargs: Any) -> Any:
        """Of a job's runner. None: nothing is there yet. Raises Problem 409: nobody keeps what is
        asked for, 503: the server that knows it does not answer.
        """
        config = msgspec.convert(job.config, Config)
        try:
            return await question(config, self._parts.foreman.folder_of(job.id), *args, **kwargs)
        except FileNotFoundError:
            return None
        except ResultsNotKept as error:
            raise Problem(409, str(error)) from error
        except FrontierError as error:
            if config.frontier.url is None:
                raise
            raise Problem(503, str(error)) from error

    async def _read(self, job: Job, work: Any, *args: Any, **kwargs: Any) -> Any:
        """In a thread. None: the job has no folder yet. Raises Problem 422 for what cannot be."""
        folder = self._parts.foreman.folder_of(job.id)
        try:
            return await asyncio.to_thread(work, folder, *args, **kwargs)
        except FileNotFoundError:
            return None
        except ConfigError as error:
            raise Problem(422, str(error)) from error
