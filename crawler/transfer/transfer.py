"""One file's trip, from what is there already to its finished name.

    source ─▶ first exchange ─▶ (more, where they pay) ─▶ all bytes ─▶ right? ─▶ name
       ▲            │ broke: what came is kept, go on at the next byte
       └── wrong bytes or no answer: the next mirror

The first exchange uses the lease of the loop; every other waits for its host's turn in the
frontier. What is written is told to the book ten times a second, so that a kill costs that much and what was in
flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import stat
import sys
import time
from email.utils import formatdate
from pathlib import Path
from typing import Final

import msgspec

from crawler.errors import FetchError, Garbled, Mismatch, TooLarge
from crawler.model import Link, Page, Timings
from crawler.pace import lesson_of
from crawler.transfer import answer as answers
from crawler.transfer import checks, names
from crawler.transfer.answer import Answer, Fields
from crawler.transfer.desk import Desk
from crawler.transfer.order import File, Order, Progress
from crawler.transfer.part import Part
from crawler.transfer.segment import Segment
from crawler.transfer.spans import Spans
from crawler.transfer.splitter import Splitter, halve
from crawler.urls import host_key, origin

TICK: Final = 0.1
TICK_FSYNC: Final = 1.0
"""Seconds between two looks at whether to save and whether to split. A save is one row in a common
transaction (0.1 ms); where it must outlive a power cut it waits for the disk."""

WORTH: Final = 64 * 1024
"""An exchange that broke after so many bytes has helped: it is gone on with at once."""

RENEWING: Final = frozenset({"replace", "newer"})
"""Wishes by which a file that is there gives way."""

CHANGES: Final = 3
"""A file that changes under our hands so often is given up."""


class Transfer:
    """Implements `segment.Sheet`. One at a time for each file; `run` is called once."""

    def __init__(self, link: Link, order: Order, progress: Progress, desk: Desk) -> None:
        self.order = order
        self.name = progress.name
        self.size = progress.size
        self.connections = 0
        self.most = desk.rules.max_filesize or sys.maxsize
        self.changed = False
        self.wire = 0
        self._link = link
        self._desk = desk
        self._before = progress
        self._spans = Spans(progress.spans)
        self._validator = progress.validator
        self._source = progress.source
        self._modified = progress.modified
        self._spoilt = list(progress.spoilt)
        self._part: Part | None = None
        self._opening = asyncio.Lock()
        self._segments: list[Segment] = []
        self._helpers: dict[asyncio.Task[Page], Segment] = {}
        self._attendant: asyncio.Task[None] | None = None
        self._splitter = Splitter(desk.rules.connections)
        self._ranges = True
        self._leased = True
        self._fresh = not progress.spans  # nothing in the part is good
        self._changes = 0
        self._announced: list[tuple[str, str]] = []
        self._aside: Path | None = None

    @property
    def received(self) -> int:
        """Bytes of the file that are there, or on their way to the disk."""
        return self._spans.total + sum(sum(map(len, one.held)) for one in self._segments)

    # ── the trip ─────────────────────────────────────────────────────────────────────────────

    async def run(self) -> Page:
        """The page that stands for the file: 200 when it is there, 304 when it was, else what the
        server said. Raises FetchError; SinkError when the disk is full.
        """
        self._desk.running[self.order.url] = self
        try:
            if (page := await self._already()) is not None:
                return page
            return await self._from_sources()
        finally:
            if self._part is not None:
                self._part.close()
            del self._desk.running[self.order.url]

    async def _from_sources(self) -> Page:
        sources = [self.order.url, *self.order.mirrors]
        sources = [one for one in sources if one not in self._spoilt] or [self.order.url]
        if self._source in sources:  # what it has begun it goes on with
            sources.remove(self._source)
            sources.insert(0, self._source)
        tries = [*sources, sources[-1]]  # wrong bytes that were pieced together deserve another try
        for number, source in enumerate(tries):
            last = number >= len(sources) - 1
            pieced = bool(self._spans.total)
            try:
                page = await self._from(source)
                if page.status >= 400 and not last:
                    continue
                if page.status == 200:
                    return await self._finish(page, source)
            except Mismatch:
                if source not in self._spoilt:
                    self._spoilt.append(source)
                await self._start_over()
                if number == len(tries) - 1 or (last and not pieced):
                    raise
            except FetchError:
                if last:
                    raise
            else:
                return page
        raise AssertionError("the last source answers or raises")

    async def _already(self) -> Page | None:
        """The page of a file that needs no asking."""
        before, folder = self._before, self._desk.folder
        if before.name:
            final = folder / before.name
            part = Part(final, fsync=self._desk.fsync)
            if not before.finished:
                if before.spans and _size(part.part) < before.spans[-1][1]:
                    self._forget()  # somebody removed it
            else:
                if _size(part.part) == before.size:
                    if _size(final) >= 0 and part.part.samefile(final):
                        part.part.unlink()  # killed between the two halves of a rename
                    else:
                        await self._desk.on_disk(part.finish, None, None, replace=True)
                    return self._done("done", final, before.size, before.digest)
                if _size(final) == before.size and self._desk.rules.exists not in RENEWING:
                    return self._done("done", final, before.size, before.digest)
                self._forget()
        if self._desk.rules.exists == "skip" and not before.spans:
            final = folder / self._early_name()
            if (size := _size(final)) >= 0:
                return self._done("here", final, size, "", "exists")
        return None

    def _early_name(self) -> str:
        """The name as far as it is known before there is an answer."""
        name = names.tame(names.from_url(self.order.url))
        return self.order.name or self._desk.named(self.order.url, name)

    async def _from(self, source: str) -> Page:
        """All that is missing, from one source. A page of 200 when all is there."""
        if source != self._source:
            self._source, self._validator = source, ""
        if self._spans.total and not (self._validator or self.order.checksums):
            await self._start_over()  # nothing would tell two versions apart
        try:
            while True:
                gap = self._gap()
                if gap is None:
                    if not self._helpers:
                        return self._page(200)
                    await asyncio.wait(self._helpers, return_when=asyncio.FIRST_COMPLETED)
                    self._reap()
                    continue
                before = self._spans.total
                segment = Segment(self, *gap, first=not self._helpers)
                try:
                    page = await self._piece(source, segment)
                except Mismatch:
                    if not self.changed:
                        raise
                    await self._changed_under_us()
                    continue
                except FetchError:
                    resumable = self._validator or self.order.checksums
                    if not resumable or self._spans.total - before < WORTH:
                        raise
                    continue
                if page.status == 416 and segment.at:
                    if self._spans.total == answers.whole_size(page.headers) == segment.at:
                        self.size = segment.at
                        continue
                    await self._changed_under_us()
                    continue
                if page.status >= 300:
                    return self._page(page.status, page)
                if self.size is None:
                    self.size = segment.at  # it ended by itself: that is all
                    self._segments = [segment] if segment.held else []
                if not self._part_is_open and segment.held:
                    return self._page(200, page)  # a small file, whole in memory
        finally:
            await self._rest()

    def _gap(self) -> tuple[int, int | None] | None:
        """The first missing part that nobody fetches; None: there is none."""
        if self.size is None:
            return self._spans.total, None
        there = Spans(self._spans.tuple())
        for one in self._segments:
            there.add(one.at - sum(map(len, one.held)), self.size if one.end is None else one.end)
        gaps = there.gaps(self.size)
        return gaps[0] if gaps else None

    async def _piece(self, source: str, segment: Segment) -> Page:
        """One part from one source, redirects followed, each request in its host's turn."""
        url, desk = source, self._desk
        segment.source = source
        self._segments.append(segment)
        self.connections += 1
        try:
            for _ in range(desk.max_redirects + 1):
                if self._leased:
                    self._leased = False
                    hop = msgspec.structs.replace(self._link, url=url)
                    if host_key(url) != self._link.host:  # a mirror's: the lease is another host's
                        desk.frontier.release(self._link, asked=False)
                        hop = desk.hop(url, self._link)
                        await desk.frontier.turn(hop)
                else:
                    hop = desk.hop(url, self._link)
                    await desk.frontier.turn(hop)
                segment.url = url
                lesson = None
                try:
                    page = await desk.fetcher.fetch(
                        hop, headers=self._headers(url, segment), into=segment
                    )
                    lesson = lesson_of(page)
                except FetchError as error:
                    lesson = lesson_of(None, error)
                    raise
                finally:
                    desk.frontier.release(hop, lesson=lesson)
                if page.location is None:
                    return page
                target = desk.urls.canonical(page.location)
                if target is None:
                    raise Garbled("redirect to what is no http address")
                url = target
            raise Garbled("too many redirects")
        finally:
            self.connections -= 1
            if segment.held and (self._part_is_open or not self._whole_in(segment)):
                await self._flushed(segment)
            if segment in self._segments and not segment.held:
                self._segments.remove(segment)

    def _whole_in(self, segment: Segment) -> bool:
        held = sum(map(len, segment.held))
        return held == segment.at and (self.size is None or held == self.size)

    async def _flushed(self, segment: Segment) -> None:
        if not self.changed:
            await segment.flush()

    def _headers(self, url: str, segment: Segment) -> dict[str, str]:
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if origin(url) == origin(self.order.url):
            headers |= self.order.headers
        part = segment.at > 0 or (segment.end is not None and segment.end != self.size)
        if part or not segment.first:
            last = "" if segment.end is None else segment.end - 1
            headers["Range"] = f"bytes={segment.at}-{last}"
            if self._validator and segment.source == self._source:
                headers["If-Range"] = self._validator
        elif self._desk.rules.exists == "newer":
            name = self._early_name()
            with contextlib.suppress(OSError):
                stamp = (self._desk.folder / (self._before.name or name)).stat().st_mtime
                headers["If-Modified-Since"] = formatdate(stamp, usegmt=True)
        return headers

    # ── what the segments ask (segment.Sheet) ────────────────────────────────────────────────

    async def greet(self, segment: Segment, status: int, fields: Fields) -> bool:
        if status not in {200, 206}:
            return False
        answers.demand_identity(status, fields, segment.url)
        answer = answers.read(status, fields)
        name = self.name or self._wished(fields, segment.url)
        if not self._desk.rules.accept_html:
            answers.demand_type(answer, self.order.name or names.from_url(self.order.url))
        if answer.size is not None and answer.size > self.most:
            raise TooLarge(f"{answer.size} bytes announced, {self.most} allowed")
        if None not in {answer.size, self.order.size} and answer.size != self.order.size:
            raise Mismatch(f"{answer.size} bytes announced, {self.order.size} expected")
        if status == 206:
            self._fit(segment, answer)
        else:
            await self._whole(segment, answer)
        self._announced = self._announced or checks.announced(fields)
        if answer.modified is not None:
            self._modified = answer.modified
        if not self.name:
            self.name = self._claimed(name)
        return True

    def _fit(self, segment: Segment, answer: Answer) -> None:
        """A part: is it the one that was asked for, of the file that was begun?"""
        if answer.start != segment.at or (segment.at == 0 and segment.first and not self.size):
            raise Garbled(f"bytes from {answer.start} where {segment.at} was asked for")
        ours = segment.source == self._source
        other = self.size is not None and answer.size not in {None, self.size}
        if ours and self._validator.startswith('"') and answer.etag:
            other = other or answer.etag != self._validator
        if other and not ours:
            raise Garbled("a mirror has another file")
        if other:
            self.changed = True
            raise Mismatch("changed while it was fetched")
        self.size = self.size if answer.size is None else answer.size
        if ours and not self._validator:
            self._validator = answer.validator
        segment.asked = answer.end
        segment.end = answer.end if segment.end is None else min(segment.end, answer.end or 0)

    async def _whole(self, segment: Segment, answer: Answer) -> None:
        """All of it: as wished, or because ranges are ignored, or because the file is another."""
        if not segment.first:
            ours = segment.source == self._source
            self._ranges = self._ranges and not ours
            same = answer.validator == self._validator and answer.size == self.size
            self.changed = ours and not same
            raise (
                Mismatch("changed while it was fetched")
                if self.changed
                else Garbled("the whole file where a range was asked for")
            )
        if segment.at or self._spans.total:
            await self._start_over()
        self.size, self._validator = answer.size, answer.validator
        self._ranges = answer.ranges
        segment.at = 0
        segment.end = segment.asked = answer.size

    async def write(self, chunks: list[bytes], at: int) -> None:
        desk = self._desk
        if not self._part_is_open:
            async with self._opening:
                if not self._part_is_open:
                    await self._open()
        part = self._part
        assert part is not None
        await desk.on_disk(part.write, chunks, at)
        self._spans.add(at, at + sum(map(len, chunks)))
        if self._attendant is None:
            self._attendant = asyncio.create_task(self._attend(), name="attendant")

    async def came(self, segment: Segment, number: int) -> None:
        self.wire += number
        await self._desk.came(number, host_key(segment.url))

    # ── while it runs ────────────────────────────────────────────────────────────────────────

    async def _attend(self) -> None:
        """Save what is there, and add connections where they pay."""
        while True:
            await asyncio.sleep(TICK_FSYNC if self._desk.fsync else TICK)
            await self._save()
            self._reap()
            if self._may_split() and self._splitter.wants_more(
                time.monotonic(), self.received, self.connections
            ):
                self._split()

    def _may_split(self) -> bool:
        """Whether another connection would take nothing from files that have none."""
        known = self._ranges and self.size is not None and not self.changed
        if not known or not (self._validator or self.order.checksums):
            return False
        host = host_key(self._source)
        return not self._desk.waiting(host) and self._desk.free() > 0

    def _split(self) -> None:
        """Half of the largest part that is still to come, for a connection of its own."""
        running = [one for one in self._segments if one.end is not None]
        widest = max(running, key=lambda one: (one.end or 0) - one.at, default=None)
        if widest is None or widest.end is None:
            return
        middle = halve(widest.at, widest.end)
        if middle is None:
            return
        helper = Segment(self, middle, widest.end)
        widest.end = middle
        sources = [self._source]
        if self.order.checksums:  # only they can tell that mirrors have the same bytes
            sources = [self._source, *(one for one in self.order.mirrors if one != self._source)]
        source = sources[(len(self._helpers) + 1) % len(sources)]
        task = asyncio.create_task(self._piece(source, helper), name="segment")
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

    async def _rest(self) -> None:
        """Nothing runs any more, and what is there is in the book; also when cancelled."""
        tasks = [*self._helpers, *([self._attendant] if self._attendant else [])]
        broken = self._attendant is not None and self._attendant.done()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._helpers.clear()
        attendant, self._attendant = self._attendant, None
        if self._part_is_open:
            await self._save()
        if broken and attendant is not None and (error := attendant.exception()):
            raise error

    async def _save(self) -> None:
        """Tell the book of what is safe on disk. Raises SinkError, FrontierError."""
        part = self._part
        spans = self._spans.tuple()
        if (
            part is None
            or not part.is_open
            or spans == self._desk.book.progress[self.order.url].spans
        ):
            return
        await self._desk.on_disk(part.sync)
        await self._desk.book.save(self.order.url, self._progress(spans))

    def _progress(self, spans: tuple[tuple[int, int], ...]) -> Progress:
        return Progress(
            name=self.name,
            size=self.size,
            spans=spans,
            validator=self._validator,
            source=self._source,
            modified=self._modified,
            spoilt=tuple(self._spoilt),
        )

    # ── names and places ─────────────────────────────────────────────────────────────────────

    def _wished(self, fields: Fields, url: str) -> str:
        """What it would be called, were it alone in the world."""
        if self.order.name is not None:
            return self.order.name
        name = None
        if self._desk.rules.disposition and self._desk.rules.exists != "skip":
            name = names.disposed(answers.field(fields, "content-disposition"))
        name = names.tame(name or names.chosen(self.order.url, url))
        return self._desk.named(self.order.url, name)

    def _claimed(self, name: str) -> str:
        replace = self._desk.rules.exists in RENEWING
        return self._desk.claims.claim(name, self.order.url, replace=replace)

    @property
    def _part_is_open(self) -> bool:
        return self._part is not None and self._part.is_open

    async def _open(self) -> None:
        """The name is in the book before there is anything under it."""
        part = Part(self._desk.folder / self.name, fsync=self._desk.fsync)
        if self._fresh:
            await self._desk.book.save(self.order.url, self._progress(()))
        await self._desk.on_disk(part.open, self.size, fresh=self._fresh)
        self._fresh = False
        self._part = part

    async def _start_over(self) -> None:
        """Nothing that is there is good."""
        self._spans = Spans()
        self._fresh = True
        self.changed = False
        self._announced = []
        self._validator = ""
        self.size = None
        if self._part is not None:
            self._part.close()
            self._part = None
        if self.name:
            await self._desk.book.save(self.order.url, self._progress(()))

    def _forget(self) -> None:
        """What the book says is there is not."""
        self._spans = Spans()
        self._fresh = True
        self.size = None
        self._validator = ""

    async def _changed_under_us(self) -> None:
        self._changes += 1
        await self._rest()
        self._segments.clear()
        await self._start_over()
        if self._changes >= CHANGES:
            raise Mismatch("changed again and again while it was fetched")

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    async def _finish(self, page: Page, source: str) -> Page:
        """Right? Then it gets its name. Raises Mismatch, the wrong bytes put aside."""
        held = [chunk for one in self._segments for chunk in one.held]
        self._segments.clear()
        size = self.size or 0
        if self.order.size is not None and size != self.order.size:
            raise Mismatch(f"{size} bytes, {self.order.size} expected")
        desk = self._desk
        part = self._part or Part(desk.folder / self.name, fsync=desk.fsync)
        wanted = [*self.order.checksums, *(self._announced if source == self._source else ())]
        digest = ""
        if not part.is_open and (wanted or desk.fsync):
            await desk.book.save(self.order.url, self._progress(()))
            await desk.on_disk(_write, part, held)
            held = []
            await desk.on_disk(part.sync)
        if wanted:
            have = await desk.on_disk(checks.digests_of, part.part, {name for name, _ in wanted})
            if trouble := checks.wrong(wanted, have):
                if desk.rules.keep_wrong:
                    self._aside = await desk.on_disk(part.put_aside)
                else:
                    part.close()
                    part.part.unlink(missing_ok=True)
                self._part = None
                raise Mismatch(trouble)
            digest = checks.strongest(have)
        progress = self._progress(((0, size),) if size else ())
        progress = msgspec.structs.replace(progress, finished=True, size=size, digest=digest)
        await desk.book.save(self.order.url, progress)
        replace = desk.rules.exists in RENEWING
        while True:
            try:
                await desk.on_disk(_finished, part, held, size, self._modified, replace=replace)
                break
            except FileExistsError:  # somebody made one in the meantime
                held = []
                part = await self._elsewhere(part, progress)
        return self._done("done", part.path, size, digest, page=page)

    async def _elsewhere(self, part: Part, progress: Progress) -> Part:
        """The next free name, the bytes with it."""
        desk = self._desk
        desk.claims.give_back(self.name, self.order.url)
        self.name = self._claimed(self._early_name() or self.name)
        moved = Part(desk.folder / self.name, fsync=desk.fsync)
        part.part.rename(moved.part)
        await desk.book.save(self.order.url, msgspec.structs.replace(progress, name=self.name))
        return moved

    def _done(
        self,
        status: str,
        path: Path,
        size: int | None,
        digest: str,
        reason: str = "",
        *,
        page: Page | None = None,
    ) -> Page:
        url = self.order.url
        self._desk.results[url] = File(
            url, status, path, size, digest, reason, wire=self.wire, aside=self._aside
        )
        return self._page(304 if status == "here" else 200, page)

    def _page(self, status: int, page: Page | None = None) -> Page:
        """What the loop gets to see: the whole trip as one answer."""
        if page is None:
            return Page(self._link, status, (), b"", time.time(), Timings(0.0), self.wire)
        if status == 304:
            path = self._desk.folder / (self._before.name or self._early_name())
            size = max(0, _size(path))
            self._desk.results[self.order.url] = File(
                self.order.url, "here", path, size, self._before.digest, "unchanged", self.wire
            )
        return msgspec.structs.replace(
            page, link=self._link, status=status, body=b"", bytes_wire=self.wire, location=None
        )

    def failed(self, error: FetchError | None) -> None:
        """Where wrong bytes went, for who tells of the failure."""
        if self._aside is not None:
            url, reason = self.order.url, str(error or "")
            self._desk.results[url] = File(
                url, "failed", reason=reason, wire=self.wire, aside=self._aside
            )


def _size(path: Path) -> int:
    """Bytes of a regular file; -1: there is none."""
    try:
        status = path.lstat()
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def _write(part: Part, chunks: list[bytes]) -> None:
    part.open(None, fresh=True)
    if chunks:
        part.write(chunks, 0)


def _finished(
    part: Part, chunks: list[bytes], size: int, modified: float | None, *, replace: bool
) -> None:
    """A small file in one go; a large one only gets its name."""
    if not part.is_open and (chunks or not part.part.exists()):
        _write(part, chunks)
    part.finish(size, modified, replace=replace)
