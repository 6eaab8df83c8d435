"""Runs the jobs: many open crawls in one event loop, started, stopped and resumed.

The job store has the wanted state of each job. The supervisor itself has no state that must
survive: after a kill, a new one reads the store, opens the jobs' folders and resumes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

from crawler.engine.stats import StatsCollector
from crawler.errors import CrawlerError, FrontierError
from crawler.service.jobs.crawl_run import CrawlRun
from crawler.service.jobs.job import (
    Job,
    JobConflict,
    JobLimits,
    JobState,
    Totals,
    next_state,
    select_jobs,
)
from crawler.service.jobs.job_run import JobRun, classify_failure, first_error
from crawler.service.jobs.job_store import JobStore
from crawler.service.jobs.runner import JobRunner
from crawler.service.monitoring.logs import JOB

log = logging.getLogger(__name__)

TOTALS_INTERVAL_S: Final = 5.0
"""Seconds between saves of running jobs' totals, which a restarted service shows at first."""

STORE_RETRY_DELAY_S: Final = 2.0
"""Seconds before the store is used again after an error, such as a full disk."""


class JobSupervisor:
    """Starts and stops runs as the store demands. `run` is the service's main task.

    `limits` hold for all jobs together, `limits_of` maps an owner to those of the owner's jobs.
    `blocked_reason` says why no job may start now; empty: jobs may start. `on_crawl_closed` gets
    the statistics of each run. `free_disk_space` frees space for the store on a full disk and
    returns False when it cannot. `trace` is entered around each run, with the job's id and name.
    """

    def __init__(
        self,
        store: JobStore,
        folder: Path,
        runner_for: Callable[[Job], JobRunner],
        *,
        limits: JobLimits,
        limits_of: Callable[[str], JobLimits],
        blocked_reason: Callable[[], str] = lambda: "",
        on_crawl_closed: Callable[[StatsCollector], None] = lambda _: None,
        free_disk_space: Callable[[], bool] = lambda: False,
        make_run: Callable[[Job], JobRun] = CrawlRun,
        trace: Callable[[str, str], AbstractContextManager[None]] = lambda _job, _name: (
            nullcontext()
        ),
    ) -> None:
        self.active_runs: dict[str, JobRun] = {}  # by job id
        self.draining = False
        self.store = store
        self.runner_for = runner_for
        self.limits_of = limits_of
        self._aborting = False
        self._folder = folder
        self._limits = limits
        self._blocked_reason = blocked_reason
        self._on_crawl_closed = on_crawl_closed
        self._free_disk_space = free_disk_space
        self._make_run = make_run
        self._trace = trace

    def folder_of(self, job_id: str) -> Path:
        """The folder of a job, which may not exist yet."""
        return self._folder / "jobs" / job_id

    async def run(self) -> None:
        """Until `drain`; returns when the last run has ended."""
        for job in await self.store.recover():
            log.info("job %s was interrupted: it resumes as %s", job.id, job.state)
        async with asyncio.TaskGroup() as tasks:
            saving_totals = tasks.create_task(self._save_totals(), name="totals")
            while not self.draining:
                changed = self.store.changed
                timeout = None
                try:
                    await self._start_queued(tasks)
                except FrontierError as error:
                    log.warning("no job can be started: %s", error)
                    timeout = STORE_RETRY_DELAY_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout):
                        await changed.wait()
            for run in self.active_runs.values():
                run.stop("shutdown")
            if self._aborting:  # `abort_all` was called while a run was being started
                self.abort_all()
            saving_totals.cancel()

    def drain(self) -> None:
        """Stop each run within its grace time; the jobs stay queued for the next start."""
        self.draining = True
        self.store.notify()

    def abort_all(self) -> None:
        """After `drain`: end all runs at once; URLs in progress are fetched again later.

        The task of a run that is still being opened (it waits for an unreachable server) is
        cancelled; the next start resumes the job.
        """
        self._aborting = True
        for run in self.active_runs.values():
            if run.crawl is not None:
                run.crawl.abort()
            elif run.task is not None:
                run.task.cancel()

    async def apply_action(self, job_id: str, action: str) -> Job:
        """Execute a user's action, a key of `ACTIONS`. Raises KeyError, JobConflict."""
        job = await self.store.change_state(job_id, lambda state: next_state(state, action))
        run = self.active_runs.get(job_id)
        if run is not None:
            run.job = job
            if job.state is JobState.PAUSING:
                run.stop("paused")
            elif job.state is JobState.CANCELLING:
                run.stop("cancelled")
        return job

    async def delete_remote(self, job: Job, *, output: bool = True) -> None:
        """Delete what is stored outside of a job's folder: its queue and, with `output`, the
        records of workers. What cannot be reached now is left, and logged.
        """
        try:
            await self.runner_for(job).delete_remote(job, output=output)
        except (CrawlerError, OSError) as error:
            log.warning("job %s: its data elsewhere is not deleted: %s", job.id, error)

    def hold(self, job_id: str, reason: str) -> None:
        """Stop a running job for a temporary reason, a key of `STOP_STATES`."""
        if (run := self.active_runs.get(job_id)) is not None:
            run.stop(reason)

    async def _start_queued(self, tasks: asyncio.TaskGroup) -> None:
        if self._blocked_reason():
            return
        queued = [
            job
            for job in await self.store.find(states=[JobState.QUEUED], limit=1000)
            if job.id not in self.active_runs
        ]
        running = Counter(run.job.owner for run in self.active_runs.values())
        owners = {job.owner for job in queued}
        selected = select_jobs(
            queued,
            running,
            total_limit=self._limits.running,
            owner_limits={owner: self.limits_of(owner).running for owner in owners},
        )
        for job in selected:
            try:
                started = await self.store.change_state(job.id, _running_state, starts_run=True)
            except (JobConflict, KeyError):  # paused, cancelled or deleted in the meantime
                continue
            run = self.active_runs[job.id] = self._make_run(started)
            run.task = tasks.create_task(self._execute(run), name=f"job {job.id}")

    async def _execute(self, run: JobRun) -> None:
        """One run of a job, from opening its folder to storing its next state."""
        job = run.job
        JOB.set(job.id)
        log.info("job %s starts: %s", job.id, job.name)
        state, reason = JobState.FAILED, ""
        try:
            with self._trace(job.id, job.name):
                state, reason = await run.execute(self.folder_of(job.id), self.runner_for(job))
        except* (CrawlerError, OSError) as group:
            state, reason = classify_failure(group)
        except* Exception as group:
            error = first_error(group)
            log.exception("job %s: unexpected error (a bug)", job.id, exc_info=error)
            reason = f"bug: {type(error).__name__}"
        totals = run.totals()
        if run.crawl is not None:
            self._on_crawl_closed(run.crawl.tally)
        del self.active_runs[job.id]
        log.info("job %s is %s %s", job.id, state, reason)
        await self._store_result(job.id, state, reason, totals)
        if state is JobState.FINISHED:
            await self.delete_remote(job, output=False)

    async def _store_result(self, job: str, state: JobState, reason: str, totals: Totals) -> None:
        """Store how a run ended. Retried while the store's disk is full."""
        while True:
            try:
                await self.store.change_state(job, state, reason=reason, totals=totals)
            except KeyError:  # deleted in the meantime
                return
            except FrontierError as error:
                log.warning("job %s: its end cannot be written yet: %s", job, error)
                if self.draining:  # the next start finds the job running, and resumes it
                    return
                if not self._free_disk_space():
                    await asyncio.sleep(STORE_RETRY_DELAY_S)
            else:
                return

    async def _save_totals(self) -> None:
        while True:
            await asyncio.sleep(TOTALS_INTERVAL_S)
            with contextlib.suppress(FrontierError):  # others report it; totals are for display
                for run in list(self.active_runs.values()):
                    await self.store.save_totals(run.job.id, run.totals())

    def __repr__(self) -> str:
        running = len(self.active_runs)
        return f"<JobSupervisor {running} running{', draining' if self.draining else ''}>"


def _running_state(state: JobState) -> JobState:
    if state is not JobState.QUEUED:
        raise JobConflict(f"the job is {state}")
    return JobState.RUNNING
