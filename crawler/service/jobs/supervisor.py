"""Runs the jobs: many open crawls in one event loop, started, stopped and taken up again.

The register says what is wanted, the foreman sees to it. It owns nothing that must survive: killed
at any instant, a new one reads the register, opens each job's folder and goes on.
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
from crawler.service.jobs.failure import first, verdict
from crawler.service.jobs.job import Job, JobConflict, JobLimits, JobState, Totals, after, choose
from crawler.service.jobs.job_store import JobStore
from crawler.service.jobs.runner import JobRunner
from crawler.service.monitoring.logs import JOB

log = logging.getLogger(__name__)

NOTE_EVERY: Final = 5.0
"""Seconds between notes of a running job's totals: what a restart shows until it runs again."""

RETRY_EVERY: Final = 2.0
"""Seconds until the register is tried again when its disk is full."""


class JobSupervisor:
    """Starts what may start, stops what must stop. `run` is the service's main task."""

    def __init__(
        self,
        register: JobStore,
        folder: Path,
        runner_of: Callable[[Job], JobRunner],
        *,
        limits: JobLimits,
        limits_of: Callable[[str], JobLimits],
        may_start: Callable[[], str] = lambda: "",
        ended: Callable[[StatsCollector], None] = lambda _: None,
        make_room: Callable[[], bool] = lambda: False,
        shift_of: Callable[[Job], CrawlRun] = CrawlRun,
        trace: Callable[[str, str], AbstractContextManager[None]] = lambda _job, _name: (
            nullcontext()
        ),
    ) -> None:
        self.shifts: dict[str, CrawlRun] = {}
        self.draining = False
        self._dropped = False
        self._register = register
        self._folder = folder
        self.runner_of = runner_of
        self._limits = limits
        self.limits_of = limits_of
        self._may_start = may_start  # a word for why nothing may, else nothing
        self._ended = ended
        self._shift_of = shift_of  # what does the job's kind of work
        self._trace = trace  # a span around each run, by id and name
        self._make_room = make_room  # for the register on a full disk; False: there is none left

    def folder_of(self, job: str) -> Path:
        return self._folder / "jobs" / job

    async def run(self) -> None:
        """Until `drain`; returns when the last crawl has been closed."""
        for job in await self._register.recover():
            log.info("job %s goes on: it was interrupted", job.id)
        async with asyncio.TaskGroup() as crew:
            notes = crew.create_task(self._note(), name="totals")
            while not self.draining:
                bell = self._register.bell
                wait = None
                try:
                    await self._start(crew)
                except FrontierError as error:
                    log.warning("no job can be started: %s", error)
                    wait = RETRY_EVERY
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await bell.wait()
            for shift in self.shifts.values():
                shift.stop("shutdown")
            if self._dropped:  # while one was being started
                self.drop()
            notes.cancel()

    def drain(self) -> None:
        """Stop every crawl within its grace time; the jobs stay queued for the next start."""
        self.draining = True
        self._register.ring()

    def drop(self) -> None:
        """After `drain`: let go of what is in hand. A crawl that is still being opened (it waits
        for a server that is away) is left as it is; the next start goes on with it.
        """
        self._dropped = True
        for shift in self.shifts.values():
            if shift.crawl is not None:
                shift.crawl.abort()
            elif shift.task is not None:
                shift.task.cancel()

    async def ask(self, job: str, verb: str) -> Job:
        """A person's verb. Raises KeyError, Conflict."""
        changed = await self._register.change(job, lambda state: after(state, verb))
        shift = self.shifts.get(job)
        if shift is not None:
            shift.job = changed
            if changed.state is JobState.PAUSING:
                shift.stop("paused")
            elif changed.state is JobState.CANCELLING:
                shift.stop("cancelled")
        return changed

    async def forget(self, job: Job, *, output: bool = True) -> None:
        """Drop what of a job lies outside its folder: its queue and, with `output`, the shares that
        workers wrote. What cannot be had now is left, and said.
        """
        try:
            await self.runner_of(job).forget(job, output=output)
        except (CrawlerError, OSError) as error:
            log.warning("job %s: something of it is left behind: %s", job.id, error)

    def hold(self, job: str, reason: str) -> None:
        """Stop a running job for a reason that passes; see `shift.STOPS`."""
        if (shift := self.shifts.get(job)) is not None:
            shift.stop(reason)

    async def _start(self, crew: asyncio.TaskGroup) -> None:
        if self._may_start():
            return
        queued = [
            job
            for job in await self._register.jobs(states=[JobState.QUEUED], limit=1000)
            if job.id not in self.shifts
        ]
        running = Counter(shift.job.owner for shift in self.shifts.values())
        owners = {job.owner for job in queued}
        chosen = choose(
            queued,
            running,
            most=self._limits.running,
            each={owner: self.limits_of(owner).running for owner in owners},
        )
        for job in chosen:
            try:
                job = await self._register.change(job.id, _begin, opened=True)  # noqa: PLW2901 - a moment later
            except (JobConflict, KeyError):  # paused, cancelled or deleted under our hands
                continue
            shift = self.shifts[job.id] = self._shift_of(job)
            shift.task = crew.create_task(self._work(shift), name=f"job {job.id}")

    async def _work(self, shift: CrawlRun) -> None:
        """One run of a job, from opening its folder to its next state."""
        job = shift.job
        JOB.set(job.id)
        log.info("job %s starts: %s", job.id, job.name)
        state, reason = JobState.FAILED, ""
        try:
            with self._trace(job.id, job.name):
                state, reason = await shift.work(self.folder_of(job.id), self.runner_of(job))
        except* CrawlerError as group:
            state, reason = verdict(group)
        except* OSError as group:
            state, reason = verdict(group)
        except* Exception as group:
            error = first(group)
            log.exception("job %s: a bug", job.id, exc_info=error)
            reason = f"bug: {type(error).__name__}"
        totals = shift.totals()
        if shift.crawl is not None:
            self._ended(shift.crawl.tally)
        del self.shifts[job.id]
        log.info("job %s is %s %s", job.id, state, reason)
        await self._enter(job.id, state, reason, totals)
        if state is JobState.FINISHED:
            await self.forget(job, output=False)

    async def _enter(self, job: str, state: JobState, reason: str, totals: Totals) -> None:
        """Keep how a run ended. A disk that is full for the register, too, is waited for."""
        while True:
            try:
                await self._register.change(job, state, reason=reason, totals=totals)
            except KeyError:  # deleted meanwhile
                return
            except FrontierError as error:
                log.warning("job %s: its end cannot be written yet: %s", job, error)
                if self.draining:  # the next start finds it running, and goes on with it
                    return
                if not self._make_room():
                    await asyncio.sleep(RETRY_EVERY)
            else:
                return

    async def _note(self) -> None:
        while True:
            await asyncio.sleep(NOTE_EVERY)
            with contextlib.suppress(FrontierError):  # said elsewhere, and only for show
                for shift in list(self.shifts.values()):
                    await self._register.note(shift.job.id, shift.totals())

    def __repr__(self) -> str:
        return f"<Foreman {len(self.shifts)} running{', draining' if self.draining else ''}>"


def _begin(state: JobState) -> JobState:
    if state is not JobState.QUEUED:
        raise JobConflict(f"the job is {state}")
    return JobState.RUNNING
