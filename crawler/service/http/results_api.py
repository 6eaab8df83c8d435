"""Results of a job over HTTP: pages, links, errors, hosts, one URL's history, files, report."""

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
from crawler.service.http.routes import (
    CURSOR,
    JOB_ID,
    JSON,
    LIMIT,
    Paging,
    Param,
    Problem,
    Route,
    choices_of,
    choices_schema,
    int_param,
    json,
    not_found,
    paging,
)
from crawler.service.http.views import FileList, HostList, LinkList, PageList
from crawler.service.jobs.job import Job
from crawler.service.jobs.kinds import handler_of
from crawler.service.results import job_files
from crawler.service.results.crawl_results import ResultsNotKept

OUTCOMES: Final = tuple(outcome.value for outcome in Outcome if outcome is not Outcome.RETRY)

REFUSED: Final = tuple(state for state in STATES if state in {"skipped", "refused", "braked"})
"""States of links that a rule of the crawl or of the site excluded."""

PATH_CHARS_MAX: Final = 4096
"""Longest path on Linux (PATH_MAX)."""

URL_CHARS_MAX: Final = 8192

SANDBOX: Final = {
    "content-security-policy": (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    ),
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}
"""Headers of files that contain text of other sites: their scripts must not run in our origin."""


class ResultsApi:
    """Routes of results. Files and databases are read in threads, one page at a time."""

    def __init__(self, context: AppContext) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        links, paged = {200: ("LinkList", JSON, "A page of URLs")}, (JOB_ID, CURSOR, LIMIT)
        return [
            Route("GET", "/jobs/{id}/pages", "listPages", "Records, in the order of writing",
                  self.pages, params=(
                      JOB_ID,
                      Param("outcome", "Only these outcomes", choices_schema(OUTCOMES),
                            example="done"),
                      Param("status", "Only this HTTP status",
                            {"type": "integer", "minimum": 100, "maximum": 999}, example=404),
                      CURSOR, LIMIT),
                  responses={200: ("PageList", JSON, "Records; may be none before the last page")},
                  error_statuses=(404, 422)),
            Route("GET", "/jobs/{id}/links", "listLinks", "Every URL that was found", self.links,
                  params=(JOB_ID, Param("state", "Only these states", choices_schema(STATES),
                                     example="queued,resting"), CURSOR, LIMIT),
                  responses=links, error_statuses=(404, 409, 422)),
            Route("GET", "/jobs/{id}/skipped", "listSkipped", "URLs that a rule refused",
                  functools.partial(self.links, states=REFUSED), params=paged,
                  responses=links, error_statuses=(404, 409, 422)),
            Route("GET", "/jobs/{id}/errors", "listErrors",
                  "URLs that failed, with the page that links to them: broken links",
                  functools.partial(self.links, states=("failed",)), params=paged,
                  responses=links, error_statuses=(404, 409, 422)),
            Route("GET", "/jobs/{id}/hosts", "listHosts",
                  "Hosts, those with the most work left first", self.hosts,
                  params=(JOB_ID, LIMIT), responses={200: ("HostList", JSON, "Hosts")},
                  error_statuses=(404, 409, 422)),
            Route("GET", "/jobs/{id}/why", "explainUrl", "All that is known of one URL",
                  self.explain,
                  params=(JOB_ID, Param("url", "The URL", {"type": "string", "minLength": 1,
                                                        "maxLength": URL_CHARS_MAX},
                                     example="https://example.com/")),
                  responses={200: ("Story", JSON, "How it was found and what became of it")},
                  error_statuses=(404, 409, 422)),
            Route("GET", "/jobs/{id}/files", "listFiles", "Files to download", self.files,
                  params=(JOB_ID, Param("cursor", "`next` of the previous page",
                                     {"type": "string", "maxLength": PATH_CHARS_MAX}), LIMIT),
                  responses={200: ("FileList", JSON, "Files")}, error_statuses=(404, 422)),
            Route("GET", "/jobs/{id}/files/{path}", "getFile", "Download a file, or a range of it",
                  self.file, params=(JOB_ID, Param("path", "As in the list of files",
                                                {"type": "string", "minLength": 1}, "path",
                                                "pages.jsonl")),
                  responses={200: ("", "application/octet-stream", "The file"),
                         206: ("", "application/octet-stream", "The range asked for")},
                  error_statuses=(400, 404, 416)),
            Route("GET", "/jobs/{id}/report", "getReport", "The report, as HTML", self.report,
                  params=(JOB_ID,), error_statuses=(404,),
                  responses={200: ("", "text/html", "The report")}),
        ]  # fmt: skip

    async def pages(self, request: Request) -> Response:
        job = await self._context.job(request)
        statuses = (
            [int_param(request, "status", 0, 100, 999)] if "status" in request.query_params else []
        )
        page = paging(request)
        found, next_position = await self._read(
            job,
            self._context.supervisor.runner_for(job).pages,
            after=page.after or 0,
            limit=page.limit,
            outcomes=choices_of(request, "outcome", OUTCOMES),
            statuses=statuses,
        ) or ([], None)
        return json(PageList(tuple(found), None if next_position is None else str(next_position)))

    async def links(self, request: Request, *, states: tuple[str, ...] = ()) -> Response:
        job = await self._context.job(request)
        page = paging(request)
        rows = await self._query(
            job,
            self._context.supervisor.runner_for(job).links,
            states=states or choices_of(request, "state", STATES),
            after=page.after or 0,
            limit=page.read_limit,
        )
        return json(LinkList(*page.page(rows or [], lambda row: row.id)))

    async def hosts(self, request: Request) -> Response:
        job = await self._context.job(request)
        hosts = self._context.supervisor.runner_for(job).hosts
        rows = await self._query(job, hosts, limit=int_param(request, "limit", 100)) or []
        return json(HostList(tuple(rows)))

    async def explain(self, request: Request) -> Response:
        job = await self._context.job(request)
        url = request.query_params.get("url", "")
        if not 0 < len(url) <= URL_CHARS_MAX:
            raise Problem(422, f"url: a URL of 1 to {URL_CHARS_MAX} characters")
        story = await self._query(job, self._context.supervisor.runner_for(job).explain, url)
        if story is None:
            raise Problem(404, "this crawl has not found that URL")
        return json(story)

    async def files(self, request: Request) -> Response:
        job = await self._context.job(request)
        page = Paging(None, int_param(request, "limit", 100))  # the cursor is a path here
        after = request.query_params.get("cursor", "")
        if len(after) > PATH_CHARS_MAX:
            raise Problem(422, "cursor: not a value that this API returned")
        folder = self._context.supervisor.folder_of(job.id)
        limit = page.read_limit
        rows = await handler_of(job).list_files(folder, after=after, limit=limit)
        return json(FileList(*page.page(rows, lambda row: row.path)))

    async def file(self, request: Request) -> Response:
        job = await self._context.job(request)
        folder = self._context.supervisor.folder_of(job.id)
        path = await handler_of(job).locate_file(folder, request.path_params["path"])
        if path is None:
            raise not_found("file")
        name = quote(path.name)
        return FileResponse(
            path,
            headers={**SANDBOX, "content-disposition": f"attachment; filename*=utf-8''{name}"},
            media_type="application/octet-stream",
        )

    async def report(self, request: Request) -> Response:
        job = await self._context.job(request)
        folder = self._context.supervisor.folder_of(job.id)
        path = await asyncio.to_thread(job_files.locate_crawl_file, folder, "report.html")
        if path is None:
            raise Problem(404, "there is no report: it is written when a crawl ends")
        return FileResponse(path, headers=SANDBOX, media_type="text/html")

    async def _query(self, job: Job, method: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a method of a job's runner. None: the job has no results yet.

        Raises Problem 409: the results are not kept; 503: the Redis server does not respond.
        """
        config = msgspec.convert(job.config, Config)
        try:
            return await method(config, self._context.supervisor.folder_of(job.id), *args, **kwargs)
        except FileNotFoundError:
            return None
        except ResultsNotKept as error:
            raise Problem(409, str(error)) from error
        except FrontierError as error:
            if config.frontier.url is None:
                raise
            raise Problem(503, str(error)) from error

    async def _read(self, job: Job, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a function in a thread. None: the job has no results yet. Raises Problem 422."""
        folder = self._context.supervisor.folder_of(job.id)
        try:
            return await asyncio.to_thread(function, folder, *args, **kwargs)
        except FileNotFoundError:
            return None
        except ConfigError as error:
            raise Problem(422, str(error)) from error
