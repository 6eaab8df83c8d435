"""Resource limits of the service: holds jobs while disk or memory is short, deletes old jobs."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from crawler.service.jobs.data_folder import empty_trash, fill_reserve, move_to_trash
from crawler.service.jobs.job import ENDED_STATES, Job, JobState
from crawler.service.jobs.job_store import JobStore
from crawler.service.jobs.supervisor import JobSupervisor
from crawler.service.monitoring.memory import MemoryUse
from crawler.service.results.job_files import size_of
from crawler.service.settings import ServiceConfig

log = logging.getLogger(__name__)

CHECK_INTERVAL_S: Final = 1.0
"""Seconds between checks of free space and memory: `min_free` lasts longer at 100 MB/s."""

SIZE_SCAN_INTERVAL_S: Final = 30.0
"""Seconds between scans of the job folders' sizes."""

RESUME_FREE_MIN_BYTES: Final = 16 * 1024 * 1024
"""Free bytes below which no held job resumes by itself, however small `min_free` is."""

RESUME_FREE_FACTOR: Final = 1.5
"""Held jobs resume at this multiple of `min_free`, so that they are not held again at once."""

RESUMABLE_REASONS: Final = frozenset({"disk-full", "disk-quota", "memory"})
"""Reasons of held jobs that resume by themselves."""


class Retention:
    """Holds jobs while disk or memory is short, resumes them, deletes jobs that are too old.

    `free` returns a folder's free disk space in bytes; None: as the operating system says.
    """

    def __init__(
        self,
        folder: Path,
        config: ServiceConfig,
        store: JobStore,
        supervisor: JobSupervisor,
        *,
        memory: MemoryUse,
        free: Callable[[Path], int] | None = None,
    ) -> None:
        self.sizes: dict[str, int] = {}  # job id → bytes, as last measured
        self.free = 0  # bytes
        self._folder = folder
        self._config = config
        self._store = store
        self._supervisor = supervisor
        self._memory = memory
        self._free_space = free or (lambda folder: shutil.disk_usage(folder).free)
        self._shortage = ""

    @property
    def blocked_reason(self) -> str:
        """Why no job may start now: disk-full, disk-quota or memory; empty: jobs may start."""
        return self._shortage

    async def run(self) -> None:
        """Until cancelled."""
        known_jobs = {job.id for job in await self._all_jobs()}
        await asyncio.to_thread(empty_trash, self._folder, known_jobs)
        last_scan = 0.0
        while True:
            if time.monotonic() - last_scan > SIZE_SCAN_INTERVAL_S:
                if self.free > max(RESUME_FREE_MIN_BYTES, self._config.min_free):
                    await asyncio.to_thread(fill_reserve, self._folder)
                await self._measure_sizes()
                await self._delete_expired()
                last_scan = time.monotonic()
            await self.check()
            await asyncio.sleep(CHECK_INTERVAL_S)

    async def check(self) -> None:
        """Compare free space and memory with the limits once: hold or resume jobs."""
        self.free = self._free_space(self._folder)
        previous, self._shortage = self._shortage, self._find_shortage()
        supervisor = self._supervisor
        if self._shortage and self._shortage != previous:
            log.warning("%s: running jobs are held", self._shortage)
        if self._shortage == "memory":
            runs = supervisor.active_runs.values()
            youngest = max(runs, key=lambda run: run.job.number, default=None)
            if youngest is not None and self._memory.share() > self._memory.HOLD_SHARE:
                supervisor.hold(youngest.job.id, "memory")
        elif self._shortage:
            for job_id in list(supervisor.active_runs):
                supervisor.hold(job_id, self._shortage)
        elif self.free >= RESUME_FREE_MIN_BYTES or self.free >= self._config.min_free > 0:
            await self._resume_held()
            if previous:
                self._store.notify()

    async def _resume_held(self) -> None:
        for job in await self._store.find(states=[JobState.HELD], limit=1000):
            if job.reason in RESUMABLE_REASONS:
                await self._store.change_state(
                    job.id, lambda state: JobState.QUEUED if state is JobState.HELD else state
                )

    def _find_shortage(self) -> str:
        was_full = self._shortage == "disk-full"
        free_min = self._config.min_free * (RESUME_FREE_FACTOR if was_full else 1)
        if self.free < free_min:
            return "disk-full"
        if self._config.disk is not None and sum(self.sizes.values()) > self._config.disk:
            return "disk-quota"
        was_short = self._shortage == "memory"
        limit = self._memory.RESUME_SHARE if was_short else self._memory.HOLD_SHARE
        return "memory" if self._memory.share() > limit else ""

    async def _measure_sizes(self) -> None:
        jobs = await self._all_jobs()
        known = {job.id for job in jobs}
        running = set(self._supervisor.active_runs)
        for deleted in set(self.sizes) - known:
            del self.sizes[deleted]
        for job_id in known:
            if job_id in running or job_id not in self.sizes:
                folder = self._folder / "jobs" / job_id
                self.sizes[job_id] = await asyncio.to_thread(size_of, folder)
        self._enforce_owner_quotas(jobs)

    def _enforce_owner_quotas(self, jobs: list[Job]) -> None:
        """Hold the running jobs of an owner whose folders exceed the disk limit."""
        supervisor = self._supervisor
        used: dict[str, int] = {}
        for job in jobs:
            used[job.owner] = used.get(job.owner, 0) + self.sizes.get(job.id, 0)
        for run in list(supervisor.active_runs.values()):
            limit = supervisor.limits_of(run.job.owner).disk
            if limit is not None and used.get(run.job.owner, 0) > limit:
                supervisor.hold(run.job.id, "your-disk-quota")

    async def _delete_expired(self) -> None:
        """Delete ended jobs that are too old, and the oldest when they are too large together."""
        ended = sorted(
            (job for job in await self._all_jobs() if job.state in ENDED_STATES),
            key=lambda job: job.ended_at or 0.0,
        )
        for job in expired_jobs(
            ended, self.sizes, now=time.time(), keep_for=self._config.keep_for,
            keep_bytes=self._config.keep_bytes,
        ):  # fmt: skip
            log.info("job %s is deleted: its retention period or space has ended", job.id)
            await self._supervisor.delete_remote(job)
            trash = await asyncio.to_thread(move_to_trash, self._folder / "jobs" / job.id)
            await self._store.delete(job.id)
            await self._store.audit.insert("retention", "deleteJob", job.id)
            self.sizes.pop(job.id, None)
            if trash is not None:
                await asyncio.to_thread(shutil.rmtree, trash, ignore_errors=True)

    async def _all_jobs(self) -> list[Job]:
        return await self._store.find(limit=1_000_000)


def expired_jobs(
    ended: list[Job],
    sizes: dict[str, int],
    *,
    now: float,
    keep_for: float | None,
    keep_bytes: int | None,
) -> list[Job]:
    """The jobs to delete. `ended` is sorted by age, oldest first. `now` is Unix time; `keep_for`
    seconds and `keep_bytes` do not limit when None. Pure.
    """
    expired = []
    total = sum(sizes.get(job.id, 0) for job in ended)
    for job in ended:
        too_old = keep_for is not None and now - (job.ended_at or now) > keep_for
        too_large = keep_bytes is not None and total > keep_bytes
        if too_old or too_large:
            expired.append(job)
            total -= sizes.get(job.id, 0)
    return expired
