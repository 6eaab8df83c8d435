"""One run of a download job: open its session, watch it, record how it ended.

Each run asks again for the files that failed before; those that are there are not asked for.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from crawler.bootstrap.download_progress import DownloadProgress, ProgressWatcher
from crawler.bootstrap.download_setup import DownloadSession
from crawler.config.model import Config
from crawler.downloads.download_request import DownloadRequest, DownloadResult, FileProgress
from crawler.engine.stats import StatsSnapshot
from crawler.service.jobs.crawl_run import STOPS, CrawlRun
from crawler.service.jobs.job import Job, JobState, Totals
from crawler.service.jobs.runner import JobRunner
from crawler.utils.background import background

FILES: Final = "files"
"""The folder of a download inside its job's."""

LOOK_EVERY: Final = 0.25
"""Seconds between looks at what has come, where there is a limit: what may come beyond it."""

DepotOpener: TypeAlias = Callable[..., AbstractAsyncContextManager[DownloadSession]]
"""`depot.open_depot` with what the jobs share, or what stands for it in a test."""


class DownloadRun(CrawlRun):
    """A `foreman.Shift` whose crawl is a download's. `count` hears the status of each file that a
    run has brought to an end.
    """

    def __init__(
        self,
        job: Job,
        *,
        opener: DepotOpener,
        orders: Callable[[str], Awaitable[tuple[DownloadRequest, ...]]],
        least_free: int = 0,
        count: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(job)
        self.depot: DownloadSession | None = None
        self._open = opener
        self._orders = orders
        self._least_free = least_free
        self._count = count
        self._watcher = ProgressWatcher()
        self._reasons: Counter[str] = Counter()
        self._before = 0  # bytes that were there when it was opened
        self._last: DownloadProgress | None = None

    async def work(self, folder: Path, runner: JobRunner) -> tuple[JobState, str]:  # noqa: ARG002
        """To its end, or until stopped. `runner` is for crawls."""
        folder = folder / FILES
        orders = await self._orders(self.job.id)
        config = msgspec.convert(self.job.config, Config)
        most = config.limits.size_limit
        config = await asyncio.to_thread(_fitting, config, folder, self._least_free)
        async with self._open(config, orders, folder, tell=self._tell) as depot:
            self._before = sum(map(_there, depot.desk.store.progress.values()))
            for file in depot.here:
                self._watcher.tell(file)
            self.depot, self.crawl = depot, depot.crawl
            if self.ends_with:
                self.stop(self.ends_with)
            try:
                async with background(self._hold_to(most), "size limit"):
                    await depot.crawl.run()
            finally:
                self._last = self._watcher.look(depot)
                self.depot = None
        ending = self.ends_with or depot.crawl.finish_reason
        return STOPS[ending] if ending in STOPS else self._verdict(ending, self._last)

    def standing(self) -> DownloadProgress | None:
        """Where it stands; None: it is not open (yet)."""
        if self.depot is not None:
            self._last = self._watcher.look(self.depot)
        return self._last

    def receiving(self) -> dict[str, int]:
        """Bytes that are there of each file under way, by its URL."""
        if self.depot is None:
            return {}
        return {url: one.received for url, one in self.depot.desk.running.items()}

    def snapshot(self, hosts: int = 5) -> StatsSnapshot | None:  # noqa: ARG002 - as a crawl has it
        """None: a download's figures are `standing`."""
        return None

    def totals(self) -> Totals:
        now = self.standing()
        if now is None:
            return self.job.totals
        there = now.done + now.here
        return Totals(
            visits=there + now.failed,
            failed=now.failed,
            bytes_wire=self._before + now.bytes,
            queued=now.waiting + len(now.running),
            files=there,
        )

    async def _tell(self, file: DownloadResult) -> None:
        self._watcher.tell(file)
        self._count(file.status)
        if file.status == "failed":
            word, _, detail = file.reason.partition(":")
            self._reasons[f"{word}:{detail}" if word == "status" else word] += 1

    async def _hold_to(self, most: int | None) -> None:
        """Stop once more bytes have come than the job may have: files under way count, too."""
        while most is not None and self.crawl is not None:
            if self.depot is not None and self._before + self.depot.desk.wire > most:
                self.ends_with = self.ends_with or "size-limit"
                self.crawl.abort()
                return
            await asyncio.sleep(LOOK_EVERY)

    def _verdict(self, ending: str, end: DownloadProgress) -> tuple[JobState, str]:
        """A download is finished when every file is there; otherwise it can be retried."""
        left = end.waiting + len(end.running)
        total = end.done + end.here + end.failed + left
        if left:
            return JobState.FAILED, f"{ending}: {left} of {total} files are left"
        if end.failed:
            reason = self._reasons.most_common(1)[0][0] if self._reasons else "failed"
            return JobState.FAILED, f"{end.failed} of {total} files: {reason}"
        return JobState.FINISHED, ending


def _fitting(config: Config, folder: Path, least_free: int) -> Config:
    """No file larger than the disk has room for: it fails by itself, not with all the others. The
    limit of the sum is kept here, while files are under way, and not by the loop. Blocking.
    """
    there = next(one for one in (folder, *folder.parents) if one.exists())
    room = max(0, shutil.disk_usage(there).free - least_free)
    wished = config.download.max_filesize
    most = room if wished is None else min(wished, room)
    return msgspec.structs.replace(
        config,
        download=msgspec.structs.replace(config.download, max_filesize=max(1, most)),
        limits=msgspec.structs.replace(config.limits, size_limit=None),
    )


def _there(progress: FileProgress) -> int:
    if progress.finished:
        return progress.size or 0
    return sum(end - start for start, end in progress.spans)
