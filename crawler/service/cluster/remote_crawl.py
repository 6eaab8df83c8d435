"""A crawl that workers elsewhere run, as its coordinator sees it: watched, paused, summed up.

Twice a second it sees how far the workers are, and brings the index of their records up to date.
It may die or be stopped at any moment: the workers go on, and the next one takes up what is there.
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

WIND_UP: Final = 45.0
"""Seconds that workers have to let go of a job; one that is silent is not waited for so long."""


class EarlierTotals(msgspec.Struct, frozen=True):
    """What earlier runs have done."""

    stats: JobStats = JobStats()
    bytes_wire: int = 0
    statuses: Counter[int] = msgspec.field(default_factory=Counter)
    reasons: Counter[str] = msgspec.field(default_factory=Counter)


class _Remote:
    """What is asked of the frontier of a crawl that others run."""

    def __init__(self) -> None:
        self.stats = JobStats()
        self.reasons: Counter[str] = Counter()

    async def counts(self) -> Counts:
        return counts_of(self.stats, self.reasons.items())

    def paces(self, most: int = 10) -> list[HostPace]:  # noqa: ARG002 - as the protocol has it
        """None: only workers see them, each those that it asked."""
        return []

    async def waits(self, most: int = 10) -> list[Wait]:  # noqa: ARG002 - as the protocol has it
        """None, likewise."""
        return []


class RemoteCrawl:
    """Implements `running.Running`: the crawl as its coordinator sees it. Numbers are of this run:
    `before` is what was so when it was opened.
    """

    def __init__(
        self,
        wire: RedisClient,
        config: Config,
        folder: Path,
        root: Path,
        sinks: Sequence[Sink],
        *,
        before: EarlierTotals,
    ) -> None:
        self.tally = StatsCollector()
        self.finish_reason = ""
        self.frontier = _Remote()
        self._wire = wire
        self._job = folder.name
        self._limits = config.limits
        self._folder = folder
        self._root = root
        self._sinks = sinks
        self._before = before
        self._turn = secrets.token_hex(8)
        self._bell = asyncio.Event()

    async def run(self) -> StatsCollector:
        """Until it is finished or stopped. Raises FrontierError, SinkError: the workers go on."""
        try:
            await self._watch()
            if self.finish_reason != "shutdown":
                await self._wind_up()
        except FrontierError as error:
            if self.finish_reason != "shutdown":
                raise
            log.warning("job %s is left to its workers: %s", self._job, error)
        return self.tally

    async def _watch(self) -> None:
        await give(self._wire, self._job, WorkerOrder(WorkerCommand.RUN, self._turn))
        until = self._limits.time_limit
        late = None if until is None else time.monotonic() + until
        before: tuple[int, ...] | None = None
        while not self.finish_reason:
            seen = await self._look()
            ended = await self._ended()
            now = tuple(one.ops for one in seen)
            if ended and now == before:  # two looks: nothing moved between the shards meanwhile
                self.finish_reason = ended
            elif late is not None and time.monotonic() >= late:
                self.finish_reason = "time-limit"
            elif self._too_large():
                self.finish_reason = "size-limit"
            before = now if ended else None
            try:
                async with asyncio.timeout(EVERY / 4 if ended else EVERY):
                    await self._bell.wait()
            except TimeoutError:
                pass

    def stop(self, reason: str = "interrupted") -> None:
        """Workers finish what they have in hand; for `shutdown` they go on without us."""
        self.finish_reason = self.finish_reason or reason
        if reason == "shutdown":
            self._wire.give_up()  # a server that is away is not waited for any longer
        self._bell.set()

    def abort(self) -> None:
        """Workers let go of what they have in hand; its links are queued again."""
        if self.finish_reason != "shutdown":
            self.finish_reason = "aborted"
        self._bell.set()

    async def _look(self) -> list[JobStats]:
        """How far the workers are."""
        seen = await shards(self._wire, self._job)
        self.frontier.stats = stats = total(seen)
        added = await sums(self._wire, self._job)
        base, tally = self._before.stats, self.tally
        tally.pages = max(0, stats.pages - base.pages)
        tally.visits = max(0, visits(stats) - visits(base))
        tally.bytes_wire = max(0, added.bytes_wire - self._before.bytes_wire)
        tally.outcomes = Counter({
            name: getattr(stats, name) - getattr(base, name)
            for name in ("done", "moved", "unchanged", "refused", "failed")
            if getattr(stats, name) > getattr(base, name)
        })  # fmt: skip
        tally.statuses = Counter(added.statuses) - self._before.statuses
        self.frontier.reasons = Counter(dict(await reasons_of(self._wire, self._job)))
        tally.reasons = _first_words(self.frontier.reasons) - self._before.reasons
        tally.gauges.queued = stats.queued + stats.resting
        tally.gauges.in_flight = stats.leased
        await self._take_in()
        return seen

    async def _take_in(self) -> None:
        committed = await marks(self._wire, self._job, PAGES)
        fresh = await asyncio.to_thread(worker_outputs.take_in, self._folder, self._root, committed)
        seen = [
            CrawlResult(CrawlUrl(one.url, host_key(one.url)), Outcome(one.outcome)) for one in fresh
        ]
        for sink in self._sinks if seen else ():
            await sink.append(seen)

    async def _ended(self) -> str:
        """Why there is nothing left to do; empty: there is."""
        stats = self.frontier.stats
        if stats.leased + stats.asking:
            # With the limit reached nobody asks any more: nobody sees a dead one's lease run out.
            spent = self._spent() and not await self._hands()
            return "max-pages" if spent else ""
        if self._spent():
            return "max-pages"
        if not stats.open:
            return "finished" if stats.pages else NO_PAGES
        return "hosts-down" if stats.stranded == stats.open else ""

    def _spent(self) -> bool:
        most = self._limits.max_pages
        return most is not None and self.frontier.stats.pages >= most

    def _too_large(self) -> bool:
        most = self._limits.size_limit
        return most is not None and self.tally.bytes_wire >= most

    async def _hands(self) -> bool:
        """Whether a worker that is alive has the job in hand."""
        return any(self._job in desk.hands for desk in await desks(self._wire))

    async def _wind_up(self) -> None:
        """Say that it is over, wait until the workers have let go, and take in the last records."""
        dropped = self.finish_reason == "aborted"
        await pause(self._wire, self._job, on=True)
        await give(
            self._wire,
            self._job,
            WorkerOrder(WorkerCommand.DROP if dropped else WorkerCommand.STOP, self._turn),
        )
        late = time.monotonic() + WIND_UP
        while time.monotonic() < late:
            if not await self._hands():
                break
            await asyncio.sleep(EVERY / 4)
        await self._look()
        await asyncio.to_thread(worker_outputs.write_out, self._folder)
        await take_back(self._wire, self._job)

    def __repr__(self) -> str:
        return f"<SharedCrawl {self._job} on {self._wire.name}>"


async def so_far(wire: RedisClient, job: str, mode: Mode) -> EarlierTotals:
    """What is so when a job is opened."""
    if mode == "new":
        return EarlierTotals()
    added = await sums(wire, job)
    return EarlierTotals(
        total(await shards(wire, job)),
        added.bytes_wire,
        Counter(added.statuses),
        _first_words(dict(await reasons_of(wire, job))),
    )


def _first_words(reasons: Mapping[str, int]) -> Counter[str]:
    found: Counter[str] = Counter()
    for reason, number in reasons.items():
        found[reason.partition(":")[0]] += number
    return found


def visits(stats: JobStats) -> int:
    """Links that were asked for, to the end."""
    return stats.done + stats.moved + stats.unchanged + stats.failed
