"""How a job is run: in this process, or by workers elsewhere. The supervisor sees no difference."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from crawler.config.model import Config
from crawler.config.workdir import FRONTIER, Mode
from crawler.engine.running_crawl import RunningCrawl
from crawler.errors import CrawlerError
from crawler.frontier.sqlite.overview import peek
from crawler.interfaces import Sink
from crawler.service.jobs.job import Job, Totals
from crawler.service.results import crawl_results
from crawler.service.results.crawl_results import HostResult, LinkResult, UrlStory

Opener: TypeAlias = Callable[..., AbstractAsyncContextManager[RunningCrawl]]
"""`build.open_crawl` with what the crawls share, or what stands for it in a test."""

Records: TypeAlias = tuple[list[dict[str, Any]], int | None]
"""Records, and the cursor to go on from; None: that was all."""


class ResultsNotKept(CrawlerError):
    """Nobody keeps what is asked of a job; the message says what is kept."""


class JobRunner(Protocol):
    """One way to run jobs. A job's folder is its own; its name is the job's."""

    async def reached(self, config: Config, folder: Path) -> Totals | None:
        """What earlier runs of the job have done; None: it was never begun. Raises CrawlerError."""
        ...

    def open(
        self,
        config: Config,
        *,
        dir: Path,  # noqa: A002 - as build.open_crawl has it
        mode: Mode,
        sinks: Sequence[Sink],
    ) -> AbstractAsyncContextManager[RunningCrawl]:
        """The job's crawl, as `build.open_crawl` opens one."""
        ...

    async def forget(self, job: Job, *, output: bool) -> None:
        """Drop the job's queue and, with `output`, its records, where they lie elsewhere."""
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
        """Records that are committed, each URL once. Blocking; see `reading.pages`."""
        ...

    async def links(
        self, config: Config, folder: Path, *, states: Collection[str], after: int, limit: int
    ) -> list[LinkResult]:
        """As `reading.links`, and the others as theirs; beside what those raise: NotKept."""
        ...

    async def hosts(self, config: Config, folder: Path, *, limit: int) -> list[HostResult]: ...

    async def why(self, config: Config, folder: Path, url: str) -> UrlStory | None: ...


class LocalRunner:
    """In this process, the queue in the job's folder."""

    pages: Final = staticmethod(crawl_results.pages)

    def __init__(self, opener: Opener) -> None:
        self.open: Final = opener

    async def reached(self, config: Config, folder: Path) -> Totals | None:  # noqa: ARG002
        path = folder / FRONTIER
        return await asyncio.to_thread(_reached, path) if path.exists() else None

    async def forget(self, job: Job, *, output: bool) -> None:
        """Nothing of it lies elsewhere."""

    async def links(
        self,
        config: Config,  # noqa: ARG002 - the folder knows it all
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

    async def why(self, config: Config, folder: Path, url: str) -> UrlStory | None:
        return await asyncio.to_thread(crawl_results.why, folder, url, config.urls)


def _reached(path: Path) -> Totals:
    """What the job's frontier says it has done. Blocking."""
    view = peek(path)
    counts = view.counts
    return Totals(
        pages=counts.pages,
        visits=counts.done + counts.moved + counts.unchanged + counts.failed,
        failed=counts.failed,
        bytes_wire=view.bytes_wire,
        queued=counts.pending,
    )
