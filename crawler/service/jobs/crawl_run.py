"""One run of a crawl job: open its folder, watch it, record how it ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from crawler.config.model import Config
from crawler.config.workdir import Mode
from crawler.engine.running_crawl import RunningCrawl
from crawler.engine.stats import StatsSnapshot
from crawler.policy.autothrottle import HostPace
from crawler.policy.end_message import NO_PAGES, sentence_of
from crawler.policy.plugin_stats import sentences
from crawler.records import CrawlResult
from crawler.service.jobs.job import Job, JobState, Totals
from crawler.service.jobs.runner import JobRunner

log = logging.getLogger(__name__)

NO_PAGE: Final = "no page: "
"""How the reason of a job begins whose crawl had none; what comes then is the commonest reason."""

RECENT: Final = 50
"""Visits remembered of each running job, for whoever looks on."""

STOPS: Final = {
    "paused": (JobState.PAUSED, ""),
    "cancelled": (JobState.CANCELLED, ""),
    "aborted": (JobState.CANCELLED, ""),
    "shutdown": (JobState.QUEUED, "shutdown"),
    "disk-full": (JobState.HELD, "disk-full"),
    "disk-quota": (JobState.HELD, "disk-quota"),
    "your-disk-quota": (JobState.HELD, "your-disk-quota"),
    "memory": (JobState.HELD, "memory"),
}
"""What a job becomes whose crawl was stopped by us, by the crawl's finish_reason."""


class RecentVisit(msgspec.Struct, frozen=True):
    """One of the last visits, as shown to whoever looks on."""

    url: str
    outcome: str
    status: int | None
    ms: float | None
    at: float


class CrawlRun:
    """One opened crawl of a job. A sink of it, too: it remembers the last visits."""

    name = "recent"

    def __init__(self, job: Job) -> None:
        self.job = job
        self.crawl: RunningCrawl | None = None
        self.task: asyncio.Task[None] | None = None
        self.before = Totals()
        self.left: dict[str, int] = {}
        self.incomplete = 0
        self.recent: deque[RecentVisit] = deque(maxlen=RECENT)
        self.ends_with = ""  # asked to stop while it was still being opened

    async def work(self, folder: Path, runner: JobRunner) -> tuple[JobState, str]:
        """One run, from opening the job's folder on; the job's next state, and why."""
        config = msgspec.convert(self.job.config, Config)
        reached = await runner.reached(config, folder)
        if reached is not None:
            self.before = reached
            if config.limits.size_limit is not None:
                left = max(0, config.limits.size_limit - reached.bytes_wire)
                limits = msgspec.structs.replace(config.limits, size_limit=left)
                config = msgspec.structs.replace(config, limits=limits)
        mode: Mode = "new" if reached is None else "resume"
        async with runner.open(config, dir=folder, mode=mode, sinks=[self]) as crawl:
            self.crawl = crawl
            if self.ends_with:
                self.stop(self.ends_with)
            await crawl.run()
            counts = await crawl.frontier.counts()
        ending = self.ends_with or crawl.finish_reason
        if ending in STOPS:
            return STOPS[ending]
        self.left, self.incomplete = counts.left, counts.incomplete
        ended = crawl.finish_reason if counts.pages else NO_PAGES
        log.info("job %s: %s", self.job.id, sentence_of(ended, counts))
        for failing in sentences(crawl.tally.plugins):
            log.warning("job %s: %s", self.job.id, failing)
        if counts.pages:
            return JobState.FINISHED, ended
        reasons = crawl.tally.reasons.most_common(1)
        return JobState.FAILED, f"{NO_PAGE}{reasons[0][0] if reasons else 'nothing was reached'}"

    async def append(self, visits: Sequence[CrawlResult]) -> int:
        for visit in visits[-RECENT:]:
            page = visit.page
            self.recent.append(
                RecentVisit(
                    visit.link.url,
                    visit.outcome.value,
                    page.status if page else None,
                    round(page.timings.total, 1) if page else None,
                    time.time(),
                )
            )
        return 0

    async def cut(self, mark: int) -> None:
        """Nothing to cut: nothing of it survives."""

    def stop(self, reason: str) -> None:
        """Ask the crawl to end; what is in hand has its grace time, except when cancelled."""
        self.ends_with = reason if reason == "cancelled" else self.ends_with or reason
        if self.crawl is None:
            return
        if reason == "cancelled":
            self.crawl.abort()
        else:
            self.crawl.stop(reason)

    def snapshot(self, hosts: int = 5) -> StatsSnapshot | None:
        return None if self.crawl is None else self.crawl.tally.snapshot(hosts=hosts)

    def paces(self, most: int = 10) -> tuple[HostPace, ...]:
        """How hosts are treated now; see `protocols.Frontier.paces`."""
        return () if self.crawl is None else tuple(self.crawl.frontier.paces(most))

    def totals(self) -> Totals:
        """All runs together, as the tally of this one knows."""
        if self.crawl is None:
            return self.before
        tally, before = self.crawl.tally, self.before
        return Totals(
            pages=before.pages + tally.pages,
            visits=before.visits + tally.visits,
            failed=before.failed + tally.outcomes["failed"],
            bytes_wire=before.bytes_wire + tally.bytes_wire,
            queued=tally.gauges.queued,
            left=self.left,
            incomplete=self.incomplete,
            plugins=tuple(sentences(tally.plugins)),
        )
