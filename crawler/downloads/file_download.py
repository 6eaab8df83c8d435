"""One file's trip, from what is there already to its finished name.

    source ─▶ first exchange ─▶ (more, where they pay) ─▶ all bytes ─▶ right? ─▶ name
       ▲            │ broke: what came is kept, go on at the next byte
       └── wrong bytes or no answer: the next mirror

What is asked of whom is in requests.py, what an answer means for the bytes that are there in
sheet.py. What is written is told to the book ten times a second, so that a kill costs that much and
what was in flight.
"""

from __future__ import annotations

import time
from typing import Final

import msgspec

from crawler.downloads import file_response as answers
from crawler.downloads.byte_ranges import ByteRanges
from crawler.downloads.download_context import DownloadContext
from crawler.downloads.download_request import DownloadRequest, DownloadResult, FileProgress
from crawler.downloads.finalizer import Finalizer, size_of
from crawler.downloads.partial_file import PartialFile
from crawler.downloads.response_validator import ResponseValidator
from crawler.downloads.segment import Segment
from crawler.downloads.segment_pool import SegmentPool
from crawler.downloads.segment_requests import SegmentRequests
from crawler.errors import FetchError, FileMismatch, ProtocolError, Truncated
from crawler.records import CrawlUrl, Page, Timings

WORTH: Final = 64 * 1024
"""An exchange that broke after so many bytes has helped: it is gone on with at once."""

CHANGES: Final = 3
"""A file that changes under our hands so often is given up."""


class FileDownload:
    """One at a time for each file; `run` is called once."""

    def __init__(
        self, link: CrawlUrl, order: DownloadRequest, progress: FileProgress, desk: DownloadContext
    ) -> None:
        self.order = order
        self.copy = PartialFile(order, progress, desk)
        self.connections = 0
        self.segments: list[Segment] = []
        self._link = link
        self._desk = desk
        self._landing = Finalizer(self.copy, desk)
        self._crew = SegmentPool(self, desk)
        self._requests = SegmentRequests(link, self.copy, desk)
        self._changes = 0
        self._no_ranges = False  # those of the server are of no use
        self.sheet = ResponseValidator(self.copy, desk, written=self._crew.attend)

    @property
    def name(self) -> str:
        return self.copy.name

    @property
    def size(self) -> int | None:
        return self.copy.size

    @property
    def received(self) -> int:
        """Bytes of the file that are there, or on their way to the disk."""
        return self.copy.spans.total + sum(one.gathered for one in self.segments)

    # ── the trip ─────────────────────────────────────────────────────────────────────────────

    async def run(self) -> Page:
        """The page that stands for the file: 200 when it is there, 304 when it was, else what the
        server said. Raises FetchError; SinkError when the disk is full.
        """
        self._desk.running[self.order.url] = self
        try:
            if (file := await self._landing.already()) is not None:
                return self._told(file)
            return await self._from_sources()
        finally:
            self.copy.close()
            del self._desk.running[self.order.url]

    async def _from_sources(self) -> Page:
        """The first source that has the file, the one that was begun with before all."""
        copy = self.copy
        sources = self._sources() if self.order.mirrors else [self.order.url]
        tries = [*sources, sources[-1]]  # wrong bytes that were pieced together deserve another try
        for number, source in enumerate(tries):
            last = number >= len(sources) - 1
            pieced = not copy.spans.empty
            try:
                page = await self._from(source)
                if page.status == 200:
                    return await self._finish(page)
            except FileMismatch:
                if source not in copy.spoilt:
                    copy.spoilt.append(source)
                await self.sheet.start_over()
                if number == len(tries) - 1 or (last and not pieced):
                    raise
            except FetchError:
                if last:
                    raise
            else:
                if page.status < 400 or last:
                    return self._told_of(page)
        raise AssertionError("the last source answers or raises")

    def _sources(self) -> list[str]:
        copy = self.copy
        sources = [self.order.url, *self.order.mirrors]
        sources = [one for one in sources if one not in copy.spoilt] or [self.order.url]
        if copy.source in sources:
            sources.remove(copy.source)
            sources.insert(0, copy.source)
        return sources

    async def _from(self, source: str) -> Page:
        """All that is missing, from one source; the page is a 200 when all is there."""
        copy = self.copy
        if source != copy.source:
            copy.source, copy.validator = source, ""
        if not (copy.spans.empty or copy.identified):
            await self.sheet.start_over()
        try:
            while True:
                gap = self._gap()
                if gap is not None:
                    page = await self._one(source, Segment(self.sheet, *gap, first=self._crew.idle))
                    if page is not None:
                        return page
                elif self._crew.idle:
                    return self._page(200)
                else:
                    await self._crew.wait()
        finally:
            if self._crew.attends:
                await self._crew.rest()

    async def _one(self, source: str, segment: Segment) -> Page | None:
        """One part. None: go on with what is missing then; a page: no more is to be had."""
        copy, before = self.copy, self.copy.spans.total
        try:
            page = await self.piece(source, segment)
        except FileMismatch:
            if not self.sheet.changed:
                raise
            await self._changed_under_us()
            return None
        except answers.BadRange:
            if self._no_ranges:
                raise  # and this was an answer to a request without one
            await self._without_ranges()
            return None
        except FetchError:
            if not copy.identified or copy.spans.total - before < WORTH:
                raise
            return None
        if page.status == 416 and segment.at:
            if copy.spans.total == answers.whole_size(answers.named(page.headers)) == segment.at:
                copy.size = segment.at
            else:
                await self._changed_under_us()
            return None
        if page.status >= 300:
            return page
        if (
            segment.end is not None
            and segment.at < segment.end
            and (copy.spans.total - before < WORTH)
        ):
            raise Truncated(f"{segment.at} of {segment.end} bytes")  # by chunks that ended early
        if copy.size is None:
            copy.size = segment.at  # it ended by itself: that is all
            self.segments = [segment] if segment.held else []
        small = segment.held and not copy.is_open  # it is whole, in memory
        return msgspec.structs.replace(page, status=200) if small else None

    def _gap(self) -> tuple[int, int | None] | None:
        """The first missing part that nobody fetches; None: there is none."""
        size = self.copy.size
        if size is None:
            return self.copy.spans.total, None
        if self.copy.spans.empty and not self.segments:
            return (0, size) if size else None
        there = ByteRanges(self.copy.spans.tuple())
        for one in self.segments:
            there.add(one.at - one.gathered, size if one.end is None else one.end)
        gaps = there.gaps(size)
        return gaps[0] if gaps else None

    async def piece(self, source: str, segment: Segment) -> Page:
        """One part from one source, redirects followed, each request in its host's turn."""
        segment.source = source
        self.segments.append(segment)
        self.connections += 1
        try:
            return await self._requests.follow(segment)
        finally:
            self.connections -= 1
            if segment.held and not self.sheet.changed and not self._is_whole(segment):
                await segment.flush()
            if not segment.held and segment in self.segments:
                self.segments.remove(segment)

    def _is_whole(self, segment: Segment) -> bool:
        """All of a small file is in memory."""
        size = self.copy.size
        return (
            not self.copy.is_open
            and segment.gathered == segment.at
            and (size is None or size == segment.at)
        )

    async def _without_ranges(self) -> None:
        """The server's parts cannot be used: what is there is dropped for the whole file."""
        self._no_ranges = True
        self.sheet.ranges = False
        await self._crew.rest()
        self.segments.clear()
        await self.sheet.start_over()

    async def _changed_under_us(self) -> None:
        self._changes += 1
        await self._crew.rest()
        self.segments.clear()
        await self.sheet.start_over()
        if self._changes >= CHANGES:
            raise FileMismatch("changed again and again while it was fetched")

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    async def _finish(self, page: Page) -> Page:
        sheet = self.sheet
        held = [chunk for one in self.segments for chunk in one.held]
        self.segments.clear()
        if self.copy.coded:
            try:
                held = await self._landing.undo(held, sheet.most)
            except FetchError:
                await sheet.start_over()
                raise
        return self._told(await self._landing.finish(held, sheet.announced, sheet.wire), page)

    def _told(self, file: DownloadResult, page: Page | None = None) -> Page:
        """Leave the file for who hands it over; the page that the loop gets to see."""
        self._desk.results[self.order.url] = file
        return self._page(304 if file.status == "here" else 200, page)

    def _told_of(self, page: Page) -> Page:
        """Something else than the file: that it is unchanged, or an error's status."""
        if page.status == 304 and self._desk.rules.exists != "newer":
            raise ProtocolError("304 to a request without a condition")
        if page.status == 304:
            path = self._desk.folder / (self.copy.before.name or self.copy.early_name())
            size = max(0, size_of(path))
            file = DownloadResult(
                self.order.url, "here", path, size, "", "unchanged", self.sheet.wire
            )
            return self._told(file, page)
        return self._page(page.status, page)

    def _page(self, status: int, page: Page | None = None) -> Page:
        """The whole trip as one answer."""
        if page is None:
            return Page(self._link, status, (), b"", time.time(), Timings(0.0), self.sheet.wire)
        return msgspec.structs.replace(
            page,
            link=self._link,
            status=status,
            body=b"",
            bytes_wire=self.sheet.wire,
            location=None,
        )

    def failed(self) -> None:
        """Where wrong bytes went, for who tells of the failure."""
        if self._landing.aside is not None:
            url, aside = self.order.url, self._landing.aside
            self._desk.results[url] = DownloadResult(
                url, "failed", wire=self.sheet.wire, aside=aside
            )
