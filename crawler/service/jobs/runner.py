"""Where a job runs: in this process, or on workers elsewhere. The supervisor sees no difference."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from crawler.config.model import Config
from crawler.config.workdir import FRONTIER, Mode
from crawler.engine.running_crawl import RunningCrawl
from crawler.errors import ConfigError
from crawler.frontier.sqlite.overview import peek
from crawler.interfaces import Sink
from crawler.service.jobs.job import Job, JobKind, Totals
from crawler.service.results import crawl_results
from crawler.service.results.crawl_results import HostResult, LinkResult, UrlStory

CrawlOpener: TypeAlias = Callable[..., AbstractAsyncContextManager[RunningCrawl]]
"""`crawl_setup.open_crawl` with the resources that jobs share, or a test's replacement."""

Records: TypeAlias = tuple[list[dict[str, Any]], int | None]
"""Records, and the cursor of the next page; None: there are no more."""


class JobRunner(Protocol):
    """One place where jobs run. `folder` is the job's own; its name is the job's id."""

    async def progress(self, config: Config, folder: Path) -> Totals | None:
        """Totals of the job's earlier runs; None: it has not run yet. Raises CrawlerError."""
        ...

    def open(
        self,
        config: Config,
        *,
        dir: Path,  # noqa: A002 - as crawl_setup.open_crawl has it
        mode: Mode,
        sinks: Sequence[Sink],
    ) -> AbstractAsyncContextManager[RunningCrawl]:
        """Open the job's crawl, as `crawl_setup.open_crawl` does."""
        ...

    async def delete_remote(self, job: Job, *, output: bool) -> None:
        """Delete what is stored outside of the job's folder: its queue and, with `output`, its
        records.
        """
        ...

    def pages(
        self,
        folder: Path,
        *,
        after: int = 0,
        limit: int = 100,
        outcomes: Collection[str] = (),
        statuses: Collection[int] = (),
    ) -> Records:
        """Committed records, each URL once. Blocking; see `crawl_results.pages`."""
        ...

    async def links(
        self, config: Config, folder: Path, *, states: Collection[str], after: int, limit: int
    ) -> list[LinkResult]:
        """As `crawl_results.links`, and the next two likewise; may also raise ResultsNotKept."""
        ...

    async def hosts(self, config: Config, folder: Path, *, limit: int) -> list[HostResult]: ...

    async def explain(self, config: Config, folder: Path, url: str) -> UrlStory | None: ...


class LocalRunner:
    """Runs jobs in this process, with the frontier in the job's folder."""

    pages: Final = staticmethod(crawl_results.pages)

    def __init__(self, opener: CrawlOpener) -> None:
        self.open: Final = opener

    async def progress(self, config: Config, folder: Path) -> Totals | None:  # noqa: ARG002
        path = folder / FRONTIER
        return await asyncio.to_thread(_totals_of, path) if path.exists() else None

    async def delete_remote(self, job: Job, *, output: bool) -> None:
        """Nothing is stored outside of the job's folder."""

    async def links(
        self,
        config: Config,  # noqa: ARG002 - the folder has everything
        folder: Path,
        *,
        states: Collection[str],
        after: int,
        limit: int,
    ) -> list[LinkResult]:
        return await asyncio.to_thread(
            crawl_results.links, folder, states=states, after=after, limit=limit
        )

    async def hosts(self, config: Config, folder: Path, *, limit: int) -> list[HostResult]:  # noqa: ARG002
        return await asyncio.to_thread(crawl_results.hosts, folder, limit=limit)

    async def explain(self, config: Config, folder: Path, url: str) -> UrlStory | None:
        return await asyncio.to_thread(crawl_results.explain, folder, url, config.urls)


def _totals_of(path: Path) -> Totals:
    """Totals from the job's frontier. Blocking."""
    view = peek(path)
    counts = view.counts
    return Totals(
        pages=counts.pages,
        visits=counts.done + counts.moved + counts.unchanged + counts.failed,
        failed=counts.failed,
        bytes_wire=view.bytes_wire,
        queued=counts.pending,
    )


class RunnerTable:
    """Chooses a job's runner by the `frontier.url` of its configuration, which never changes.

    Workers' output folders are below `outputs`.
    """

    def __init__(self, local: LocalRunner, outputs: Path) -> None:
        self._local = local
        self._outputs = outputs
        self._redis: JobRunner | None = None

    def runner_for(self, job: Job) -> JobRunner:
        """Downloads always run locally. Raises ConfigError when the redis extra is missing."""
        local = job.kind is JobKind.DOWNLOAD
        if local or msgspec.convert(job.config, Config).frontier.url is None:
            return self._local
        if self._redis is None:
            demand_redis()
            from crawler.service.cluster.redis_runner import RedisRunner  # noqa: PLC0415 - an extra

            self._redis = RedisRunner(self._outputs)
        return self._redis


def demand_redis() -> None:
    """Raises ConfigError when the redis extra is not installed."""
    if importlib.util.find_spec("redis") is None:
        raise ConfigError("frontier.url needs redis: pip install 'crawler[redis]'")
