"""The files of a download over HTTP: one row a file. What is in them: `/jobs/{id}/files/{path}`."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from crawler.config.model import UrlsConfig
from crawler.service.http.app_context import AppContext
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
from crawler.service.jobs.download_run import DownloadRun
from crawler.service.results.downloaded_files import FILE_STATES, FileEntry, entries

STATE: Final = Param("state", "Only files in these states", words_of(FILE_STATES), example="failed")


class DownloadList(msgspec.Struct, frozen=True):
    """Files of a download, in the order they were ordered in; none, where the job is a crawl."""

    downloads: tuple[FileEntry, ...]
    next: str | None


class DownloadsApi:
    """`routes()` is what the server answers."""

    def __init__(self, parts: AppContext) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/jobs/{id}/downloads", "listDownloads",
                  "A download's files, each with its state", self.downloads,
                  params=(JOB, STATE, CURSOR, LIMIT),
                  gives={200: ("DownloadList", JSON, "A page of files")}, fails=(404, 422)),
        ]  # fmt: skip

    async def downloads(self, request: Request) -> Response:
        job = await self._parts.job(request)
        wanted = paging(request)
        shift = self._parts.foreman.shifts.get(job.id)
        rows = await asyncio.to_thread(
            entries,
            self._parts.foreman.folder_of(job.id),
            await self._parts.register.files(job.id),
            msgspec.convert(job.config.get("urls", {}), UrlsConfig),
            receiving=shift.receiving() if isinstance(shift, DownloadRun) else {},
            states=among(request, "state", FILE_STATES),
            after=wanted.after or 0,
            limit=wanted.read,
        )
        return json(DownloadList(*wanted.page(rows, lambda row: row.number)))
