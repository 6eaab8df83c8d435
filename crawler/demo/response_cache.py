"""The responses of the demo web, ready to send: rendered once and cached.

The cache holds everything that changes while a web is served: cached responses, how often a busy
page has refused, the access log, the current Date. One cache per process; no sockets.
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
LOG_BATCH_LINES = 500  # noted before they are written: half a millisecond of encoding
ENTRY_OVERHEAD_BYTES = 600  # bytes that a kept answer takes beside its body, measured
MIN_PAGE_BYTES, LINK_BYTES = 2500, 65  # bytes of a page without prose, and of each link on it
MIN_GZIP_BYTES = 256  # bytes; below, gzip makes a body longer
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

    def __init__(self, web: Web, behaviour: ServerBehaviour, log: Path | None = None) -> None:
        self.web, self.behaviour = web, behaviour
        self._log_path = log
        self._log: BinaryIO | None = None
        self._lines: list[tuple[float, float, str, str, int, int, str, bool]] = []
        self._responses: OrderedDict[Key, CachedResponse] = OrderedDict()
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
        length = max(self.web.size, MIN_PAGE_BYTES + LINK_BYTES * self.web.links)
        if self.web.pages * (length + ENTRY_OVERHEAD_BYTES) > self.behaviour.cache * 0.8:
            return
        for number in range(self.web.pages):
            self.find(
                number % self.web.hosts, self.web.path(number), compressed=self.behaviour.gzip
            )

    def find(self, host: int, target: str, *, compressed: bool) -> CachedResponse:
        """The answer to a target, kept or made now; with gzip when `compressed`."""
        key = (host, target, compressed)
        response = self._responses.get(key)
        if response is not None:
            self._responses.move_to_end(key)
            return response
        response = encoded(
            pages.reply(self.web, host, target), compressed=compressed, varies=self.behaviour.gzip
        )
        cost = len(response.body) + len(target) + ENTRY_OVERHEAD_BYTES
        if cost * 4 < self.behaviour.cache:
            self._responses[key] = response
            self._held += cost
        while self._held > self.behaviour.cache:
            (_, old, _), gone = self._responses.popitem(last=False)
            self._held -= len(gone.body) + len(old) + ENTRY_OVERHEAD_BYTES
        return response

    def answer(self, host: int, target: str, fields: Mapping[str, str]) -> CachedResponse:
        """The answer to a request: the page, its refusal, or word that it has not changed."""
        compressed = self.behaviour.gzip and "gzip" in fields.get("accept-encoding", "").lower()
        response = self.find(host, target, compressed=compressed)
        number = response.number
        if number is not None and self._refused is not None:
            refused = self._refused[number]
            if refused < self.web.refusals(number):
                self._refused[number] = refused + 1
                return encoded(pages.refusal(self.web, number))
        if response.etag and unchanged(response, fields):
            return encoded(DemoReply(304, headers=(("ETag", response.etag),), number=number))
        return response

    def delay(self) -> float:
        """How long this answer waits, in seconds."""
        it, random = self.behaviour, self._random
        tail = random.expovariate(1 / it.tail) if it.tail else 0.0
        return it.latency + random.random() * it.jitter + tail

    def is_slow(self, response: CachedResponse) -> bool:
        """Whether the body of this answer comes in drops."""
        share = self.behaviour.slow
        return bool(share and response.number and self.web.chance(response.number, b"slow", share))

    def date(self) -> bytes:
        """The Date line and the end of the head."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._date = f"Date: {formatdate(second, usegmt=True)}\r\n\r\n".encode()
        return self._date

    def log_exchange(
        self, name: str, host: str, target: str, status: int, size: int, came: float, *, left: bool
    ) -> None:
        """Remember an exchange for the log, just before the last of its answer is written.

        `name` is the connection's, `came` the Unix time at which its request had been read whole,
        `left` whether the client had closed its side before the answer: it will not ask again, and
        perhaps it is dead.
        """
        if self._log is not None:
            self._lines.append((time.time(), came, host, target, status, size, name, left))
            if len(self._lines) >= LOG_BATCH_LINES:
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


def encoded(reply: DemoReply, *, compressed: bool = False, varies: bool = False) -> CachedResponse:
    """A reply in the form in which it goes over the wire."""
    body, headers = reply.body, list(reply.headers)
    marks = dict(headers)
    if reply.status == 304:
        lines = [f"{name}: {value}" for name, value in headers]
        text = "\r\n".join(["HTTP/1.1 304 Not Modified", "Server: demo", *lines, ""])
        return CachedResponse(304, text.encode("latin-1"), b"", reply.number)
    compressible = len(body) >= MIN_GZIP_BYTES and reply.mime.startswith(
        ("text/", "application/xml")
    )
    if varies and compressible:
        headers.append(("Vary", "Accept-Encoding"))
        if compressed:
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
    """The reason phrase of a status; `Unknown` for one that is not registered."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def unchanged(response: CachedResponse, fields: Mapping[str, str]) -> bool:
    """Whether the client already has this response (RFC 9110 §13.1: the tag outranks the date)."""
    tags = fields.get("if-none-match")
    if tags is not None:
        given = [tag.strip().removeprefix("W/") for tag in tags.split(",")]
        return response.etag in given or given == ["*"]
    since = fields.get("if-modified-since")
    if not since or not response.changed:
        return False
    try:
        return parsedate_to_datetime(since) >= parsedate_to_datetime(response.changed)
    except (ValueError, TypeError):
        return False
