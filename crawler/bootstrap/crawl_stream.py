"""The library's `crawl()`: an async iterator. No signal handler, no global state."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crawler.errors import ConfigError
from crawler.records import CrawlResult, Outcome

if TYPE_CHECKING:
    from crawler.config.model import Config

_END = None


class CrawlStream:
    """A sink that hands visits to whoever iterates; a slow reader slows the crawl, not the memory.

    Implements `protocols.Sink`. A visit is handed over before it is crossed off, so after a crash
    some may be seen again: at least once, where files are exactly once.
    """

    name = "stream"

    def __init__(self, ahead: int = 256) -> None:
        self.visits: asyncio.Queue[CrawlResult | None] = asyncio.Queue(ahead)
        self._abandoned = False

    async def append(self, visits: Sequence[CrawlResult]) -> int:
        for visit in visits:
            if self._abandoned:
                break
            await self.visits.put(visit)
        return 0

    async def cut(self, mark: int) -> None:
        """Nothing to cut."""

    def abandon(self) -> None:
        """Nobody reads any more: let whoever waits go on."""
        self._abandoned = True
        while not self.visits.empty():
            self.visits.get_nowait()


async def crawl(
    *urls: str,
    config: Config | None = None,
    dir: Path | str | None = None,  # noqa: A002 - the word that everyone uses for it
    resume: bool = False,
    **settings: Any,
) -> AsyncIterator[CrawlResult]:
    """Yield each page of a crawl as soon as it is done.

    `async for page in crawl("https://…", max_pages=100): …`

    `settings` are configuration keys by their last name (`max_pages`, `scope`, `concurrency`,
    `max_depth`, `fast` …), on top of `config`. Without `dir` the frontier lies in a temporary
    folder and nothing is kept. Leaving the loop early stops the crawl. Only fetched pages are
    yielded; for every visit, the tally and stop: `open_crawl`. Raises ConfigError, FatalError.
    """
    from crawler.bootstrap.crawl_setup import open_crawl  # noqa: PLC0415 - aiohttp costs 0.2 s; only who crawls pays
    from crawler.config.loader import with_settings  # noqa: PLC0415

    if config is None and not urls:
        raise ConfigError("crawl: no URL given")
    chosen = with_settings(config, seeds=urls, **settings)
    stream = CrawlStream()
    with tempfile.TemporaryDirectory(prefix="crawler-") as scratch:
        folder = Path(dir) if dir is not None else Path(scratch)
        async with open_crawl(
            chosen, dir=folder, mode="resume" if resume else "new", sinks=[stream]
        ) as running:

            async def run() -> None:
                try:
                    await running.run()
                finally:
                    await stream.visits.put(_END)

            task = asyncio.create_task(run(), name="crawl")
            try:
                while (visit := await stream.visits.get()) is not None:
                    if visit.outcome is Outcome.DONE:
                        yield visit
            finally:
                running.abort()
                stream.abandon()
                await task
