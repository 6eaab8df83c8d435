"""The additional connections of one file: opened while they help, closed with the download."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Protocol

from crawler.downloads.connection_scaler import ConnectionScaler, split_point
from crawler.downloads.download_context import DownloadContext
from crawler.downloads.segment import Segment
from crawler.errors import FetchError
from crawler.policy.urls import host_key
from crawler.records import Page

if TYPE_CHECKING:
    from crawler.downloads.download_request import DownloadRequest
    from crawler.downloads.partial_file import PartialFile
    from crawler.downloads.response_validator import ResponseValidator

    class Segmented(Protocol):
        """The download that a pool belongs to."""

        request: DownloadRequest
        partial: PartialFile
        target: ResponseValidator
        connections: int
        segments: list[Segment]

        @property
        def received(self) -> int: ...
        async def fetch_segment(self, source: str, segment: Segment) -> Page: ...


SAVE_INTERVAL_S: Final = 0.1
SAVE_INTERVAL_FSYNC_S: Final = 1.0
"""Seconds between saves of the progress, and between decisions on more connections. A save is one
row in a shared transaction (0.1 ms); with fsync it waits for the disk."""


class SegmentPool:
    """The segment tasks of one file, and the supervisor task that saves progress and adds
    connections.
    """

    def __init__(self, download: Segmented, context: DownloadContext) -> None:
        self._download = download
        self._context = context
        self._tasks: dict[asyncio.Task[Page], Segment] = {}
        self._supervisor: asyncio.Task[None] | None = None
        self._scaler = ConnectionScaler(context.settings.connections)

    @property
    def idle(self) -> bool:
        """No segment task runs."""
        return not self._tasks

    @property
    def is_active(self) -> bool:
        """Whether `stop` has something to end."""
        return self._supervisor is not None or bool(self._tasks)

    def start(self) -> None:
        """Start the supervisor, once the first bytes are on disk."""
        if self._supervisor is None:
            self._supervisor = asyncio.create_task(self._supervise(), name="segment-supervisor")

    async def wait(self) -> None:
        """Wait until a segment task has ended. Raises its error unless it is a FetchError."""
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        self._collect_finished()

    async def stop(self) -> None:
        """End all tasks and save the progress; also when cancelled."""
        supervisor, self._supervisor = self._supervisor, None
        broken = supervisor is not None and supervisor.done()
        tasks = [*self._tasks, *([supervisor] if supervisor else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._tasks.clear()
        await self._download.partial.save()
        if broken and supervisor is not None and (error := supervisor.exception()):
            raise error

    async def _supervise(self) -> None:
        download = self._download
        while True:
            await asyncio.sleep(SAVE_INTERVAL_FSYNC_S if self._context.fsync else SAVE_INTERVAL_S)
            await download.partial.save()
            self._collect_finished()
            if self._may_add_connection():
                now, received = time.monotonic(), download.received
                for _ in range(
                    self._scaler.connections_to_add(now, received, download.connections)
                ):
                    self._split()

    def _may_add_connection(self) -> bool:
        """Whether ranges can be requested and a connection is free that no other file waits for."""
        download, partial = self._download, self._download.partial
        target = download.target
        if (
            not target.accepts_ranges
            or partial.size is None
            or target.changed
            or not partial.has_identity
        ):
            return False
        return (
            not self._context.queued_for(host_key(partial.source))
            and self._context.free_connections() > 0
        )

    def _split(self) -> None:
        """Fetch half of the largest remaining segment over a new connection."""
        download, source = self._download, self._download.partial.source
        running = [
            (segment.end - segment.position, segment)
            for segment in download.segments
            if segment.end is not None
        ]
        if not running:
            return
        _, largest = max(running, key=lambda pair: pair[0])
        end = largest.end or 0
        middle = split_point(largest.position, end)
        if middle is None:
            return
        segment = Segment(download.target, middle, end)
        largest.end = middle
        request = download.request
        if request.checksums:  # only checksums prove that mirrors have the same bytes
            sources = list(dict.fromkeys([source, request.url, *request.mirrors]))
            source = sources[(len(self._tasks) + 1) % len(sources)]
        task = asyncio.create_task(download.fetch_segment(source, segment), name="segment")
        self._tasks[task] = segment

    def _collect_finished(self) -> None:
        """Remove finished tasks. A failed one leaves a gap for the first connection; an error other
        than FetchError (a bug, a full disk) is raised.
        """
        for task in [task for task in self._tasks if task.done()]:
            del self._tasks[task]
            if task.cancelled():
                continue
            error = task.exception()
            if error is not None:
                self._scaler.saturated = True
                if not isinstance(error, FetchError):
                    raise error
            elif task.result().status >= 300:
                self._scaler.saturated = True
