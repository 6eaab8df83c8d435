"""The download of one file, from what is on disk to its final name.

    source ─▶ first request ─▶ (more segments) ─▶ all bytes ─▶ verified? ─▶ rename
       ▲            │ broken off: keep what came, continue at the next byte
       └── wrong bytes or no response: the next mirror

segment_requests.py sends the requests; response_validator.py checks each response against what is
on disk. Progress is saved ten times a second, so a kill costs that much and what was in flight.
"""

from __future__ import annotations

from typing import Final

import msgspec

from crawler.downloads import file_response
from crawler.downloads.download_context import DownloadContext
from crawler.downloads.download_request import DownloadRequest, FileProgress
from crawler.downloads.finalizer import Finalizer
from crawler.downloads.partial_file import PartialFile
from crawler.downloads.response_validator import ResponseValidator
from crawler.downloads.result_recorder import ResultRecorder
from crawler.downloads.segment import Segment, next_gap
from crawler.downloads.segment_pool import SegmentPool
from crawler.downloads.segment_requests import SegmentRequests
from crawler.errors import FetchError, FileMismatch, Truncated
from crawler.records import CrawlUrl, Page

MIN_USEFUL_BYTES: Final = 64 * 1024
"""A request that broke off after this many bytes is continued at once, without counting as a
failure."""

MAX_CHANGES: Final = 3
"""A file that changes on the server this many times during the download fails."""


class FileDownload:
    """The download of one file; `run` is called once."""

    def __init__(
        self,
        link: CrawlUrl,
        request: DownloadRequest,
        progress: FileProgress,
        context: DownloadContext,
    ) -> None:
        self.request = request
        self.partial = PartialFile(request, progress, context)
        self.connections = 0
        self.segments: list[Segment] = []
        self._link = link
        self._context = context
        self._finalizer = Finalizer(self.partial, context)
        self._pool = SegmentPool(self, context)
        self._requests = SegmentRequests(link, self.partial, context)
        self._changes = 0
        self._ranges_unusable = False
        self.target = ResponseValidator(self.partial, context, written=self._pool.start)
        self._recorder = ResultRecorder(link, self.partial, self.target, context)

    @property
    def name(self) -> str:
        return self.partial.name

    @property
    def size(self) -> int | None:
        return self.partial.size

    @property
    def received(self) -> int:
        """Bytes of the file that are on disk or buffered."""
        return self.partial.spans.total + sum(segment.buffered_bytes for segment in self.segments)

    # ── download ──────────────────────────────────────────────────────────────────────────────

    async def run(self) -> Page:
        """Download the file. Returns a page with status 200 when it was downloaded, 304 when it was
        there already, else the server's status. Raises FetchError, and SinkError when the disk is
        full.
        """
        self._context.running[self.request.url] = self
        try:
            if (file := await self._finalizer.find_existing()) is not None:
                return self._recorder.record(file)
            return await self._download_from_sources()
        finally:
            self.partial.close()
            del self._context.running[self.request.url]

    async def _download_from_sources(self) -> Page:
        """Try the sources in turn; the one that the present bytes came from is the first."""
        partial = self.partial
        sources = partial.sources()
        attempts = [*sources, sources[-1]]  # bytes from several requests deserve another try
        for number, source in enumerate(attempts):
            is_last = number >= len(sources) - 1
            was_partial = not partial.spans.empty
            try:
                page = await self._download_from(source)
                if page.status == 200:
                    return await self._finish(page)
            except FileMismatch:
                if source not in partial.spoilt:
                    partial.spoilt.append(source)
                await self.target.restart()
                if number == len(attempts) - 1 or (is_last and not was_partial):
                    raise
            except FetchError:
                if is_last:
                    raise
            else:
                if page.status < 400 or is_last:
                    return self._recorder.response_without_file(page)
        raise AssertionError("the last source returns or raises")

    async def _download_from(self, source: str) -> Page:
        """Download all missing bytes from one source; the page has status 200 when none is
        missing.
        """
        partial = self.partial
        if source != partial.source:
            partial.source, partial.validator = source, ""
        if not (partial.spans.empty or partial.has_identity):
            await self.target.restart()
        try:
            while True:
                gap = next_gap(partial.spans, partial.size, self.segments)
                if gap is not None:
                    page = await self._download_gap(
                        source, Segment(self.target, *gap, primary=self._pool.idle)
                    )
                    if page is not None:
                        return page
                elif self._pool.idle:
                    return self._recorder.page(200)
                else:
                    await self._pool.wait()
        finally:
            if self._pool.is_active:
                await self._pool.stop()

    async def _download_gap(self, source: str, segment: Segment) -> Page | None:
        """Download one gap. Returns None to continue with what is missing then; a page ends the
        source.
        """
        partial, bytes_before = self.partial, self.partial.spans.total
        try:
            page = await self.fetch_segment(source, segment)
        except FileMismatch:
            if not self.target.changed:
                raise
            await self._restart_after_change()
            return None
        except file_response.BadRange:
            if self._ranges_unusable:
                raise  # the response to a request without a range
            await self._restart_without_ranges()
            return None
        except FetchError:
            if not partial.has_identity or partial.spans.total - bytes_before < MIN_USEFUL_BYTES:
                raise
            return None
        if page.status == 416 and segment.position:
            await self._check_size_of_416(page, segment)
            return None
        if page.status >= 300:
            return page
        ended_early = segment.end is not None and segment.position < segment.end
        if ended_early and partial.spans.total - bytes_before < MIN_USEFUL_BYTES:
            # a chunked body that ended before the announced size
            raise Truncated(f"{segment.position} of {segment.end} bytes")
        if partial.size is None:
            partial.size = segment.position  # the body ended: this is the size
            self.segments = [segment] if segment.buffered else []
        small = segment.buffered and not partial.is_open  # all of it is in memory
        return msgspec.structs.replace(page, status=200) if small else None

    async def _check_size_of_416(self, page: Page, segment: Segment) -> None:
        """A 416 means that the file is complete if its size is what is present, else that the
        file has changed.
        """
        size = file_response.size_from_416(file_response.header_map(page.headers))
        if self.partial.spans.total == size == segment.position:
            self.partial.size = size
        else:
            await self._restart_after_change()

    async def fetch_segment(self, source: str, segment: Segment) -> Page:
        """Fetch one segment from one source, following redirects."""
        segment.source = source
        self.segments.append(segment)
        self.connections += 1
        try:
            return await self._requests.fetch(segment)
        finally:
            self.connections -= 1
            if segment.buffered and not self.target.changed and not self._is_whole(segment):
                await segment.flush()
            if not segment.buffered and segment in self.segments:
                self.segments.remove(segment)

    def _is_whole(self, segment: Segment) -> bool:
        """Whether the segment holds all of a small file in memory."""
        size = self.partial.size
        return (
            not self.partial.is_open
            and segment.buffered_bytes == segment.position
            and (size is None or size == segment.position)
        )

    async def _restart_without_ranges(self) -> None:
        """Discard what is on disk and request the whole file: the server's ranges are unusable."""
        self._ranges_unusable = True
        self.target.accepts_ranges = False
        await self._pool.stop()
        self.segments.clear()
        await self.target.restart()

    async def _restart_after_change(self) -> None:
        """Discard what is on disk: the server has another version. Raises FileMismatch after
        `MAX_CHANGES`.
        """
        self._changes += 1
        await self._pool.stop()
        self.segments.clear()
        await self.target.restart()
        if self._changes >= MAX_CHANGES:
            raise FileMismatch("changed repeatedly during the download")

    # ── result ────────────────────────────────────────────────────────────────────────────────

    async def _finish(self, page: Page) -> Page:
        """Decode, verify and rename the complete file."""
        target = self.target
        buffered = [chunk for segment in self.segments for chunk in segment.buffered]
        self.segments.clear()
        if self.partial.coding:
            try:
                buffered = await self._finalizer.decode(buffered, target.max_bytes)
            except FetchError:
                await target.restart()
                raise
        return self._recorder.record(
            await self._finalizer.finish(buffered, target.server_digests, target.wire), page
        )

    def record_failure(self) -> None:
        """Record that the download failed, where that says more than the error."""
        self._recorder.record_failure(self._finalizer.aside)
