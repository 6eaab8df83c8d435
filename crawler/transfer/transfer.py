"""One file's trip, from what is there already to its finished name.

    source ─▶ first exchange ─▶ (more, where they pay) ─▶ all bytes ─▶ right? ─▶ name
       ▲            │ broke: what came is kept, go on at the next byte
       └── wrong bytes or no answer: the next mirror

The first exchange uses the lease of the loop; every other waits for its host's turn in the
frontier. What is written is told to the book ten times a second, so that a kill costs that much and
what was in flight.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import Final

import msgspec

from crawler.errors import FetchError, Garbled, Mismatch, TooLarge, Truncated
from crawler.model import Link, Page, Timings
from crawler.pace import lesson_of
from crawler.transfer import answer as answers
from crawler.transfer import checks, names
from crawler.transfer.answer import Answer, Fields
from crawler.transfer.copy import Copy
from crawler.transfer.crew import Crew
from crawler.transfer.desk import Desk
from crawler.transfer.landing import Landing, size_of
from crawler.transfer.order import File, Order, Progress
from crawler.transfer.segment import Segment
from crawler.transfer.spans import Spans
from crawler.urls import host_key, origin

WORTH: Final = 64 * 1024
"""An exchange that broke after so many bytes has helped: it is gone on with at once."""

CHANGES: Final = 3
"""A file that changes under our hands so often is given up."""


class Transfer:
    """Implements `segment.Sheet`. One at a time for each file; `run` is called once."""

    def __init__(self, link: Link, order: Order, progress: Progress, desk: Desk) -> None:
        self.order = order
        self.copy = Copy(order, progress, desk)
        self.connections = 0
        self.most = desk.rules.max_filesize or sys.maxsize
        self.buffer = desk.buffer
        self.changed = False
        self.wire = 0
        self.segments: list[Segment] = []
        self.ranges = True  # the server gives parts
        self._link = link
        self._desk = desk
        self._landing = Landing(self.copy, desk)
        self._crew = Crew(self, desk)
        self._leased = True
        self._changes = 0
        self._announced: list[tuple[str, str]] = []

    @property
    def name(self) -> str:
        return self.copy.name

    @property
    def size(self) -> int | None:
        return self.copy.size

    @property
    def received(self) -> int:
        """Bytes of the file that are there, or on their way to the disk."""
        return self.copy.spans.total + sum(sum(map(len, one.held)) for one in self.segments)

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
        sources = [self.order.url, *self.order.mirrors]
        sources = [one for one in sources if one not in copy.spoilt] or [self.order.url]
        if copy.source in sources:
            sources.remove(copy.source)
            sources.insert(0, copy.source)
        tries = [*sources, sources[-1]]  # wrong bytes that were pieced together deserve another try
        for number, source in enumerate(tries):
            last = number >= len(sources) - 1
            pieced = bool(copy.spans.total)
            try:
                page = await self._from(source)
                if page.status == 200:
                    return await self._finish(page)
            except Mismatch:
                if source not in copy.spoilt:
                    copy.spoilt.append(source)
                await self._start_over()
                if number == len(tries) - 1 or (last and not pieced):
                    raise
            except FetchError:
                if last:
                    raise
            else:
                if page.status < 400 or last:
                    return self._told_of(page)
        raise AssertionError("the last source answers or raises")

    async def _from(self, source: str) -> Page:
        """All that is missing, from one source; the page is a 200 when all is there."""
        copy = self.copy
        if source != copy.source:
            copy.source, copy.validator = source, ""
        if copy.spans.total and not copy.identified:
            await self._start_over()
        try:
            while True:
                gap = self._gap()
                if gap is not None:
                    page = await self._one(source, Segment(self, *gap, first=self._crew.idle))
                    if page is not None:
                        return page
                elif self._crew.idle:
                    return self._page(200)
                else:
                    await self._crew.wait()
        finally:
            await self._crew.rest()

    async def _one(self, source: str, segment: Segment) -> Page | None:
        """One part. None: go on with what is missing then; a page: no more is to be had."""
        copy, before = self.copy, self.copy.spans.total
        try:
            page = await self.piece(source, segment)
        except Mismatch:
            if not self.changed:
                raise
            await self._changed_under_us()
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
        if segment.at < (segment.end or 0) and copy.spans.total - before < WORTH:
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
        there = Spans(self.copy.spans.tuple())
        for one in self.segments:
            there.add(one.at - sum(map(len, one.held)), size if one.end is None else one.end)
        gaps = there.gaps(size)
        return gaps[0] if gaps else None

    async def piece(self, source: str, segment: Segment) -> Page:
        """One part from one source, redirects followed, each request in its host's turn."""
        url, desk = source, self._desk
        segment.source = source
        self.segments.append(segment)
        self.connections += 1
        try:
            for _ in range(desk.max_redirects + 1):
                segment.url = url
                async with self._turn(url) as hop:
                    page = await self._exchange(hop, segment)
                if page.location is None:
                    return page
                target = desk.urls.canonical(page.location)
                if target is None:
                    raise Garbled("redirect to what is no http address")
                url = target
            raise Garbled("too many redirects")
        finally:
            self.connections -= 1
            if segment.held and not self.changed and not self._is_whole(segment):
                await segment.flush()
            if not segment.held and segment in self.segments:
                self.segments.remove(segment)

    def _is_whole(self, segment: Segment) -> bool:
        """All of a small file is in memory."""
        held = sum(map(len, segment.held))
        size = self.copy.size
        return not self.copy.is_open and held == segment.at and size in {None, held}

    @contextlib.asynccontextmanager
    async def _turn(self, url: str) -> AsyncIterator[Link]:
        """A moment at which the host may be asked: the loop's lease at first, later one's own."""
        frontier = self._desk.frontier
        leased, self._leased = self._leased, False
        if leased and host_key(url) == self._link.host:
            yield msgspec.structs.replace(self._link, url=url)
            return
        if leased:  # a mirror's: the lease is another host's
            frontier.release(self._link, asked=False)
        hop = self._desk.hop(url, self._link)
        await frontier.turn(hop)
        try:
            yield hop
        finally:
            frontier.release(hop, asked=False)  # nothing, where it was released with its lesson

    async def _exchange(self, hop: Link, segment: Segment) -> Page:
        desk, lesson = self._desk, None
        headers = self._headers(hop.url, segment)
        try:
            page = await desk.fetcher.fetch(hop, headers=headers, into=segment)
            lesson = lesson_of(page)
        except FetchError as error:
            lesson = lesson_of(None, error)
            raise
        else:
            return page
        finally:
            desk.frontier.release(hop, lesson=lesson)

    def _headers(self, url: str, segment: Segment) -> dict[str, str]:
        copy = self.copy
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if origin(url) == origin(self.order.url):
            headers |= self.order.headers
        part = segment.at > 0 or (segment.end is not None and segment.end != copy.size)
        if part or not segment.first:
            last = "" if segment.end is None else segment.end - 1
            headers["Range"] = f"bytes={segment.at}-{last}"
            if copy.validator and segment.source == copy.source:
                headers["If-Range"] = copy.validator
        elif self._desk.rules.exists == "newer":
            with contextlib.suppress(OSError):
                path = self._desk.folder / (copy.before.name or copy.early_name())
                headers["If-Modified-Since"] = formatdate(path.stat().st_mtime, usegmt=True)
        return headers

    # ── what the segments ask (segment.Sheet) ────────────────────────────────────────────────

    async def greet(self, segment: Segment, status: int, fields: Fields) -> bool:
        if status >= 300:
            return False
        if status not in {200, 206}:
            raise Garbled(f"status {status} has no file")
        copy = self.copy
        head = answers.named(fields)
        answers.demand_identity(status, head, segment.url)
        answer = answers.read(status, head)
        if answer.is_page and not self._desk.rules.accept_html:
            answers.demand_type(answer, self.order.name or names.from_url(self.order.url))
        if answer.size is not None and answer.size > self.most:
            raise TooLarge(f"{answer.size} bytes announced, {self.most} allowed")
        if None not in {answer.size, self.order.size} and answer.size != self.order.size:
            raise Mismatch(f"{answer.size} bytes announced, {self.order.size} expected")
        if status == 206:
            self._fit(segment, answer)
        else:
            await self._whole(segment, answer)
        if segment.source == copy.source:
            told = "repr-digest" in head or "digest" in head
            self._announced = checks.announced(fields) if told else []
        if answer.modified is not None:
            copy.modified = answer.modified
        if not copy.name:
            copy.claim(copy.wished(head.get("content-disposition", ""), segment.url))
        return True

    def _fit(self, segment: Segment, answer: Answer) -> None:
        """A part: is it the one that was asked for, of the file that was begun?"""
        copy = self.copy
        if answer.start != segment.at or (segment.at == 0 and segment.first and not copy.size):
            raise Garbled(f"bytes from {answer.start} where {segment.at} was asked for")
        ours = segment.source == copy.source
        other = copy.size is not None and answer.size not in {None, copy.size}
        if ours and copy.validator.startswith('"') and answer.etag:
            other = other or answer.etag != copy.validator
        if other and not ours:
            raise Garbled("a mirror has another file")
        if other:
            self.changed = True
            raise Mismatch("changed while it was fetched")
        copy.size = copy.size if answer.size is None else answer.size
        if ours and not copy.validator:
            copy.validator = answer.validator
        segment.asked = answer.end
        segment.end = answer.end if segment.end is None else min(segment.end, answer.end or 0)

    async def _whole(self, segment: Segment, answer: Answer) -> None:
        """All of it: as wished, or because ranges are ignored, or because the file is another."""
        copy = self.copy
        if not segment.first:
            ours = segment.source == copy.source
            self.ranges = self.ranges and not ours
            if ours and (answer.validator, answer.size) != (copy.validator, copy.size):
                self.changed = True
                raise Mismatch("changed while it was fetched")
            raise Garbled("the whole file where a range was asked for")
        if segment.at or copy.spans.total:
            await self._start_over()
        copy.size, copy.validator = answer.size, answer.validator
        self.ranges = answer.ranges
        segment.at = 0
        segment.end = segment.asked = answer.size

    async def write(self, chunks: list[bytes], at: int) -> None:
        await self.copy.write(chunks, at)
        self._crew.attend()

    async def came(self, segment: Segment, number: int) -> None:
        self.wire += number
        await self._desk.came(number, host_key(segment.url))

    async def _start_over(self) -> None:
        self.changed = False
        self._announced = []
        await self.copy.start_over()

    async def _changed_under_us(self) -> None:
        self._changes += 1
        await self._crew.rest()
        self.segments.clear()
        await self._start_over()
        if self._changes >= CHANGES:
            raise Mismatch("changed again and again while it was fetched")

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    async def _finish(self, page: Page) -> Page:
        held = [chunk for one in self.segments for chunk in one.held]
        self.segments.clear()
        return self._told(await self._landing.finish(held, self._announced), page)

    def _told(self, file: File, page: Page | None = None) -> Page:
        """Leave the file for who hands it over; the page that the loop gets to see."""
        self._desk.results[self.order.url] = msgspec.structs.replace(file, wire=self.wire)
        return self._page(304 if file.status == "here" else 200, page)

    def _told_of(self, page: Page) -> Page:
        """Something else than the file: that it is unchanged, or an error's status."""
        if page.status == 304:
            path = self._desk.folder / (self.copy.before.name or self.copy.early_name())
            file = File(self.order.url, "here", path, max(0, size_of(path)), reason="unchanged")
            return self._told(file, page)
        return self._page(page.status, page)

    def _page(self, status: int, page: Page | None = None) -> Page:
        """The whole trip as one answer."""
        if page is None:
            return Page(self._link, status, (), b"", time.time(), Timings(0.0), self.wire)
        return msgspec.structs.replace(
            page, link=self._link, status=status, body=b"", bytes_wire=self.wire, location=None
        )

    def failed(self) -> None:
        """Where wrong bytes went, for who tells of the failure."""
        if self._landing.aside is not None:
            url, aside = self.order.url, self._landing.aside
            self._desk.results[url] = File(url, "failed", wire=self.wire, aside=aside)
