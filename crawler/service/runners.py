"""Who runs a job: a crawl says so itself, by `frontier.url`, from the day it was made."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import msgspec

from crawler.config import Config
from crawler.errors import ConfigError
from crawler.service.job import Job, Kind
from crawler.service.runner import Here, Runner


class Runners:
    """The ways to run a job that this service has; `shares` is where workers' folders lie."""

    def __init__(self, here: Here, shares: Path) -> None:
        self._here = here
        self._shares = shares
        self._there: Runner | None = None

    def of(self, job: Job) -> Runner:
        """A download runs here. Raises ConfigError where a crawl needs what is not installed."""
        here = job.kind is Kind.DOWNLOAD
        if here or msgspec.convert(job.config, Config).frontier.url is None:
            return self._here
        if self._there is None:
            if importlib.util.find_spec("redis") is None:
                raise ConfigError("frontier.url needs redis: pip install 'crawler[redis]'")
            from crawler.service.shared import Shared  # noqa: PLC0415 - an extra

            self._there = Shared(self._shares)
        return self._there
