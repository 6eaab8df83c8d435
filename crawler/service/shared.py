"""Jobs that workers elsewhere run: put on a Redis, taken up again, dropped.

This process fetches nothing of them. It enters the seeds, says what is wanted, and watches.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from crawler.config import Config
from crawler.errors import FrontierError
from crawler.folder import Mode
from crawler.frontier.redis_jobs import remove, wire_to
from crawler.frontier.redis_orders import is_there, pause, shards, sums, take_back
from crawler.frontier.redis_rows import total
from crawler.protocols import Sink
from crawler.service import shared_reading, shares
from crawler.service.job import Job, Totals
from crawler.service.posting import demand, named, put
from crawler.service.reading import HostRow, LinkRow, Story
from crawler.service.shared_crawl import SharedCrawl, so_far, visits


class Shared:
    """Implements `runner.Runner`. Workers' folders lie below `root`, one each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pages: Final = shares.pages

    async def reached(self, config: Config, folder: Path) -> Totals | None:
        """Raises FrontierError: the server is away, or has lost the job."""
        begun = (folder / shares.INDEX).exists()
        async with wire_to(named(config, folder).frontier) as wire:
            if not await is_there(wire, folder.name):
                if begun:
                    raise FrontierError(
                        f"{wire.name}: the crawl is gone: the server lost its data, or it was "
                        "removed there"
                    )
                return None
            stats = total(await shards(wire, folder.name))
            added = await sums(wire, folder.name)
        return Totals(
            pages=stats.pages,
            visits=visits(stats),
            failed=stats.failed,
            bytes_wire=added.bytes_wire,
            queued=stats.queued + stats.resting,
        )

    @asynccontextmanager
    async def open(
        self,
        config: Config,
        *,
        dir: Path,  # noqa: A002 - as build.open_crawl has it
        mode: Mode,
        sinks: Sequence[Sink] = (),
    ) -> AsyncIterator[SharedCrawl]:
        """Raises ConfigError for what many workers cannot do, FrontierError."""
        there = named(config, dir)
        await asyncio.to_thread(dir.mkdir, parents=True, exist_ok=True)
        async with wire_to(there.frontier) as wire:
            demand(there, wire)
            if mode == "new":
                await put(wire, there)
            await asyncio.to_thread(shares.take_in, dir, self.root, {})
            await pause(wire, dir.name, on=False)
            yield SharedCrawl(
                wire,
                there,
                dir,
                self.root,
                sinks,
                before=await so_far(wire, dir.name, mode),
            )

    async def links(
        self, config: Config, folder: Path, *, states: Collection[str], after: int, limit: int
    ) -> list[LinkRow]:
        return await shared_reading.links(
            config.frontier, folder, states=states, after=after, limit=limit
        )

    async def hosts(self, config: Config, folder: Path, *, limit: int) -> list[HostRow]:
        return await shared_reading.hosts(config.frontier, folder, limit=limit)

    async def why(self, config: Config, folder: Path, url: str) -> Story | None:
        return await shared_reading.why(config.frontier, folder, url, config.urls)

    async def forget(self, job: Job, *, output: bool) -> None:
        config = msgspec.convert(job.config, Config)
        async with wire_to(
            msgspec.structs.replace(config.frontier, job=job.id, patience=5.0)
        ) as wire:
            await take_back(wire, job.id)
            await remove(wire, job.id)
        if output:
            await asyncio.to_thread(shares.throw_away, self.root, job.id)
