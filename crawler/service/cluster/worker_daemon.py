"""A stand-by worker: takes part in every job that a coordinator puts on Redis.

It looks twice a second at what is wanted, opens what is new in a folder of its own below DIR, stops
what is paused, lets go of what was cancelled, and says what it does. It decides nothing: killed at
any moment, its leases run out and others go on; started again in DIR, it goes on itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import secrets
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from crawler.config.model import Config, FrontierConfig, PaceConfig
from crawler.config.workdir import is_crawl, worker_id
from crawler.engine.running_crawl import RunningCrawl
from crawler.engine.stats import StatsCollector
from crawler.errors import CrawlerError, FatalError, FrontierError
from crawler.fetch.address_guard import AddressGuard
from crawler.frontier.redis.redis_client import RedisClient
from crawler.frontier.redis.redis_jobs import settings_of, wire_to
from crawler.frontier.redis.worker_registry import (
    EVERY,
    WorkerCommand,
    WorkerOrder,
    WorkerRegistration,
    WorkerStatus,
    add_up,
    get_up,
    orders,
    sit_down,
)
from crawler.interfaces import Frontier
from crawler.service.jobs.failure import first
from crawler.service.jobs.fair_share import FairSemaphore, SemaphoreShare
from crawler.service.monitoring.logs import JOB
from crawler.version import __version__

log = logging.getLogger(__name__)

AGAIN: Final = 5.0
"""Seconds until a job that could not be worked on is tried again: a disk that is full, say."""

RATED: Final = 10.0
"""Seconds over which a worker's speed is taken."""

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Jobs become folders here: what is no plain name is not ours."""

Opener: TypeAlias = Callable[..., AbstractAsyncContextManager[RunningCrawl]]
Configure: TypeAlias = Callable[[str, str], Config]
"""(job, its settings as TOML) → the settings with this worker's own on top. Raises ConfigError."""


class WorkerResources:
    """Implements `build.Neighbours`: the jobs of one worker share its connections.

    Who may be asked when is decided on the server, for all jobs and workers alike.
    """

    def __init__(self, connections: int, guard: AddressGuard) -> None:
        self._slots = FairSemaphore(connections)
        self._guard = guard

    @asynccontextmanager
    async def frontier(self, own: Frontier, pace: PaceConfig) -> AsyncIterator[Frontier]:  # noqa: ARG002 - as the protocol has it
        yield own

    def connections(self, most: int) -> SemaphoreShare:
        return self._slots.share(most)

    def guard(self) -> AddressGuard:
        return self._guard


class _JobTask:
    """One job in this worker's hands."""

    def __init__(self, turn: str) -> None:
        self.turn = turn
        self.crawl: RunningCrawl | None = None
        self.name = ""
        self.stops = ""
        self.told: Counter[str] = Counter()  # what the sums know already

    def stop(self, reason: str) -> None:
        """Once for each of the two ways, the sharper one wins."""
        if self.stops in {reason, "cancelled"}:
            return
        self.stops = reason
        if self.crawl is None:
            return
        if reason == "cancelled":
            self.crawl.abort()
        else:
            self.crawl.stop(reason)

    def news(self) -> dict[str, int]:
        """What was not added up yet."""
        if self.crawl is None:
            return {}
        tally = self.crawl.tally
        now = Counter({f"status:{code}": number for code, number in tally.statuses.items()})
        now["bytes"] = tally.bytes_wire
        return dict(now - self.told)


class WorkerDaemon:
    """`run` until `stop`. `ended` is told the sums of each crawl that was closed."""

    def __init__(
        self,
        frontier: FrontierConfig,
        folder: Path,
        *,
        configure: Configure,
        opener: Opener,
        ended: Callable[[StatsCollector], None] = lambda _: None,
    ) -> None:
        self._frontier = frontier
        self._folder = folder
        self._configure = configure
        self._opener = opener
        self.ended = ended
        self._stints: dict[str, _JobTask] = {}
        self._seen_to: dict[str, str] = {}  # job → the turn of it that is over
        self._again: dict[str, float] = {}  # job → when it is tried again
        self._troubles: dict[str, str] = {}
        self._stopping = asyncio.Event()
        self._since = time.time()
        self._pages = 0  # of crawls that are closed
        self._rated: list[tuple[float, int]] = [(time.time(), 0)]
        self._wire: RedisClient | None = None
        self._there = False
        self.name = ""

    @property
    def away(self) -> bool:
        """Whether the server does not answer at this moment, or was not reached yet."""
        return not self._there or self._wire is None or self._wire.away

    @property
    def crawls(self) -> list[RunningCrawl]:
        """Those that are open."""
        return [one.crawl for one in self._stints.values() if one.crawl is not None]

    async def run(self) -> None:
        """Raises ConfigError, FatalError, FrontierError (also when the server stays away)."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FatalError(f"{self._folder}: {error.strerror}") from error
        self.name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._wire = wire = wire_to(self._frontier)
        try:
            async with wire, asyncio.TaskGroup() as crew:
                log.info("%s stands by at %s, in %s", self.name, wire.name, self._folder)
                self._there = True
                while not self._stopping.is_set():
                    await self._look(wire, crew)
                    await self._tell(wire)
                    try:
                        async with asyncio.timeout(EVERY):
                            await self._stopping.wait()
                    except TimeoutError:
                        pass
                await self._leave(wire)
        except* FrontierError as group:
            if not self._stopping.is_set():
                raise
            log.warning("left without a word: %s", first(group))

    async def _leave(self, wire: RedisClient) -> None:
        """Every crawl has its grace time; what the server does not hear now, it finds out."""
        while self._stints:
            with contextlib.suppress(FrontierError):
                await self._tell(wire)
            await asyncio.sleep(EVERY / 4)
        await get_up(wire, self._desk())

    def stop(self) -> None:
        """First: finish what is in hand. Again: give it back."""
        reason = "cancelled" if self._stopping.is_set() else "shutdown"
        self._stopping.set()
        if self._wire is not None:
            self._wire.give_up()  # a server that is away is not waited for any longer
        for stint in self._stints.values():
            stint.stop(reason)

    async def _look(self, wire: RedisClient, crew: asyncio.TaskGroup) -> None:
        """See what is wanted, and do it."""
        wanted = await orders(wire)
        for job, stint in self._stints.items():
            order = wanted.get(job)
            if order is None or order.verb is WorkerCommand.DROP:
                stint.stop("cancelled")
            elif order.verb is WorkerCommand.STOP:
                stint.stop("paused")
            elif not stint.stops:
                stint.turn = order.turn  # a coordinator that restarted takes up what is going on
        for job, order in wanted.items():
            if order.verb is WorkerCommand.RUN and self._may_begin(job, order):
                self._stints[job] = _JobTask(order.turn)
                crew.create_task(self._work(wire, job), name=f"job {job}")
        for job in [one for one in self._seen_to if one not in wanted]:
            del self._seen_to[job]
        for job in [one for one in self._troubles if one not in wanted]:
            del self._troubles[job]

    def _may_begin(self, job: str, order: WorkerOrder) -> bool:
        return (
            job not in self._stints
            and self._seen_to.get(job) != order.turn
            and self._again.get(job, 0.0) <= time.monotonic()
            and NAME.fullmatch(job) is not None
        )

    async def _work(self, wire: RedisClient, job: str) -> None:
        """One job, until it ends, is stopped, or cannot be worked on here."""
        JOB.set(job)
        stint = self._stints[job]
        trouble = ""
        try:
            await self._crawl(job, stint)
        except* (CrawlerError, OSError) as group:
            trouble = str(first(group))
            log.warning("job %s: %s; tried again in %g s", job, trouble, AGAIN)
        except* Exception as group:
            error = first(group)
            log.exception("job %s: a bug", job, exc_info=error)
            trouble = f"bug: {type(error).__name__}"
        if stint.crawl is not None:
            try:
                await add_up(wire, job, stint.news())
            except FrontierError as error:
                log.warning("job %s: its last figures are lost: %s", job, error)
            self._pages += stint.crawl.tally.pages
            self.ended(stint.crawl.tally)
        del self._stints[job]
        if trouble:
            self._troubles[job] = trouble
            self._again[job] = time.monotonic() + AGAIN
        else:
            self._troubles.pop(job, None)
            if not stint.stops:
                self._seen_to[job] = stint.turn
        log.info("job %s is left: %s", job, trouble or stint.stops or "finished")

    async def _crawl(self, job: str, stint: _JobTask) -> None:
        own = msgspec.structs.replace(self._frontier, job=job)
        config = self._configure(job, await settings_of(own))
        folder = self._folder / job
        mode = "resume" if is_crawl(folder) else "new"
        log.info("job %s is taken up", job)
        async with self._opener(config, dir=folder, mode=mode, join=True) as crawl:
            stint.name = worker_id(folder, job)
            stint.crawl = crawl
            if stint.stops:
                reason, stint.stops = stint.stops, ""
                stint.stop(reason)
            await crawl.run()

    async def _tell(self, wire: RedisClient) -> None:
        pages = self._pages
        hands = {}
        for job, stint in list(self._stints.items()):
            if stint.crawl is None:
                hands[job] = WorkerStatus("", 0, 0, 0)
                continue
            news = stint.news()
            stint.told.update(news)
            await add_up(wire, job, news)
            tally = stint.crawl.tally
            pages += tally.pages
            leased: int = getattr(stint.crawl.frontier, "on_lease", 0)
            hands[job] = WorkerStatus(stint.name, tally.pages, leased, tally.gauges.in_flight)
        now = time.time()
        self._rated = [one for one in self._rated if one[0] > now - RATED] + [(now, pages)]
        await sit_down(wire, self._desk(pages, hands), self._frontier.lease)

    def _desk(
        self, pages: int = 0, hands: dict[str, WorkerStatus] | None = None
    ) -> WorkerRegistration:
        (then, before), (now, after) = self._rated[0], self._rated[-1]
        rate = (after - before) / (now - then) if now - then >= EVERY / 2 else 0.0
        return WorkerRegistration(
            self.name, str(self._folder), os.getpid(), __version__, self._since, time.time(),
            _rss(), pages, round(rate, 2), hands or {}, dict(self._troubles),
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<StandBy {self.name}: {len(self._stints)} jobs>"


def _rss() -> int:
    """Bytes of memory of this process; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf(
            "SC_PAGE_SIZE"
        )
    except (OSError, ValueError, IndexError):
        return 0
