"""One run of a download job: open its session, download, map its end to the job's next state.

Each run requests again the files that failed before; complete files are not requested.
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
from crawler.service.jobs.job import Job, JobState, Totals
from crawler.service.jobs.job_run import STOP_STATES, JobRun
from crawler.service.jobs.runner import JobRunner
from crawler.utils.background import background

FILES_FOLDER: Final = "files"
"""Name of the folder with the downloaded files, inside the job's folder."""

SIZE_CHECK_INTERVAL_S: Final = 0.25
"""Seconds between checks of the size limit; at most so much time's bytes exceed it."""

DownloadOpener: TypeAlias = Callable[..., AbstractAsyncContextManager[DownloadSession]]
"""`download_setup.open_depot` with the resources that jobs share, or a test's replacement."""


class DownloadRun(JobRun):
    """One run of a download.

    `load_requests` maps a job's id to its files. `free_min` bytes stay free on the disk.
    `on_file_done` gets the status of each file that this run completed or gave up.
    """

    def __init__(
        self,
        job: Job,
        *,
        opener: DownloadOpener,
        load_requests: Callable[[str], Awaitable[tuple[DownloadRequest, ...]]],
        free_min: int = 0,
        on_file_done: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(job)
        self._session: DownloadSession | None = None
        self._open = opener
        self._load_requests = load_requests
        self._free_min = free_min
        self._on_file_done = on_file_done
        self._watcher = ProgressWatcher()
        self._reasons: Counter[str] = Counter()
        self._earlier_bytes = 0  # on disk when the session was opened
        self._progress: DownloadProgress | None = None

    async def execute(self, folder: Path, runner: JobRunner) -> tuple[JobState, str]:  # noqa: ARG002 - runners are for crawls
        folder = folder / FILES_FOLDER
        requests = await self._load_requests(self.job.id)
        config = msgspec.convert(self.job.config, Config)
        size_limit = config.limits.size_limit
        config = await asyncio.to_thread(_limit_to_disk, config, folder, self._free_min)
        async with self._open(config, requests, folder, tell=self._record_result) as session:
            self._earlier_bytes = sum(map(_bytes_on_disk, session.desk.store.progress.values()))
            for file in session.here:
                self._watcher.tell(file)
            self._session, self.crawl = session, session.crawl
            if self.stop_reason:
                self.stop(self.stop_reason)
            try:
                async with background(self._enforce_size_limit(size_limit), "size limit"):
                    await session.crawl.run()
            finally:
                self._progress = self._watcher.look(session)
                self._session = None
        finish_reason = self.stop_reason or session.crawl.finish_reason
        if finish_reason in STOP_STATES:
            return STOP_STATES[finish_reason]
        return self._final_state(finish_reason, self._progress)

    def download_progress(self) -> DownloadProgress | None:
        """The last known progress also after the end; None: not open yet."""
        if self._session is not None:
            self._progress = self._watcher.look(self._session)
        return self._progress

    def received_bytes(self) -> dict[str, int]:
        if self._session is None:
            return {}
        return {url: file.received for url, file in self._session.desk.running.items()}

    def totals(self) -> Totals:
        progress = self.download_progress()
        if progress is None:
            return self.job.totals
        complete = progress.done + progress.here
        return Totals(
            visits=complete + progress.failed,
            failed=progress.failed,
            bytes_wire=self._earlier_bytes + progress.bytes,
            queued=progress.waiting + len(progress.running),
            files=complete,
        )

    async def _record_result(self, file: DownloadResult) -> None:
        self._watcher.tell(file)
        self._on_file_done(file.status)
        if file.status == "failed":
            kind, _, detail = file.reason.partition(":")
            self._reasons[f"{kind}:{detail}" if kind == "status" else kind] += 1

    async def _enforce_size_limit(self, limit: int | None) -> None:
        """Abort once more bytes have arrived than the job may have, unfinished files included."""
        while limit is not None and self.crawl is not None:
            session = self._session
            if session is not None and self._earlier_bytes + session.desk.wire > limit:
                self.stop_reason = self.stop_reason or "size-limit"
                self.crawl.abort()
                return
            await asyncio.sleep(SIZE_CHECK_INTERVAL_S)

    def _final_state(self, finish_reason: str, end: DownloadProgress) -> tuple[JobState, str]:
        """Finished when every file is complete; otherwise failed, and the job can be retried."""
        left = end.waiting + len(end.running)
        total = end.done + end.here + end.failed + left
        if left:
            return JobState.FAILED, f"{finish_reason}: {left} of {total} files are left"
        if end.failed:
            reason = self._reasons.most_common(1)[0][0] if self._reasons else "failed"
            return JobState.FAILED, f"{end.failed} of {total} files: {reason}"
        return JobState.FINISHED, finish_reason


def _limit_to_disk(config: Config, folder: Path, free_min: int) -> Config:
    """Limit each file to the free disk space, so that a too large file fails alone. Blocking.

    The limit on the total size is removed from the configuration: `DownloadRun` enforces it
    itself, also for unfinished files.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    available = max(0, shutil.disk_usage(existing).free - free_min)
    configured = config.download.max_filesize
    max_filesize = available if configured is None else min(configured, available)
    return msgspec.structs.replace(
        config,
        download=msgspec.structs.replace(config.download, max_filesize=max(1, max_filesize)),
        limits=msgspec.structs.replace(config.limits, size_limit=None),
    )


def _bytes_on_disk(progress: FileProgress) -> int:
    if progress.finished:
        return progress.size or 0
    return sum(end - start for start, end in progress.spans)
