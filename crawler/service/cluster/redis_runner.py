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

from crawler.config.model import Config
from crawler.config.workdir import Mode
from crawler.errors import FrontierError
from crawler.frontier.redis.codec import total
from crawler.frontier.redis.redis_jobs import remove, wire_to
from crawler.frontier.redis.worker_registry import is_there, pause, shards, sums, take_back
from crawler.interfaces import Sink
from crawler.service.cluster import remote_results, worker_outputs
from crawler.service.cluster.remote_crawl import RemoteCrawl, so_far, visits
from crawler.service.cluster.submit import demand, named, put
from crawler.service.jobs.job import Job, Totals
from crawler.service.results.crawl_results import HostResult, LinkResult, UrlStory


class RedisRunner:
    """Implements `runner.Runner`. Workers' folders lie below `root`, one each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pages: Final = worker_outputs.pages

    async def reached(self, config: Config, folder: Path) -> Totals | None:
        """Raises FrontierError: the server is away, or has lost the job."""
        begun = (folder / worker_outputs.INDEX).exists()
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
    ) -> AsyncIterator[RemoteCrawl]:
        """Raises ConfigError for what many workers cannot do, FrontierError."""
        there = named(config, dir)
        await asyncio.to_thread(dir.mkdir, parents=True, exist_ok=True)
        async with wire_to(there.frontier) as wire:
            demand(there, wire)
            if mode == "new":
                await put(wire, there)
            await asyncio.to_thread(worker_outputs.take_in, dir, self.root, {})
            await pause(wire, dir.name, on=False)
            yield RemoteCrawl(
                wire,
                there,
                dir,
                self.root,
                sinks,
                before=await so_far(wire, dir.name, mode),
            )

    async def links(
        self, config: Config, folder: Path, *, states: Collection[str], after: int, limit: int
    ) -> list[LinkResult]:
        return await remote_results.links(
            config.frontier, folder, states=states, after=after, limit=limit
        )

    async def hosts(self, config: Config, folder: Path, *, limit: int) -> list[HostResult]:
        return await remote_results.hosts(config.frontier, folder, limit=limit)

    async def why(self, config: Config, folder: Path, url: str) -> UrlStory | None:
        return await remote_results.why(config.frontier, folder, url, config.urls)

    async def forget(self, job: Job, *, output: bool) -> None:
        config = msgspec.convert(job.config, Config)
        async with wire_to(
            msgspec.structs.replace(config.frontier, job=job.id, patience=5.0)
        ) as wire:
            await take_back(wire, job.id)
            await remove(wire, job.id)
        if output:
            await asyncio.to_thread(worker_outputs.throw_away, self.root, job.id)
