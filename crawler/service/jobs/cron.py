"""Recrawls by the clock: cron expressions with a time zone, each making a job when it is due.

The next time is kept in the register before anything is made, so a schedule that was missed while
the service was down makes one job when it is up again, not one for each time it missed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

from crawler.service.jobs.crawl_job_request import JobRequest, stored
from crawler.service.jobs.job import ENDED
from crawler.service.jobs.job_store import JobStore
from crawler.service.jobs.request_body import InvalidBody

log = logging.getLogger(__name__)

LONGEST: Final = 60.0
"""Seconds between looks at the clock: what is set back or forward is noticed by then."""


class CronSchedule(msgspec.Struct, frozen=True):
    """A job that is made again and again. `request` is a job's body, `next_at` Unix time."""

    name: str
    owner: str
    cron: str
    zone: str
    request: dict[str, Any]
    next_at: float
    last_job: str | None


class CronScheduler:
    """Keeps the schedules in the register; `run` makes their jobs."""

    def __init__(
        self,
        register: JobStore,
        read: Callable[[object, str], JobRequest],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._register = register
        self._read = read
        self._clock = clock
        self._bell = asyncio.Event()

    async def all(self) -> list[CronSchedule]:
        rows = await self._register.rows(
            "SELECT name, owner, cron, zone, request, next_at, last_job FROM schedule ORDER BY name"
        )
        return [
            CronSchedule(name, owner, cron, zone, msgspec.json.decode(request), next_at, last)
            for name, owner, cron, zone, request, next_at, last in rows
        ]

    async def put(
        self, name: str, owner: str, cron: str, zone: str, request: dict[str, Any]
    ) -> CronSchedule:
        """Make or replace one. Raises Invalid for what is no cron expression or no job."""
        self._read(request, owner)
        due = next_time(cron, zone, self._clock())
        await self._register.write(
            "INSERT INTO schedule VALUES (?, ?, ?, ?, ?, ?, NULL, ?) ON CONFLICT (name) DO UPDATE "
            "SET owner = excluded.owner, cron = excluded.cron, zone = excluded.zone, "
            "request = excluded.request, next_at = excluded.next_at",
            name, owner, cron, zone, msgspec.json.encode(request).decode(), due, self._clock(),
        )  # fmt: skip
        self._bell.set()
        return CronSchedule(name, owner, cron, zone, request, due, None)

    async def drop(self, name: str) -> bool:
        """Whether there was one to drop. Its jobs stay."""
        return bool(await self._register.write("DELETE FROM schedule WHERE name = ?", name))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._bell.clear()
            now = self._clock()
            waits = [LONGEST]
            for schedule in await self.all():
                if schedule.next_at <= now:
                    await self._make(schedule, now)
                    waits.append(0.0)
                else:
                    waits.append(schedule.next_at - now)
            try:
                async with asyncio.timeout(min(waits)):
                    await self._bell.wait()
            except TimeoutError:
                pass

    async def _make(self, schedule: CronSchedule, now: float) -> None:
        """One job for a time that has come; none while the one before has not ended."""
        due = next_time(schedule.cron, schedule.zone, now)
        last = await self._register.get(schedule.last_job) if schedule.last_job else None
        made = schedule.last_job
        if last is not None and last.state not in ENDED:
            log.warning("schedule %s: job %s is still %s", schedule.name, last.id, last.state)
        else:
            try:
                order = self._read(schedule.request, schedule.owner)
            except InvalidBody as error:  # what was allowed when it was made is not any more
                log.warning("schedule %s: %s", schedule.name, error)
            else:
                # The key makes it one job, should we die before the next time is kept.
                job, _ = await self._register.create(
                    name=order.name,
                    owner=schedule.owner,
                    config=stored(order.config),
                    webhooks=order.webhooks,
                    schedule=schedule.name,
                    key=f"schedule:{schedule.name}:{schedule.next_at:.0f}",
                    files=order.files,
                )
                made = job.id
        await self._register.write(
            "UPDATE schedule SET next_at = ?, last_job = ? WHERE name = ?", due, made, schedule.name
        )


def next_time(cron: str, zone: str, now: float) -> float:
    """The first time after `now` (Unix) that the expression names. Raises Invalid."""
    try:
        place = ZoneInfo(zone)
    except (ValueError, OSError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise InvalidBody(f"no such time zone: {zone[:60]!r}", "/zone") from error
    except KeyError as error:
        raise InvalidBody(f"no such time zone: {zone[:60]!r}", "/zone") from error
    try:
        times = CronSim(cron, datetime.fromtimestamp(now, UTC).astimezone(place))
        return next(times).timestamp()
    except (CronSimError, StopIteration) as error:
        raise InvalidBody(
            f"not a cron expression that comes true: {cron[:60]!r}", "/cron"
        ) from error
