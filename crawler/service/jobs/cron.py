"""Recurring jobs: cron expressions with a time zone, each creating a job when it is due.

The next time is computed from the present: a schedule whose times passed while the service was down
creates one job when it is up again, not one for each missed time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from crawler.service.jobs.crawl_job_request import JobRequest, config_tree
from crawler.service.jobs.job import ENDED_STATES
from crawler.service.jobs.job_store import JobStore
from crawler.service.jobs.request_body import InvalidBody
from crawler.service.jobs.store_tables import CronSchedule

log = logging.getLogger(__name__)

CLOCK_CHECK_INTERVAL_S: Final = 60.0
"""Longest sleep in seconds: a change of the system clock is noticed after that time."""


class CronScheduler:
    """Manages the schedules of the store; `run` creates their jobs.

    `read_request` validates a job's body for an owner. `clock` returns Unix time.
    """

    def __init__(
        self,
        store: JobStore,
        read_request: Callable[[object, str], JobRequest],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._read_request = read_request
        self._clock = clock
        self._changed = asyncio.Event()

    async def all(self) -> list[CronSchedule]:
        return await self._store.schedules.all()

    async def put(
        self, name: str, owner: str, cron: str, zone: str, request: dict[str, Any]
    ) -> CronSchedule:
        """Create or replace a schedule. Raises InvalidBody for a bad cron expression or job."""
        self._read_request(request, owner)
        next_at = next_time(cron, zone, self._clock())
        schedule = CronSchedule(name, owner, cron, zone, request, next_at, None)
        await self._store.schedules.upsert(schedule, self._clock())
        self._changed.set()
        return schedule

    async def delete(self, name: str) -> bool:
        """False when there is no schedule of that name. Its jobs stay."""
        return await self._store.schedules.delete(name)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            now = self._clock()
            delays = [CLOCK_CHECK_INTERVAL_S]
            for schedule in await self.all():
                if schedule.next_at <= now:
                    await self._create_job(schedule, now)
                    delays.append(0.0)
                else:
                    delays.append(schedule.next_at - now)
            try:
                async with asyncio.timeout(min(delays)):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _create_job(self, schedule: CronSchedule, now: float) -> None:
        """Create the job of a due schedule, unless its last job has not ended yet."""
        next_at = next_time(schedule.cron, schedule.zone, now)
        last_job = schedule.last_job
        last = await self._store.get(last_job) if last_job else None
        if last is not None and last.state not in ENDED_STATES:
            log.warning("schedule %s: job %s is still %s", schedule.name, last.id, last.state)
        else:
            try:
                request = self._read_request(schedule.request, schedule.owner)
            except InvalidBody as error:  # it was valid when the schedule was created
                log.warning("schedule %s: %s", schedule.name, error)
            else:
                # With the key, a crash before `advance` does not create a second job.
                job, _ = await self._store.create(
                    name=request.name,
                    owner=schedule.owner,
                    config=config_tree(request.config),
                    webhooks=request.webhooks,
                    schedule=schedule.name,
                    key=f"schedule:{schedule.name}:{schedule.next_at:.0f}",
                    files=request.files,
                )
                last_job = job.id
        await self._store.schedules.advance(schedule.name, next_at, last_job)


def next_time(cron: str, zone: str, now: float) -> float:
    """The first Unix time after `now` that the expression matches. Raises InvalidBody."""
    try:
        place = ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise InvalidBody(f"no such time zone: {zone[:60]!r}", "/zone") from error
    try:
        times = CronSim(cron, datetime.fromtimestamp(now, UTC).astimezone(place))
        return next(times).timestamp()
    except (CronSimError, StopIteration) as error:
        raise InvalidBody(
            f"not a cron expression with a future time: {cron[:60]!r}", "/cron"
        ) from error
