"""A worker daemon: takes part in every job that a coordinator submits to Redis.

Twice a second it reads the coordinator's orders: it opens new jobs in folders of its own below DIR,
stops paused jobs, drops cancelled ones, and reports its status. It makes no decisions: when it is
killed, its leases expire and other workers continue; restarted in DIR, it resumes.
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
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from crawler.config.model import Config, FrontierConfig
from crawler.config.workdir import is_crawl, worker_id
from crawler.engine.running_crawl import RunningCrawl
from crawler.engine.stats import StatsCollector
from crawler.errors import CrawlerError, FatalError, FrontierError
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
from crawler.service.cluster.job_task import JobTask
from crawler.service.jobs.job_run import first_error
from crawler.service.monitoring.logs import JOB
from crawler.service.monitoring.memory import resident_memory
from crawler.version import __version__

log = logging.getLogger(__name__)

JOB_RETRY_DELAY_S: Final = 5.0
"""Seconds until a job that failed here, for example on a full disk, is opened again."""

RATE_WINDOW_S: Final = 10.0
"""Seconds over which the pages per second are averaged."""

JOB_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Names of jobs that are accepted: a job's name becomes a folder's name."""

JoinOpener: TypeAlias = Callable[..., AbstractAsyncContextManager[RunningCrawl]]
Configure: TypeAlias = Callable[[str, str], Config]
"""(job, its settings as TOML) → the Config with this worker's own settings. Raises ConfigError."""


class WorkerDaemon:
    """`run` works until `stop`.

    `configure` makes a job's Config, `opener` opens its crawl, `on_crawl_closed` gets the
    statistics of each closed crawl.
    """

    def __init__(
        self,
        frontier: FrontierConfig,
        folder: Path,
        *,
        configure: Configure,
        opener: JoinOpener,
        on_crawl_closed: Callable[[StatsCollector], None] = lambda _: None,
    ) -> None:
        self._frontier = frontier
        self._folder = folder
        self._configure = configure
        self._opener = opener
        self.on_crawl_closed = on_crawl_closed
        self._job_tasks: dict[str, JobTask] = {}
        self._finished: dict[str, str] = {}  # job → id of the order that it finished
        self._retry_at: dict[str, float] = {}  # job → monotonic time when it is opened again
        self._errors: dict[str, str] = {}
        self._stopping = asyncio.Event()
        self._started_at = time.time()
        self._pages = 0  # of closed crawls
        self._rate_samples: list[tuple[float, int]] = [(time.time(), 0)]
        self._client: RedisClient | None = None
        self._connected = False
        self.name = ""

    @property
    def is_disconnected(self) -> bool:
        """Whether the server does not respond, or was not reached yet."""
        return not self._connected or self._client is None or self._client.away

    @property
    def crawls(self) -> list[RunningCrawl]:
        """The open crawls."""
        return [task.crawl for task in self._job_tasks.values() if task.crawl is not None]

    async def run(self) -> None:
        """Raises ConfigError, FatalError, FrontierError (also for an unreachable server)."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FatalError(f"{self._folder}: {error.strerror}") from error
        self.name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._client = client = wire_to(self._frontier)
        try:
            async with client, asyncio.TaskGroup() as tasks:
                log.info(
                    "worker %s waits for jobs at %s, in %s", self.name, client.name, self._folder
                )
                self._connected = True
                while not self._stopping.is_set():
                    await self._apply_orders(client, tasks)
                    await self._send_status(client)
                    try:
                        async with asyncio.timeout(EVERY):
                            await self._stopping.wait()
                    except TimeoutError:
                        pass
                await self._shut_down(client)
        except* FrontierError as group:
            if not self._stopping.is_set():
                raise
            log.warning("stopped without deregistering: %s", first_error(group))

    async def _shut_down(self, client: RedisClient) -> None:
        """Wait until all crawls have ended, within their grace time, then deregister."""
        while self._job_tasks:
            with contextlib.suppress(FrontierError):
                await self._send_status(client)
            await asyncio.sleep(EVERY / 4)
        await get_up(client, self._registration())

    def stop(self) -> None:
        """First call: finish URLs in progress. Second call: give them back."""
        reason = "cancelled" if self._stopping.is_set() else "shutdown"
        self._stopping.set()
        if self._client is not None:
            self._client.give_up()  # do not wait for an unreachable server any longer
        for job_task in self._job_tasks.values():
            job_task.stop(reason)

    async def _apply_orders(self, client: RedisClient, tasks: asyncio.TaskGroup) -> None:
        """Read the coordinator's orders; start and stop jobs."""
        by_job = await orders(client)
        for job, job_task in self._job_tasks.items():
            order = by_job.get(job)
            if order is None or order.verb is WorkerCommand.DROP:
                job_task.stop("cancelled")
            elif order.verb is WorkerCommand.STOP:
                job_task.stop("paused")
            elif not job_task.stop_reason:
                job_task.turn = order.turn  # a restarted coordinator has taken over the job
        for job, order in by_job.items():
            if order.verb is WorkerCommand.RUN and self._may_start(job, order):
                self._job_tasks[job] = JobTask(order.turn)
                tasks.create_task(self._execute(client, job), name=f"job {job}")
        for job in self._finished.keys() - by_job.keys():
            del self._finished[job]
        for job in self._errors.keys() - by_job.keys():
            del self._errors[job]

    def _may_start(self, job: str, order: WorkerOrder) -> bool:
        return (
            job not in self._job_tasks
            and self._finished.get(job) != order.turn
            and self._retry_at.get(job, 0.0) <= time.monotonic()
            and JOB_NAME.fullmatch(job) is not None
        )

    async def _execute(self, client: RedisClient, job: str) -> None:
        """One job, until it ends, is stopped, or fails on this worker."""
        JOB.set(job)
        job_task = self._job_tasks[job]
        error_text = ""
        try:
            await self._run_crawl(job, job_task)
        except* (CrawlerError, OSError) as group:
            error_text = str(first_error(group))
            log.warning(
                "job %s: %s; will be opened again in %g s", job, error_text, JOB_RETRY_DELAY_S
            )
        except* Exception as group:
            error = first_error(group)
            log.exception("job %s: unexpected error (a bug)", job, exc_info=error)
            error_text = f"bug: {type(error).__name__}"
        await self._report_closed(client, job, job_task)
        del self._job_tasks[job]
        if error_text:
            self._errors[job] = error_text
            self._retry_at[job] = time.monotonic() + JOB_RETRY_DELAY_S
        else:
            self._errors.pop(job, None)
            if not job_task.stop_reason:
                self._finished[job] = job_task.turn
        log.info(
            "job %s ended on this worker: %s", job, error_text or job_task.stop_reason or "finished"
        )

    async def _report_closed(self, client: RedisClient, job: str, job_task: JobTask) -> None:
        """Add the last figures of a closed crawl to the job's sums."""
        if job_task.crawl is None:
            return
        try:
            await add_up(client, job, job_task.new_sums())
        except FrontierError as error:
            log.warning("job %s: its last figures are lost: %s", job, error)
        self._pages += job_task.crawl.tally.pages
        self.on_crawl_closed(job_task.crawl.tally)

    async def _run_crawl(self, job: str, job_task: JobTask) -> None:
        own = msgspec.structs.replace(self._frontier, job=job)
        config = self._configure(job, await settings_of(own))
        folder = self._folder / job
        mode = "resume" if is_crawl(folder) else "new"
        log.info("job %s starts", job)
        async with self._opener(config, dir=folder, mode=mode, join=True) as crawl:
            job_task.name = worker_id(folder, job)
            job_task.crawl = crawl
            if job_task.stop_reason:
                reason, job_task.stop_reason = job_task.stop_reason, ""
                job_task.stop(reason)
            await crawl.run()

    async def _send_status(self, client: RedisClient) -> None:
        pages = self._pages
        statuses = {}
        for job, job_task in list(self._job_tasks.items()):
            if job_task.crawl is None:
                statuses[job] = WorkerStatus("", 0, 0, 0)
                continue
            new_sums = job_task.new_sums()
            job_task.reported.update(new_sums)
            await add_up(client, job, new_sums)
            stats = job_task.crawl.tally
            pages += stats.pages
            leased: int = getattr(job_task.crawl.frontier, "on_lease", 0)
            statuses[job] = WorkerStatus(job_task.name, stats.pages, leased, stats.gauges.in_flight)
        now = time.time()
        self._rate_samples = [
            sample for sample in self._rate_samples if sample[0] > now - RATE_WINDOW_S
        ] + [(now, pages)]
        await sit_down(client, self._registration(pages, statuses), self._frontier.lease)

    def _registration(
        self, pages: int = 0, statuses: dict[str, WorkerStatus] | None = None
    ) -> WorkerRegistration:
        (then, before), (now, after) = self._rate_samples[0], self._rate_samples[-1]
        rate = (after - before) / (now - then) if now - then >= EVERY / 2 else 0.0
        return WorkerRegistration(
            self.name, str(self._folder), os.getpid(), __version__, self._started_at, time.time(),
            resident_memory(), pages, round(rate, 2), statuses or {}, dict(self._errors),
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<WorkerDaemon {self.name}: {len(self._job_tasks)} jobs>"
