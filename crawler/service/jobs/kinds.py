"""What differs between the kinds of jobs: one handler per kind, chosen by `handler_of`.

To add a kind, extend `JobKind` and write a handler; supervisor, API and dashboard stay unchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from crawler.downloads.download_request import DownloadRequest
from crawler.service.jobs.crawl_job_request import JobRequest, read_crawl_request, redacted
from crawler.service.jobs.crawl_run import CrawlRun
from crawler.service.jobs.download_job_request import read_download_request, visible_config
from crawler.service.jobs.download_run import DownloadOpener, DownloadRun
from crawler.service.jobs.job import Job, JobKind, JobLimits
from crawler.service.jobs.job_run import JobRun
from crawler.service.results import job_files
from crawler.service.results.job_files import FileRow


class RequestRules(msgspec.Struct, frozen=True):
    """What a request body is validated with.

    `defaults` is the configuration tree every job starts from, `allow` the further keys that the
    operator lets jobs set, `processes` the number of parse processes of a crawl.
    """

    defaults: Mapping[str, Any]
    allow: tuple[str, ...]
    limits: JobLimits
    processes: int = 1


class RunDependencies(msgspec.Struct, frozen=True):
    """What runs need besides their job; see `DownloadRun`."""

    download_opener: DownloadOpener
    load_requests: Callable[[str], Awaitable[tuple[DownloadRequest, ...]]]
    free_min: int
    on_file_done: Callable[[str], None]


class JobKindHandler(Protocol):
    """One kind of jobs."""

    def read_request(self, body: dict[str, Any], rules: RequestRules) -> JobRequest:
        """Validate a request body. Raises InvalidBody."""
        ...

    def visible_config(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration tree for API responses, without secrets."""
        ...

    def make_run(self, job: Job, dependencies: RunDependencies) -> JobRun:
        """A new run of a job that is about to start."""
        ...

    async def list_files(self, folder: Path, *, after: str, limit: int) -> list[FileRow]:
        """Files of a job's folder that can be fetched, sorted by path; only paths > `after`."""
        ...

    async def locate_file(self, folder: Path, relative: str) -> Path | None:
        """A file that can be fetched; None: there is no such file, or it may not be fetched."""
        ...


class _CrawlHandler:
    """Implements `JobKindHandler`."""

    def read_request(self, body: dict[str, Any], rules: RequestRules) -> JobRequest:
        return read_crawl_request(
            body,
            defaults=rules.defaults,
            allow=rules.allow,
            limits=rules.limits,
            processes=rules.processes,
        )

    def visible_config(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        return redacted(tree)

    def make_run(self, job: Job, dependencies: RunDependencies) -> JobRun:  # noqa: ARG002
        return CrawlRun(job)

    async def list_files(self, folder: Path, *, after: str, limit: int) -> list[FileRow]:
        return await asyncio.to_thread(job_files.list_crawl_files, folder, limit, after)

    async def locate_file(self, folder: Path, relative: str) -> Path | None:
        return await asyncio.to_thread(job_files.locate_crawl_file, folder, relative)


class _DownloadHandler:
    """Implements `JobKindHandler`."""

    def read_request(self, body: dict[str, Any], rules: RequestRules) -> JobRequest:
        return read_download_request(
            body, defaults=rules.defaults, allow=rules.allow, limits=rules.limits
        )

    def visible_config(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        return visible_config(tree)

    def make_run(self, job: Job, dependencies: RunDependencies) -> JobRun:
        return DownloadRun(
            job,
            opener=dependencies.download_opener,
            load_requests=dependencies.load_requests,
            free_min=dependencies.free_min,
            on_file_done=dependencies.on_file_done,
        )

    async def list_files(self, folder: Path, *, after: str, limit: int) -> list[FileRow]:
        rows = await asyncio.to_thread(job_files.list_download_files, folder)
        return [row for row in rows if row.path > after][:limit]

    async def locate_file(self, folder: Path, relative: str) -> Path | None:
        return await asyncio.to_thread(job_files.locate_download_file, folder, relative)


HANDLERS: Final[Mapping[JobKind, JobKindHandler]] = {
    JobKind.CRAWL: _CrawlHandler(),
    JobKind.DOWNLOAD: _DownloadHandler(),
}


def handler_of(job: Job) -> JobKindHandler:
    """The handler of a job's kind."""
    return HANDLERS[job.kind]


def handler_of_body(body: Mapping[str, Any]) -> JobKindHandler:
    """The handler of a request body: with a list `files` it asks for a download."""
    return HANDLERS[JobKind.DOWNLOAD if "files" in body else JobKind.CRAWL]
