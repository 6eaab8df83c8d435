"""One connection to the demo web: enough HTTP/1.1 to serve a crawler, and little more.

GET and HEAD, keep-alive, pipelining in order, bounded memory. A framework costs 60 µs and more a
request; this costs about a tenth, so that what is measured is the crawler.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from itertools import count
from time import monotonic, time
from typing import cast

from crawler.demo.response_cache import CachedResponse, ResponseCache, made
from crawler.demo.web import DemoReply, number_of

HEAD_LIMIT = 16 * 1024  # bytes of one request's head, as most servers allow
DROPS = 20  # pieces in which a slow body comes
GONE = 499  # in the log: the asker went before the answer was written, as nginx writes it
NO_FIELDS: Mapping[str, str] = {}
_numbers = count(1)


class ConnectionLimit:
    """The connections that are up."""

    def __init__(self) -> None:
        self._up: set[DemoConnection] = set()
        self._empty = asyncio.Event()

    def come(self, one: DemoConnection) -> None:
        self._up.add(one)

    def go(self, one: DemoConnection) -> None:
        self._up.discard(one)
        if not self._up:
            self._empty.set()

    def hush(self, since: float) -> None:
        """Close those that have been silent since a moment (of the monotonic clock)."""
        for one in [one for one in self._up if one.seen < since]:
            one.retire()

    async def disperse(self, grace: float) -> None:
        """Let answers in hand be finished for `grace` seconds, then end all."""
        self._empty.clear()
        for one in list(self._up):
            one.retire()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._up:
                    await self._empty.wait()
                    self._empty.clear()
        for one in list(self._up):
            one.transport.abort()
        await asyncio.sleep(0)  # they are told of it, and say in the log what they were at


class DemoConnection(asyncio.Protocol):
    """Reads requests, asks the desk, writes the answers in order."""

    transport: asyncio.Transport
    closing: bool  # the next answer is the last
    ended: bool  # the asker will say no more
    waiting: bool  # an answer is due later: what follows must wait its turn
    full: bool  # the asker does not read

    def __init__(self, desk: ResponseCache, crowd: ConnectionLimit) -> None:
        self.desk, self.crowd = desk, crowd
        self.name = ""
        self.host = 0
        self.seen = monotonic()
        self.buffer = b""
        self.waiting = self.full = self.closing = self.ended = False
        self._fields_text, self._fields = b"", NO_FIELDS
        self._came, self._target, self._status = 0.0, "", 0  # of the request under way
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.name = f"{os.getpid()}-{next(_numbers)}"
        if self.desk.web.hosts > 1:
            address = self.transport.get_extra_info("sockname")[0]
            self.host = number_of(address)
        self.crowd.come(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (why does not matter)
        self.crowd.go(self)
        self.closing = True
        if self._timer is not None:
            self._timer.cancel()
        if self.waiting:
            self._note(self._target, GONE, 0)

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self._go_on()

    def eof_received(self) -> bool:
        """The asker has said all; what it is owed is still sent."""
        self.ended = True
        return self.waiting or self.full

    def data_received(self, data: bytes) -> None:
        self.seen = monotonic()
        self.buffer = self.buffer + data if self.buffer else data
        if self.waiting or self.full:
            if len(self.buffer) > HEAD_LIMIT:
                self.transport.pause_reading()
            return
        self._read()

    def retire(self) -> None:
        """Close as soon as nothing is owed."""
        self.closing = True
        if not self.waiting:
            self.transport.close()

    def _held(self) -> bool:
        """Whether the next request must wait."""
        return self.waiting or self.full

    def _go_on(self) -> None:
        if self._held() or self.transport.is_closing():
            return
        self._read()
        if self._held():
            return
        if self.closing or self.ended:
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.resume_reading()

    def _read(self) -> None:
        """Answer the requests that have come whole."""
        buffer, at = self.buffer, 0
        while not (self._held() or self.transport.is_closing()):
            end = buffer.find(b"\r\n\r\n", at)
            if (len(buffer) if end < 0 else end) - at > HEAD_LIMIT:
                self._came = time()
                self._refuse(431)
                break
            if end < 0:
                break
            head = buffer[at:end]
            at = end + 4
            self._request(head)
        self.buffer = buffer[at:]

    def _request(self, head: bytes) -> None:
        self._came = time()
        line, _, rest = head.lstrip(b"\r\n").partition(b"\r\n")
        parts = line.split(b" ")
        if rest != self._fields_text:
            self._fields_text, self._fields = rest, read_fields(rest)
        fields = self._fields
        if len(parts) != 3 or not parts[2].startswith(b"HTTP/1.") or ":" in fields:
            return self._refuse(400)
        method, target, version = parts[0], parts[1].decode("latin-1"), parts[2]
        if "transfer-encoding" in fields or fields.get("content-length", "0") != "0":
            return self._refuse(413)
        if version == b"HTTP/1.1" and "host" not in fields:
            return self._refuse(400)
        if method not in {b"GET", b"HEAD"}:
            return self._refuse(405)
        if not target.startswith("/"):  # the absolute form: what a proxy would be sent
            target = "/" + target.partition("://")[2].partition("/")[2]
        asked = fields.get("connection", "").lower()
        if "close" in asked or (version == b"HTTP/1.0" and "keep-alive" not in asked):
            self.closing = True
        sheet = self.desk.answer(self.host, target.partition("#")[0], fields)
        if not self.desk.manners.waits:
            return self._send(sheet, method, target)
        self.waiting, self._target = True, target
        self._after(self.desk.delay(), sheet, method, target)
        return None

    def _after(self, delay: float, sheet: CachedResponse, method: bytes, target: str) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(delay, self._send_late, sheet, method, target)

    def _send_late(self, sheet: CachedResponse, method: bytes, target: str) -> None:
        self.waiting = False
        self._send(sheet, method, target)
        self._go_on()

    def _send(self, sheet: CachedResponse, method: bytes, target: str) -> None:
        body = b"" if method == b"HEAD" else sheet.body
        last = b"Connection: close\r\n" if self.closing else b""
        head = sheet.head + last + self.desk.date()
        if body and self.desk.is_slow(sheet):
            self.transport.write(head)
            self.waiting, self._target, self._status = True, target, sheet.status
            self._soon(body, 0)
            return
        self._note(target, sheet.status, len(body))
        self.transport.write(head + body)
        if last:
            self.transport.close()

    def _soon(self, body: bytes, at: int) -> None:
        pause = self.desk.manners.slow_for / DROPS
        self._timer = asyncio.get_running_loop().call_later(pause, self._drip, body, at)

    def _drip(self, body: bytes, at: int) -> None:
        """Send the next drop of a slow body."""
        self.seen = monotonic()
        step = len(body) // DROPS + 1
        if at + step >= len(body):
            self._note(self._target, self._status, len(body))
        self.transport.write(body[at : at + step])
        if at + step < len(body):
            self._soon(body, at + step)
            return
        self.waiting = False
        self._go_on()

    def _refuse(self, status: int) -> None:
        """Say what is wrong with the request and close: nobody knows where the next one starts."""
        self.closing = True
        allow = (("Allow", "GET, HEAD"),) if status == 405 else ()
        sheet = made(DemoReply(status, b"no\n", "text/plain", allow))
        self._note("", status, len(sheet.body))
        self.transport.write(sheet.head + b"Connection: close\r\n" + self.desk.date() + sheet.body)
        self.transport.close()

    def _note(self, target: str, status: int, size: int) -> None:
        host = self._fields.get("host", "")
        self.desk.note(self.name, host, target, status, size, self._came, left=self.ended)


def read_fields(text: bytes) -> dict[str, str]:
    """The header fields, names in lower case; a field named `:` marks a head that is none."""
    fields = {}
    for line in text.decode("latin-1").split("\r\n") if text else ():
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            return {":": line}
        fields[name.lower()] = value.strip()
    return fields
