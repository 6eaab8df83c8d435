"""What the demo web answers, ready to send: rendered once, kept while there is room.

The desk holds everything that changes while a web is served: the kept answers, how often a busy
page has refused, the access log, the second's Date. One desk a process; no sockets.
"""

from __future__ import annotations

import gzip
import mmap
import os
import time
from collections import OrderedDict
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from random import Random
from typing import Annotated, BinaryIO, NamedTuple

import msgspec
from msgspec import Meta

from crawler.demo import pages
from crawler.demo.web import DemoReply, Share, Web

Seconds = Annotated[float, Meta(ge=0, le=3600)]
LINES = 500  # noted before they are written: half a millisecond of encoding
SHEET_COST = 600  # bytes that a kept answer takes beside its body, measured
SMALLEST, LINK_LENGTH = 2500, 65  # bytes of a page without prose, and of each link on it
WORTH_PACKING = 256  # bytes; below, gzip makes a body longer
Key = tuple[int, str, bool]


class ServerBehaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the web behaves on the wire; nothing here changes what a page says.

    Times in seconds. An answer waits `latency`, plus a random share of `jitter`, plus an
    exponential time of mean `tail`. The bodies of a `slow` share of the pages take `slow_for`.
    """

    latency: Seconds = 0.0
    jitter: Seconds = 0.0
    tail: Seconds = 0.0
    slow: Share = 0.0
    slow_for: Seconds = 2.0
    gzip: bool = False
    idle: Annotated[float, Meta(gt=0)] = 75.0  # a silent connection is closed
    cache: Annotated[int, Meta(ge=0)] = 128 * 1024 * 1024  # bytes of kept answers, a process

    @property
    def waits(self) -> bool:
        """Whether any answer may have to wait."""
        return self.latency + self.jitter + self.tail > 0


class CachedResponse(NamedTuple):
    """An answer as it goes out; `head` lacks Date, Connection and the empty line."""

    status: int
    head: bytes
    body: bytes
    number: int | None = None
    etag: str = ""
    changed: str = ""


class ResponseCache:
    """Finds the answer to a request."""

    def __init__(self, web: Web, manners: ServerBehaviour, log: Path | None = None) -> None:
        self.web, self.manners = web, manners
        self._log_path = log
        self._log: BinaryIO | None = None
        self._lines: list[tuple[float, float, str, str, int, int, str, bool]] = []
        self._sheets: OrderedDict[Key, CachedResponse] = OrderedDict()
        self._held = 0
        self._random = Random(web.seed)
        self._second, self._date = 0, b""
        # One byte a page, shared by the processes that fork from here and touched only where a
        # page is busy: a refusal counts wherever it was given.
        self._refused = mmap.mmap(-1, web.pages) if web.busy else None

    def open(self) -> None:
        """Open the log; after forking, so that each process has its own buffer."""
        self._random.seed(f"{self.web.seed} {os.getpid()}")
        if self._log_path is not None:
            self._log = self._log_path.open("ab", buffering=0)

    def warm(self) -> None:
        """Render all pages now, when they fit: 60 µs a page that no crawl then waits for."""
        length = max(self.web.size, SMALLEST + LINK_LENGTH * self.web.links)
        if self.web.pages * (length + SHEET_COST) > self.manners.cache * 0.8:
            return
        for number in range(self.web.pages):
            self.find(number % self.web.hosts, self.web.path(number), packed=self.manners.gzip)

    def find(self, host: int, target: str, *, packed: bool) -> CachedResponse:
        """The answer to a target, kept or made now; with gzip when `packed`."""
        key = (host, target, packed)
        sheet = self._sheets.get(key)
        if sheet is not None:
            self._sheets.move_to_end(key)
            return sheet
        sheet = made(pages.reply(self.web, host, target), packed=packed, varies=self.manners.gzip)
        cost = len(sheet.body) + len(target) + SHEET_COST
        if cost * 4 < self.manners.cache:
            self._sheets[key] = sheet
            self._held += cost
        while self._held > self.manners.cache:
            (_, old, _), gone = self._sheets.popitem(last=False)
            self._held -= len(gone.body) + len(old) + SHEET_COST
        return sheet

    def answer(self, host: int, target: str, fields: Mapping[str, str]) -> CachedResponse:
        """The answer to a request: the page, its refusal, or word that it has not changed."""
        packed = self.manners.gzip and "gzip" in fields.get("accept-encoding", "").lower()
        sheet = self.find(host, target, packed=packed)
        number = sheet.number
        if number is not None and self._refused is not None:
            refused = self._refused[number]
            if refused < self.web.refusals(number):
                self._refused[number] = refused + 1
                return made(pages.refusal(self.web, number))
        if sheet.etag and unchanged(sheet, fields):
            return made(DemoReply(304, headers=(("ETag", sheet.etag),), number=number))
        return sheet

    def delay(self) -> float:
        """How long this answer waits, in seconds."""
        it, random = self.manners, self._random
        tail = random.expovariate(1 / it.tail) if it.tail else 0.0
        return it.latency + random.random() * it.jitter + tail

    def is_slow(self, sheet: CachedResponse) -> bool:
        """Whether the body of this answer comes in drops."""
        share = self.manners.slow
        return bool(share and sheet.number and self.web.chance(sheet.number, b"slow", share))

    def date(self) -> bytes:
        """The Date line and the end of the head."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._date = f"Date: {formatdate(second, usegmt=True)}\r\n\r\n".encode()
        return self._date

    def note(
        self, name: str, host: str, target: str, status: int, size: int, came: float, *, left: bool
    ) -> None:
        """Remember an exchange for the log, just before the last of its answer is written.

        `name` is the connection's, `came` the Unix time at which its request had been read whole,
        `left` whether the client had closed its side before the answer: it will not ask again, and
        perhaps it is dead.
        """
        if self._log is not None:
            self._lines.append((time.time(), came, host, target, status, size, name, left))
            if len(self._lines) >= LINES:
                self.flush()

    def flush(self) -> None:
        """Write what was noted: whole lines in one append, so that processes can share a file."""
        if self._log is None or not self._lines:
            return
        names = ("time", "came", "host", "path", "status", "bytes", "connection", "left")
        rows = [dict(zip(names, line, strict=True)) for line in self._lines]
        self._lines.clear()
        self._log.write(msgspec.json.Encoder().encode_lines(rows))

    def close(self) -> None:
        """Write the rest of the log."""
        self.flush()
        if self._log is not None:
            self._log.close()
            self._log = None
        if self._refused is not None:
            self._refused.close()
            self._refused = None


def made(reply: DemoReply, *, packed: bool = False, varies: bool = False) -> CachedResponse:
    """A reply in the form in which it goes over the wire."""
    body, headers = reply.body, list(reply.headers)
    marks = dict(headers)
    if reply.status == 304:
        lines = [f"{name}: {value}" for name, value in headers]
        text = "\r\n".join(["HTTP/1.1 304 Not Modified", "Server: demo", *lines, ""])
        return CachedResponse(304, text.encode("latin-1"), b"", reply.number)
    packable = len(body) >= WORTH_PACKING and reply.mime.startswith(("text/", "application/xml"))
    if varies and packable:
        headers.append(("Vary", "Accept-Encoding"))
        if packed:
            body = gzip.compress(body, 1, mtime=0)
            headers.append(("Content-Encoding", "gzip"))
    lines = [f"{name}: {value}" for name, value in headers]
    text = "\r\n".join(
        [
            f"HTTP/1.1 {reply.status} {phrase(reply.status)}",
            "Server: demo",
            f"Content-Type: {reply.mime}",
            f"Content-Length: {len(body)}",
            *lines,
            "",
        ]
    )
    changed = marks.get("Last-Modified", "")
    etag = marks.get("ETag", "")
    return CachedResponse(reply.status, text.encode("latin-1"), body, reply.number, etag, changed)


def phrase(status: int) -> str:
    """The words that belong to a status; any will do for one that nobody knows."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def unchanged(sheet: CachedResponse, fields: Mapping[str, str]) -> bool:
    """Whether the asker already has this answer (RFC 9110 §13.1: the tag outranks the date)."""
    tags = fields.get("if-none-match")
    if tags is not None:
        given = [tag.strip().removeprefix("W/") for tag in tags.split(",")]
        return sheet.etag in given or given == ["*"]
    since = fields.get("if-modified-since")
    if not since or not sheet.changed:
        return False
    try:
        return parsedate_to_datetime(since) >= parsedate_to_datetime(sheet.changed)
    except (ValueError, TypeError):
        return False
