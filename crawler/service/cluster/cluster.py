"""The workers of a service that only coordinates, and the server that holds its queues, as last
seen: for the API, the dashboard and /metrics. What is away is said, and waited for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from crawler.config.model import FrontierConfig
from crawler.errors import FrontierError
from crawler.frontier.redis.codec import JobStats, total
from crawler.frontier.redis.redis_client import RedisClient, RedisHealth
from crawler.frontier.redis.redis_jobs import names_on, wire_to
from crawler.frontier.redis.worker_registry import (
    EVERY,
    WorkerCommand,
    WorkerOrder,
    WorkerRegistration,
    desks,
    give,
    orders,
    pause,
    shards,
)
from crawler.service.http.views import WorkerStatusView, WorkerView, moment
from crawler.service.jobs.job import Job, JobState

log = logging.getLogger(__name__)

PATIENCE: Final = 5.0
"""Seconds after which a server that is away is said to be."""

SHOWN: Final = 3600.0
"""Seconds that a worker which died is still shown."""

MEASURED: Final = 10.0
"""Seconds between looks at what does not change in a second: the numbers of all jobs' shards."""

_RESTING: Final = frozenset({JobState.PAUSED, JobState.HELD, JobState.FAILED})


class TrackedJobs(Protocol):
    """What is asked of the register."""

    async def get(self, job: str, /) -> Job | None: ...


class WorkerHeartbeat(msgspec.Struct):
    """A worker's last word, and when it came, by our own clock (monotonic)."""

    desk: WorkerRegistration
    at: float
    died: bool = False


class ClusterMonitor:
    """`run` keeps it up to date."""

    def __init__(
        self, frontier: FrontierConfig, register: TrackedJobs, in_hand: Callable[[str], bool]
    ) -> None:
        self.trouble = "not reached yet"  # one sentence; empty: none
        self.shards: tuple[JobStats, ...] = ()  # sums over all jobs
        self.servers: tuple[RedisHealth, ...] = ()
        self.died = 0  # workers, since the service started
        self._frontier = msgspec.structs.replace(frontier, patience=PATIENCE)
        self._register = register
        self._in_hand = in_hand
        self._seen: dict[str, WorkerHeartbeat] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with wire_to(self._frontier) as wire:
                    await self._watch(wire)
            except FrontierError as error:
                if str(error) != self.trouble:
                    log.warning("%s", error)
                self.trouble = str(error)
            await asyncio.sleep(EVERY)

    def workers(self) -> list[WorkerView]:
        """Those that are there, and those that died within the hour."""
        now = time.monotonic()
        return [_view(seen, now) for _, seen in sorted(self._seen.items())]

    async def _watch(self, wire: RedisClient) -> None:
        measured = -MEASURED
        while True:
            self._look(await desks(wire))
            await self._tidy(wire)
            if time.monotonic() - measured >= MEASURED:
                await self._measure(wire)
                measured = time.monotonic()
            self.trouble = ""
            await asyncio.sleep(EVERY)

    def _look(self, present: list[WorkerRegistration]) -> None:
        now = time.monotonic()
        for desk in present:
            known = self._seen.get(desk.name)
            if known is None:
                log.info("worker %s is there, in %s", desk.name, desk.place)
            if known is None or known.desk.at != desk.at:
                self._seen[desk.name] = WorkerHeartbeat(desk, now)
        for name in set(self._seen) - {desk.name for desk in present}:
            seen = self._seen[name]
            if seen.desk.leaving or (seen.died and now - seen.at > SHOWN):
                del self._seen[name]
            elif not seen.died:
                seen.died = True
                self.died += 1
                held = sum(hand.leased for hand in seen.desk.hands.values())
                log.warning(
                    "worker %s died: it is silent for %.0f s; %d links of its own are free when "
                    "their leases run out", name, now - seen.at, held,
                )  # fmt: skip

    async def _tidy(self, wire: RedisClient) -> None:
        """Stop what is still wanted though its job rests: a service died between two steps."""
        for job, order in (await orders(wire)).items():
            if order.verb is not WorkerCommand.RUN or self._in_hand(job):
                continue
            known = await self._register.get(job)
            if known is not None and (known.state in _RESTING or known.state is JobState.CANCELLED):
                verb = (
                    WorkerCommand.DROP if known.state is JobState.CANCELLED else WorkerCommand.STOP
                )
                log.info("job %s is %s: its workers are told again", job, known.state)
                await pause(wire, job, on=True)
                await give(wire, job, WorkerOrder(verb, order.turn))

    async def _measure(self, wire: RedisClient) -> None:
        sums = [JobStats()] * wire.shards
        for job in await names_on(wire):
            for number, one in enumerate(await shards(wire, job)):
                sums[number] = total([sums[number], one])
        self.shards = tuple(sums)
        self.servers = tuple(await wire.health())


def _view(seen: WorkerHeartbeat, now: float) -> WorkerView:
    desk = seen.desk
    state = "working" if desk.hands else "idle"
    if seen.died:
        state = "dead"
    elif desk.leaving:
        state = "leaving"
    hands = tuple(
        WorkerStatusView(job, hand.pages, hand.leased, hand.in_flight)
        for job, hand in sorted(desk.hands.items())
    )
    return WorkerView(
        name=desk.name,
        state=state,
        place=desk.place,
        version=desk.version,
        pid=desk.pid,
        since=moment(desk.since) or "",
        silent=round(now - seen.at, 1),
        rss_bytes=desk.rss,
        pages=desk.pages,
        pages_per_second=0.0 if seen.died else desk.rate,
        leased=sum(hand.leased for hand in hands),
        hands=hands,
        troubles=desk.troubles,
    )
