"""The service's folder: fit for use, free space, what jobs take, and what is kept for how long."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from crawler.errors import FatalError
from crawler.service.jobs.job import ENDED, Job, JobState
from crawler.service.jobs.job_store import JobStore
from crawler.service.jobs.supervisor import JobSupervisor
from crawler.service.monitoring.memory import MemoryUse
from crawler.service.results.job_files import size_of
from crawler.service.settings import ServiceConfig

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 1.0
"""Seconds between looks at free space and memory: at 100 MB/s the least free space lasts longer."""

MEASURE_EVERY: Final = 30.0
"""Seconds between sums of the folders' sizes."""

ENOUGH: Final = 16 * 1024 * 1024
"""Free bytes below which no held job goes on by itself, whatever the least free space is set to."""

BACK_ABOVE: Final = 1.5
"""Held jobs go on when free space is this many times the least: not to stop at once again."""

RESERVE: Final = 1024 * 1024
"""Bytes kept in a file of their own, given up when the disk is full: so that the register can still
write down that the jobs are held."""

_OURS: Final = re.compile(r"[0-9a-f]{12}")


def prepare(folder: Path) -> None:
    """Make the folder and try to write to it. Raises FatalError, in words for a container's log."""
    probe = folder / ".writable"
    try:
        (folder / "jobs").mkdir(parents=True, exist_ok=True)
        (folder / "trash").mkdir(exist_ok=True)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise FatalError(
            f"{folder}: {error.strerror}. The service runs as user {os.getuid()}, group "
            f"{os.getgid()}; the folder or volume must be writable by them"
        ) from error


def keep_reserve(folder: Path) -> None:
    """Fill the reserve, unless it is or the disk is full. Blocking: a megabyte is written."""
    path = folder / ".reserve"
    try:
        if not path.exists() or path.stat().st_size < RESERVE:
            path.write_bytes(b"\0" * RESERVE)
    except OSError:
        path.unlink(missing_ok=True)


def give_up_reserve(folder: Path) -> bool:
    """Whether there was one to give up."""
    try:
        (folder / ".reserve").unlink()
    except OSError:
        return False
    return True


def put_away(folder: Path) -> Path | None:
    """Move a job's folder where it is deleted sooner or later; None: there is none."""
    trash = folder.parent.parent / "trash" / f"{folder.name}-{time.time_ns()}"
    try:
        folder.rename(trash)
    except FileNotFoundError:
        return None
    return trash


class Retention:
    """Holds jobs while disk or memory is short, takes them up again, deletes what is too old."""

    def __init__(
        self,
        folder: Path,
        config: ServiceConfig,
        register: JobStore,
        foreman: Callable[[], JobSupervisor],
        *,
        memory: MemoryUse,
        free: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        self.sizes: dict[str, int] = {}
        self.free = 0
        self._folder = folder
        self._config = config
        self._register = register
        self._foreman = foreman
        self._memory = memory
        self._free = free
        self._short = ""

    @property
    def trouble(self) -> str:
        """Why nothing may start now: disk-full, disk-quota, memory; or nothing."""
        return self._short

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.to_thread(self._empty_trash, {job.id for job in await self._all()})
        measured = 0.0
        while True:
            if time.monotonic() - measured > MEASURE_EVERY:
                if self.free > max(ENOUGH, self._config.min_free):
                    await asyncio.to_thread(keep_reserve, self._folder)
                await self._measure()
                await self._sweep()
                measured = time.monotonic()
            await self.look()
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """One look: hold what must stop, release what may go on."""
        self.free = self._free(self._folder)
        was, self._short = self._short, self._judge()
        foreman = self._foreman()
        if self._short and self._short != was:
            log.warning("%s: running jobs are held", self._short)
        if self._short == "memory":
            youngest = max(foreman.shifts.values(), key=lambda one: one.job.number, default=None)
            if youngest is not None and self._memory.share() > self._memory.HOLD:
                foreman.hold(youngest.job.id, "memory")
        elif self._short:
            for running in list(foreman.shifts):
                foreman.hold(running, self._short)
        elif self.free >= ENOUGH or self.free >= self._config.min_free > 0:
            for job in await self._register.jobs(states=[JobState.HELD], limit=1000):
                if job.reason in {"disk-full", "disk-quota", "memory"}:
                    await self._register.change(
                        job.id, lambda state: JobState.QUEUED if state is JobState.HELD else state
                    )
            if was:
                self._register.ring()

    def _judge(self) -> str:
        least = self._config.min_free * (BACK_ABOVE if self._short == "disk-full" else 1)
        if self.free < least:
            return "disk-full"
        if self._config.disk is not None and sum(self.sizes.values()) > self._config.disk:
            return "disk-quota"
        share = self._memory.share()
        if share > self._memory.HOLD or (self._short == "memory" and share > self._memory.BACK):
            return "memory"
        return ""

    async def _measure(self) -> None:
        jobs = {job.id for job in await self._all()}
        running = set(self._foreman().shifts)
        for gone in set(self.sizes) - jobs:
            del self.sizes[gone]
        for job in jobs:
            if job in running or job not in self.sizes:
                self.sizes[job] = await asyncio.to_thread(size_of, self._folder / "jobs" / job)
        self._quotas(await self._all())

    def _quotas(self, jobs: list[Job]) -> None:
        """Hold the running jobs of an owner whose folders take more than they may."""
        foreman = self._foreman()
        used: dict[str, int] = {}
        for job in jobs:
            used[job.owner] = used.get(job.owner, 0) + self.sizes.get(job.id, 0)
        for shift in list(foreman.shifts.values()):
            limit = foreman.limits_of(shift.job.owner).disk
            if limit is not None and used.get(shift.job.owner, 0) > limit:
                foreman.hold(shift.job.id, "your-disk-quota")

    async def _sweep(self) -> None:
        """Delete ended jobs that are too old, and the oldest when they are too large together."""
        ended = sorted(
            (job for job in await self._all() if job.state in ENDED),
            key=lambda job: job.ended_at or 0.0,
        )
        for job in doomed(
            ended, self.sizes, now=time.time(), keep_for=self._config.keep_for,
            keep_bytes=self._config.keep_bytes,
        ):  # fmt: skip
            log.info("job %s is deleted: retention", job.id)
            await self._foreman().forget(job)
            trash = await asyncio.to_thread(put_away, self._folder / "jobs" / job.id)
            await self._register.delete(job.id)
            await self._register.audit("retention", "deleteJob", job.id)
            self.sizes.pop(job.id, None)
            if trash is not None:
                await asyncio.to_thread(shutil.rmtree, trash, ignore_errors=True)

    async def _all(self) -> list[Job]:
        return await self._register.jobs(limit=1_000_000)

    def _empty_trash(self, known: set[str]) -> None:
        """What a kill left behind: half-deleted folders, and folders of jobs that are forgotten."""
        for folder in (self._folder / "jobs").iterdir():
            if _OURS.fullmatch(folder.name) and folder.name not in known:
                put_away(folder)
        for folder in (self._folder / "trash").iterdir():
            shutil.rmtree(folder, ignore_errors=True)


def doomed(
    ended: list[Job],
    sizes: dict[str, int],
    *,
    now: float,
    keep_for: float | None,
    keep_bytes: int | None,
) -> list[Job]:
    """Which of the ended jobs, oldest first, are not kept any longer. Pure."""
    gone = []
    total = sum(sizes.get(job.id, 0) for job in ended)
    for job in ended:
        old = keep_for is not None and now - (job.ended_at or now) > keep_for
        large = keep_bytes is not None and total > keep_bytes
        if old or large:
            gone.append(job)
            total -= sizes.get(job.id, 0)
    return gone
