"""The last known state of the workers and of the Redis server of a coordinating service.

The API, the dashboard and /metrics show it. An unreachable server is reported, and retried.
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
from crawler.service.http.views import WorkerStatusView, WorkerView, rfc3339
from crawler.service.jobs.job import Job, JobState

log = logging.getLogger(__name__)

REDIS_PATIENCE_S: Final = 5.0
"""Seconds after which an unreachable server is reported."""

DEAD_WORKER_SHOWN_S: Final = 3600.0
"""Seconds that a dead worker is still shown."""

SHARD_SCAN_INTERVAL_S: Final = 10.0
"""Seconds between reads of the statistics of all jobs' shards."""

_INACTIVE_STATES: Final = frozenset({JobState.PAUSED, JobState.HELD, JobState.FAILED})


class TrackedJobs(Protocol):
    """The part of JobStore that is used here."""

    async def get(self, job: str, /) -> Job | None: ...


class WorkerHeartbeat(msgspec.Struct):
    """A worker's last registration, and the monotonic time at which it arrived."""

    registration: WorkerRegistration
    at: float
    died: bool = False


class ClusterMonitor:
    """`run` keeps it up to date.

    `frontier` names the server; `is_running` tells whether this service runs the job now.
    """

    def __init__(
        self, frontier: FrontierConfig, store: TrackedJobs, is_running: Callable[[str], bool]
    ) -> None:
        self.error = "not reached yet"  # why the server cannot be used; empty: it can
        self.shards: tuple[JobStats, ...] = ()  # sums over all jobs
        self.servers: tuple[RedisHealth, ...] = ()
        self.died = 0  # number of workers since the service started
        self._frontier = msgspec.structs.replace(frontier, patience=REDIS_PATIENCE_S)
        self._store = store
        self._is_running = is_running
        self._workers: dict[str, WorkerHeartbeat] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with wire_to(self._frontier) as client:
                    await self._watch(client)
            except FrontierError as error:
                if str(error) != self.error:
                    log.warning("%s", error)
                self.error = str(error)
            await asyncio.sleep(EVERY)

    def workers(self) -> list[WorkerView]:
        """The live workers, and those that died within DEAD_WORKER_SHOWN_S, sorted by name."""
        now = time.monotonic()
        return [_worker_view(worker, now) for _, worker in sorted(self._workers.items())]

    async def _watch(self, client: RedisClient) -> None:
        last_scan = -SHARD_SCAN_INTERVAL_S
        while True:
            self._update_workers(await desks(client))
            await self._stop_leftovers(client)
            if time.monotonic() - last_scan >= SHARD_SCAN_INTERVAL_S:
                await self._read_shards(client)
                last_scan = time.monotonic()
            self.error = ""
            await asyncio.sleep(EVERY)

    def _update_workers(self, present: list[WorkerRegistration]) -> None:
        now = time.monotonic()
        for registration in present:
            known = self._workers.get(registration.name)
            if known is None:
                log.info("worker %s has joined, in %s", registration.name, registration.place)
            if known is None or known.registration.at != registration.at:
                self._workers[registration.name] = WorkerHeartbeat(registration, now)
        for name in set(self._workers) - {registration.name for registration in present}:
            worker = self._workers[name]
            is_forgotten = worker.died and now - worker.at > DEAD_WORKER_SHOWN_S
            if worker.registration.leaving or is_forgotten:
                del self._workers[name]
            elif not worker.died:
                worker.died = True
                self.died += 1
                leased = sum(job.leased for job in worker.registration.hands.values())
                log.warning(
                    "worker %s died: no heartbeat for %.0f s; its %d leased links are fetched by "
                    "others when the leases expire", name, now - worker.at, leased,
                )  # fmt: skip

    async def _stop_leftovers(self, client: RedisClient) -> None:
        """Stop workers that still run an inactive job: the service died between two steps."""
        for job_id, order in (await orders(client)).items():
            if order.verb is not WorkerCommand.RUN or self._is_running(job_id):
                continue
            job = await self._store.get(job_id)
            if job is None or job.state not in {*_INACTIVE_STATES, JobState.CANCELLED}:
                continue
            cancelled = job.state is JobState.CANCELLED
            command = WorkerCommand.DROP if cancelled else WorkerCommand.STOP
            log.info("job %s is %s: its workers are asked to stop again", job_id, job.state)
            await pause(client, job_id, on=True)
            await give(client, job_id, WorkerOrder(command, order.turn))

    async def _read_shards(self, client: RedisClient) -> None:
        sums = [JobStats()] * client.shards
        for job in await names_on(client):
            for number, stats in enumerate(await shards(client, job)):
                sums[number] = total([sums[number], stats])
        self.shards = tuple(sums)
        self.servers = tuple(await client.health())


def _worker_view(worker: WorkerHeartbeat, now: float) -> WorkerView:
    registration = worker.registration
    state = "working" if registration.hands else "idle"
    if worker.died:
        state = "dead"
    elif registration.leaving:
        state = "leaving"
    jobs = tuple(
        WorkerStatusView(job, status.pages, status.leased, status.in_flight)
        for job, status in sorted(registration.hands.items())
    )
    return WorkerView(
        name=registration.name,
        state=state,
        place=registration.place,
        version=registration.version,
        pid=registration.pid,
        since=rfc3339(registration.since) or "",
        silent=round(now - worker.at, 1),
        rss_bytes=registration.rss,
        pages=registration.pages,
        pages_per_second=0.0 if worker.died else registration.rate,
        leased=sum(job.leased for job in jobs),
        hands=jobs,
        troubles=registration.troubles,
    )
