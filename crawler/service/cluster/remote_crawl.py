"""A crawl that workers elsewhere run, as its coordinator sees it: watched, paused, summed up.

Twice a second it reads the workers' progress and updates the index of their records. It may die or
be stopped at any time: the workers continue, and the next coordinator takes over.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from crawler.config.model import Config
from crawler.config.workdir import Mode
from crawler.engine.stats import StatsCollector
from crawler.errors import FrontierError
from crawler.export.merge_crawls import PAGES
from crawler.frontier.redis.codec import JobStats, counts_of, total
from crawler.frontier.redis.redis_client import RedisClient
from crawler.frontier.redis.shards import reasons_of
from crawler.frontier.redis.worker_registry import (
    EVERY,
    WorkerCommand,
    WorkerOrder,
    desks,
    give,
    marks,
    pause,
    shards,
    sums,
    take_back,
)
from crawler.interfaces import Sink
from crawler.policy.autothrottle import HostPace
from crawler.policy.end_message import NO_PAGES
from crawler.policy.urls import host_key
from crawler.policy.waits import Wait
from crawler.records import Counts, CrawlResult, CrawlUrl, Outcome
from crawler.service.cluster import worker_outputs

log = logging.getLogger(__name__)

STOP_TIMEOUT_S: Final = 45.0
"""Seconds that workers have to stop a job; dead workers are not waited for so long."""


class EarlierTotals(msgspec.Struct, frozen=True):
    """Totals of a job's earlier runs."""

    stats: JobStats = JobStats()
    bytes_wire: int = 0
    statuses: Counter[int] = msgspec.field(default_factory=Counter)
    reasons: Counter[str] = msgspec.field(default_factory=Counter)


class _RemoteFrontier:
    """The part of the Frontier protocol that is used of a crawl that workers run."""

    def __init__(self) -> None:
        self.stats = JobStats()
        self.reasons: Counter[str] = Counter()

    async def counts(self) -> Counts:
        return counts_of(self.stats, self.reasons.items())

    def paces(self, most: int = 10) -> list[HostPace]:  # noqa: ARG002 - as the protocol has it
        """Empty: each worker knows only the hosts it fetches from."""
        return []

    async def waits(self, most: int = 10) -> list[Wait]:  # noqa: ARG002 - as the protocol has it
        """Empty, likewise."""
        return []


class RemoteCrawl:
    """Implements `RunningCrawl`. Its statistics are those of this run: `earlier` is subtracted."""

    def __init__(
        self,
        client: RedisClient,
        config: Config,
        folder: Path,
        outputs: Path,
        sinks: Sequence[Sink],
        *,
        earlier: EarlierTotals,
    ) -> None:
        self.tally = StatsCollector()
        self.finish_reason = ""
        self.frontier = _RemoteFrontier()
        self._client = client
        self._job = folder.name
        self._limits = config.limits
        self._folder = folder
        self._outputs = outputs
        self._sinks = sinks
        self._earlier = earlier
        self._run_id = secrets.token_hex(8)
        self._wakeup = asyncio.Event()

    async def run(self) -> StatsCollector:
        """Until the crawl ends or is stopped. Raises FrontierError, SinkError: workers continue."""
        try:
            await self._watch()
            if self.finish_reason != "shutdown":
                await self._stop_workers()
        except FrontierError as error:
            if self.finish_reason != "shutdown":
                raise
            log.warning(
                "job %s: its workers continue without the coordinator: %s", self._job, error
            )
        return self.tally

    async def _watch(self) -> None:
        await give(self._client, self._job, WorkerOrder(WorkerCommand.RUN, self._run_id))
        time_limit = self._limits.time_limit
        deadline = None if time_limit is None else time.monotonic() + time_limit
        previous: tuple[int, ...] | None = None
        while not self.finish_reason:
            stats = await self._update()
            end_reason = await self._end_reason()
            operations = tuple(shard.ops for shard in stats)
            if end_reason and operations == previous:
                # Two equal reads: nothing moved between the shards meanwhile.
                self.finish_reason = end_reason
            elif deadline is not None and time.monotonic() >= deadline:
                self.finish_reason = "time-limit"
            elif self._reached_size_limit():
                self.finish_reason = "size-limit"
            previous = operations if end_reason else None
            try:
                async with asyncio.timeout(EVERY / 4 if end_reason else EVERY):
                    await self._wakeup.wait()
            except TimeoutError:
                pass

    def stop(self, reason: str = "interrupted") -> None:
        """Workers finish their URLs in progress; for `shutdown` they continue without us."""
        self.finish_reason = self.finish_reason or reason
        if reason == "shutdown":
            self._client.give_up()  # do not wait for an unreachable server any longer
        self._wakeup.set()

    def abort(self) -> None:
        """Workers drop their URLs in progress, which are queued again."""
        if self.finish_reason != "shutdown":
            self.finish_reason = "aborted"
        self._wakeup.set()

    async def _update(self) -> list[JobStats]:
        """Read the workers' progress; returns the statistics of each shard."""
        by_shard = await shards(self._client, self._job)
        self.frontier.stats = stats = total(by_shard)
        added = await sums(self._client, self._job)
        earlier, tally = self._earlier.stats, self.tally
        tally.pages = max(0, stats.pages - earlier.pages)
        tally.visits = max(0, visits(stats) - visits(earlier))
        tally.bytes_wire = max(0, added.bytes_wire - self._earlier.bytes_wire)
        tally.outcomes = Counter({
            name: getattr(stats, name) - getattr(earlier, name)
            for name in ("done", "moved", "unchanged", "refused", "failed")
            if getattr(stats, name) > getattr(earlier, name)
        })  # fmt: skip
        tally.statuses = Counter(added.statuses) - self._earlier.statuses
        self.frontier.reasons = Counter(dict(await reasons_of(self._client, self._job)))
        tally.reasons = _by_first_part(self.frontier.reasons) - self._earlier.reasons
        tally.gauges.queued = stats.queued + stats.resting
        tally.gauges.in_flight = stats.leased
        await self._update_index()
        return by_shard

    async def _update_index(self) -> None:
        committed = await marks(self._client, self._job, PAGES)
        new_records = await asyncio.to_thread(
            worker_outputs.update_index, self._folder, self._outputs, committed
        )
        results = [
            CrawlResult(CrawlUrl(record.url, host_key(record.url)), Outcome(record.outcome))
            for record in new_records
        ]
        for sink in self._sinks if results else ():
            await sink.append(results)

    async def _end_reason(self) -> str:
        """Why the crawl has ended; empty: it has not."""
        stats = self.frontier.stats
        if stats.leased + stats.asking:
            # At the page limit no worker leases links, so a dead worker's leases never expire.
            ended = self._reached_page_limit() and not await self._is_running()
            return "max-pages" if ended else ""
        if self._reached_page_limit():
            return "max-pages"
        if not stats.open:
            return "finished" if stats.pages else NO_PAGES
        return "hosts-down" if stats.stranded == stats.open else ""

    def _reached_page_limit(self) -> bool:
        limit = self._limits.max_pages
        return limit is not None and self.frontier.stats.pages >= limit

    def _reached_size_limit(self) -> bool:
        limit = self._limits.size_limit
        return limit is not None and self.tally.bytes_wire >= limit

    async def _is_running(self) -> bool:
        """Whether a live worker runs the job."""
        return any(self._job in worker.hands for worker in await desks(self._client))

    async def _stop_workers(self) -> None:
        """Tell workers to stop, wait until they have, and index and merge the last records."""
        dropped = self.finish_reason == "aborted"
        await pause(self._client, self._job, on=True)
        await give(
            self._client,
            self._job,
            WorkerOrder(WorkerCommand.DROP if dropped else WorkerCommand.STOP, self._run_id),
        )
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < deadline:
            if not await self._is_running():
                break
            await asyncio.sleep(EVERY / 4)
        await self._update()
        await asyncio.to_thread(worker_outputs.merge_outputs, self._folder)
        await take_back(self._client, self._job)

    def __repr__(self) -> str:
        return f"<RemoteCrawl {self._job} on {self._client.name}>"


async def earlier_totals(client: RedisClient, job: str, mode: Mode) -> EarlierTotals:
    """The totals of earlier runs when a job is opened."""
    if mode == "new":
        return EarlierTotals()
    added = await sums(client, job)
    return EarlierTotals(
        total(await shards(client, job)),
        added.bytes_wire,
        Counter(added.statuses),
        _by_first_part(dict(await reasons_of(client, job))),
    )


def _by_first_part(reasons: Mapping[str, int]) -> Counter[str]:
    """Sums by the part of a reason before its colon."""
    counts: Counter[str] = Counter()
    for reason, number in reasons.items():
        counts[reason.partition(":")[0]] += number
    return counts


def visits(stats: JobStats) -> int:
    """Number of links that were fetched or failed for good."""
    return stats.done + stats.moved + stats.unchanged + stats.failed
