"""One run of a crawl job: open its folder, run the crawl, map its end to the job's next state."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from crawler.config.model import Config
from crawler.config.workdir import Mode
from crawler.engine.running_crawl import RunningCrawl
from crawler.engine.stats import StatsSnapshot
from crawler.policy.end_message import NO_PAGES, sentence_of
from crawler.policy.plugin_stats import sentences
from crawler.records import Counts, CrawlResult
from crawler.service.jobs.job import Job, JobState, Totals
from crawler.service.jobs.job_run import RECENT_VISITS, STOP_STATES, JobRun, RecentVisit
from crawler.service.jobs.runner import JobRunner

log = logging.getLogger(__name__)

NO_PAGE_PREFIX: Final = "no page: "
"""Begins the reason of a failed job whose crawl read no page; the most frequent reason follows."""


class CrawlRun(JobRun):
    """One run of a crawl. It is also a sink of the crawl, which remembers the last visits."""

    name = "recent"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._earlier = Totals()  # of earlier runs
        self._left: dict[str, int] = {}
        self._incomplete = 0

    async def execute(self, folder: Path, runner: JobRunner) -> tuple[JobState, str]:
        config = msgspec.convert(self.job.config, Config)
        earlier = await runner.progress(config, folder)
        if earlier is not None:
            self._earlier = earlier
            config = _without_used_bytes(config, earlier.bytes_wire)
        mode: Mode = "new" if earlier is None else "resume"
        async with runner.open(config, dir=folder, mode=mode, sinks=[self]) as crawl:
            self.crawl = crawl
            if self.stop_reason:
                self.stop(self.stop_reason)
            await crawl.run()
            counts = await crawl.frontier.counts()
        finish_reason = self.stop_reason or crawl.finish_reason
        if finish_reason in STOP_STATES:
            return STOP_STATES[finish_reason]
        return self._completed(crawl, counts)

    def _completed(self, crawl: RunningCrawl, counts: Counts) -> tuple[JobState, str]:
        """The next state after a crawl that ended by itself."""
        self._left, self._incomplete = counts.left, counts.incomplete
        finish_reason = crawl.finish_reason if counts.pages else NO_PAGES
        log.info("job %s: %s", self.job.id, sentence_of(finish_reason, counts))
        for sentence in sentences(crawl.tally.plugins):
            log.warning("job %s: %s", self.job.id, sentence)
        if counts.pages:
            return JobState.FINISHED, finish_reason
        reasons = crawl.tally.reasons.most_common(1)
        reason = reasons[0][0] if reasons else "nothing was reached"
        return JobState.FAILED, f"{NO_PAGE_PREFIX}{reason}"

    async def append(self, visits: Sequence[CrawlResult]) -> int:
        for visit in visits[-RECENT_VISITS:]:
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
        """Nothing to truncate: the visits are in memory only."""

    def snapshot(self, hosts: int = 5) -> StatsSnapshot | None:
        return None if self.crawl is None else self.crawl.tally.snapshot(hosts=hosts)

    def totals(self) -> Totals:
        if self.crawl is None:
            return self._earlier
        stats, earlier = self.crawl.tally, self._earlier
        return Totals(
            pages=earlier.pages + stats.pages,
            visits=earlier.visits + stats.visits,
            failed=earlier.failed + stats.outcomes["failed"],
            bytes_wire=earlier.bytes_wire + stats.bytes_wire,
            queued=stats.gauges.queued,
            left=self._left,
            incomplete=self._incomplete,
            plugins=tuple(sentences(stats.plugins)),
        )


def _without_used_bytes(config: Config, used: int) -> Config:
    """Reduce the size limit by the bytes that earlier runs received."""
    if config.limits.size_limit is None:
        return config
    left = max(0, config.limits.size_limit - used)
    limits = msgspec.structs.replace(config.limits, size_limit=left)
    return msgspec.structs.replace(config, limits=limits)
