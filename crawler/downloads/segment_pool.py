"""A file's further connections: made where they pay, and gone when the file's trip is over."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Protocol

from crawler.downloads.connection_scaler import ConnectionScaler, halve
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
        """What a pool knows of the download that it belongs to."""

        order: DownloadRequest
        copy: PartialFile
        sheet: ResponseValidator
        connections: int
        segments: list[Segment]

        @property
        def received(self) -> int: ...
        async def piece(self, source: str, segment: Segment) -> Page: ...


TICK: Final = 0.1
TICK_FSYNC: Final = 1.0
"""Seconds between two looks at whether to save and whether to split. A save is one row in a common
transaction (0.1 ms); where it must outlive a power cut it waits for the disk."""


class SegmentPool:
    """One transfer's helpers, and the attendant that saves what is there and decides on more."""

    def __init__(self, transfer: Segmented, desk: DownloadContext) -> None:
        self._transfer = transfer
        self._desk = desk
        self._helpers: dict[asyncio.Task[Page], Segment] = {}
        self._attendant: asyncio.Task[None] | None = None
        self._splitter = ConnectionScaler(desk.rules.connections)

    @property
    def idle(self) -> bool:
        """No helper runs."""
        return not self._helpers

    @property
    def attends(self) -> bool:
        """There is something to end: somebody runs, or bytes were written."""
        return self._attendant is not None or bool(self._helpers)

    def attend(self) -> None:
        """From the first bytes on disk on."""
        if self._attendant is None:
            self._attendant = asyncio.create_task(self._attend(), name="attendant")

    async def wait(self) -> None:
        """Until a helper has ended. Raises what was no FetchError."""
        await asyncio.wait(self._helpers, return_when=asyncio.FIRST_COMPLETED)
        self._reap()

    async def rest(self) -> None:
        """Nothing runs any more, and what is there is in the book; also when cancelled."""
        attendant, self._attendant = self._attendant, None
        broken = attendant is not None and attendant.done()
        tasks = [*self._helpers, *([attendant] if attendant else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._helpers.clear()
        await self._transfer.copy.save()
        if broken and attendant is not None and (error := attendant.exception()):
            raise error

    async def _attend(self) -> None:
        transfer = self._transfer
        while True:
            await asyncio.sleep(TICK_FSYNC if self._desk.fsync else TICK)
            await transfer.copy.save()
            self._reap()
            if self._may_split():
                now, received = time.monotonic(), transfer.received
                for _ in range(self._splitter.more(now, received, transfer.connections)):
                    self._split()

    def _may_split(self) -> bool:
        """Whether another connection would take nothing from files that have none."""
        transfer, copy = self._transfer, self._transfer.copy
        sheet = transfer.sheet
        if not sheet.ranges or copy.size is None or sheet.changed or not copy.identified:
            return False
        return not self._desk.waiting(host_key(copy.source)) and self._desk.free() > 0

    def _split(self) -> None:
        """Half of the largest part that is still to come, for a connection of its own."""
        transfer, source = self._transfer, self._transfer.copy.source
        running = [(one.end - one.at, one) for one in transfer.segments if one.end is not None]
        if not running:
            return
        _, widest = max(running, key=lambda pair: pair[0])
        end = widest.end or 0
        middle = halve(widest.at, end)
        if middle is None:
            return
        helper = Segment(transfer.sheet, middle, end)
        widest.end = middle
        order = transfer.order
        if order.checksums:  # only they can tell that mirrors have the same bytes
            sources = list(dict.fromkeys([source, order.url, *order.mirrors]))
            source = sources[(len(self._helpers) + 1) % len(sources)]
        task = asyncio.create_task(transfer.piece(source, helper), name="segment")
        self._helpers[task] = helper

    def _reap(self) -> None:
        """Helpers that have ended. One that failed leaves a gap, which the first connection fills;
        a bug or a full disk is raised.
        """
        for task in [task for task in self._helpers if task.done()]:
            del self._helpers[task]
            if task.cancelled():
                continue
            error = task.exception()
            if error is not None:
                self._splitter.full = True
                if not isinstance(error, FetchError):
                    raise error
            elif task.result().status >= 300:
                self._splitter.full = True
