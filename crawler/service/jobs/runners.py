"""Choose a job's runner: its `frontier.url` decides, from the day it was made."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import msgspec

from crawler.config.model import Config
from crawler.errors import ConfigError
from crawler.service.jobs.job import Job, JobKind
from crawler.service.jobs.runner import JobRunner, LocalRunner


class RunnerTable:
    """The ways to run a job that this service has; `shares` is where workers' folders lie."""

    def __init__(self, here: LocalRunner, shares: Path) -> None:
        self._here = here
        self._shares = shares
        self._there: JobRunner | None = None

    def of(self, job: Job) -> JobRunner:
        """A download runs here. Raises ConfigError where a crawl needs what is not installed."""
        here = job.kind is JobKind.DOWNLOAD
        if here or msgspec.convert(job.config, Config).frontier.url is None:
            return self._here
        if self._there is None:
            if importlib.util.find_spec("redis") is None:
                raise ConfigError("frontier.url needs redis: pip install 'crawler[redis]'")
            from crawler.service.cluster.redis_runner import RedisRunner  # noqa: PLC0415 - an extra

            self._there = RedisRunner(self._shares)
        return self._there
