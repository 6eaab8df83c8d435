"""The base class of one run of a job; each job kind has a subclass.

A run begins when a queued job is started and ends when the job finishes, fails or is stopped. A
paused job that resumes gets a new run. Exceptions of a run are mapped to the job's next state here.
"""

from __future__ import annotations

import asyncio
import errno
import os
from abc import ABC, abstractmethod
from collections import deque
from pathlib import Path
from typing import Any, Final

import msgspec

from crawler.bootstrap.download_progress import DownloadProgress
from crawler.engine.running_crawl import RunningCrawl
from crawler.engine.stats import StatsSnapshot
from crawler.errors import ConfigError
from crawler.policy.autothrottle import HostPace
from crawler.service.jobs.job import Job, JobState, Totals
from crawler.service.jobs.runner import JobRunner

RECENT_VISITS: Final = 50
"""Visits kept in memory for each running job, for the API."""

STOP_STATES: Final = {
    "paused": (JobState.PAUSED, ""),
    "cancelled": (JobState.CANCELLED, ""),
    "aborted": (JobState.CANCELLED, ""),
    "shutdown": (JobState.QUEUED, "shutdown"),
    "disk-full": (JobState.HELD, "disk-full"),
    "disk-quota": (JobState.HELD, "disk-quota"),
    "your-disk-quota": (JobState.HELD, "your-disk-quota"),
    "memory": (JobState.HELD, "memory"),
}
"""finish_reason of a run that the service stopped → the job's next state and its reason."""


class RecentVisit(msgspec.Struct, frozen=True):
    """One of the last visits of a run. `ms`: duration; `at`: Unix time."""

    url: str
    outcome: str
    status: int | None
    ms: float | None
    at: float


class JobRun(ABC):
    """One run of a job. `crawl` is None until the job's folder is open."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.crawl: RunningCrawl | None = None
        self.task: asyncio.Task[None] | None = None
        self.recent: deque[RecentVisit] = deque(maxlen=RECENT_VISITS)
        self.stop_reason = ""  # set by `stop`, also before the crawl is open

    @abstractmethod
    async def execute(self, folder: Path, runner: JobRunner) -> tuple[JobState, str]:
        """Open the job's folder and work until the run ends.

        Returns the job's next state and the reason to store.
        """

    @abstractmethod
    def totals(self) -> Totals:
        """The job's totals over all runs, this one included."""

    def stop(self, reason: str) -> None:
        """Ask the run to end. `reason` is a key of `STOP_STATES`.

        URLs in progress have the configured grace time, except when the job is cancelled.
        """
        self.stop_reason = reason if reason == "cancelled" else self.stop_reason or reason
        if self.crawl is None:
            return
        if reason == "cancelled":
            self.crawl.abort()
        else:
            self.crawl.stop(reason)

    def snapshot(self, hosts: int = 5) -> StatsSnapshot | None:  # noqa: ARG002 - a crawl has one
        """Statistics of this run, with the `hosts` slowest hosts; None: the kind has none."""
        return None

    def paces(self, most: int = 10) -> tuple[HostPace, ...]:
        """How hosts are throttled now; see `interfaces.Frontier.paces`."""
        return () if self.crawl is None else tuple(self.crawl.frontier.paces(most))

    def download_progress(self) -> DownloadProgress | None:
        """Progress of a download; None: the job is a crawl, or is not open yet."""
        return None

    def received_bytes(self) -> dict[str, int]:
        """URL of each file in progress → bytes received. Empty for a crawl."""
        return {}


_DISK_FULL_MESSAGES: Final = (
    os.strerror(errno.ENOSPC),
    os.strerror(errno.EDQUOT),
    "disk is full",  # SQLite
)
"""Texts that identify a full disk when an error of this package has no errno."""


def classify_failure(group: BaseExceptionGroup[Any]) -> tuple[JobState, str]:
    """The next state of a job whose run raised `group`, and the reason to store."""
    error = first_error(group)
    if _is_disk_full(error):
        return JobState.HELD, "disk-full"
    prefix = "configuration: " if isinstance(error, ConfigError) else ""
    return JobState.FAILED, f"{prefix}{error}"


def first_error(group: BaseException) -> BaseException:
    """The first exception inside nested exception groups."""
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


def _is_disk_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return True
        if any(text in str(error) for text in _DISK_FULL_MESSAGES):
            return True
        error = error.__cause__
    return False
