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

from crawler.demo.response_cache import CachedResponse, ResponseCache, encoded
from crawler.demo.web import DemoReply, number_of

HEAD_LIMIT = 16 * 1024  # bytes of one request's head, as most servers allow
SLOW_BODY_PIECES = 20  # pieces in which a slow body comes
CLIENT_GONE = 499  # in the log: the client closed before the response was written, as in nginx
NO_FIELDS: Mapping[str, str] = {}
_numbers = count(1)


class ConnectionLimit:
    """The open connections of one process."""

    def __init__(self) -> None:
        self._up: set[DemoConnection] = set()
        self._empty = asyncio.Event()

    def add(self, one: DemoConnection) -> None:
        self._up.add(one)

    def remove(self, one: DemoConnection) -> None:
        self._up.discard(one)
        if not self._up:
            self._empty.set()

    def close_idle(self, since: float) -> None:
        """Close connections that have been silent since a time of the monotonic clock."""
        for one in [one for one in self._up if one.seen < since]:
            one.close_when_idle()

    async def shut_down(self, grace: float) -> None:
        """Wait up to `grace` seconds for responses under way, then abort all connections."""
        self._empty.clear()
        for one in list(self._up):
            one.close_when_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._up:
                    await self._empty.wait()
                    self._empty.clear()
        for one in list(self._up):
            one.transport.abort()
        await asyncio.sleep(0)  # lets `connection_lost` run, which logs unfinished requests


class DemoConnection(asyncio.Protocol):
    """Reads requests, gets responses from the cache, writes them in order."""

    transport: asyncio.Transport
    closing: bool  # the next response is the last
    ended: bool  # the client has closed its sending side
    waiting: bool  # a response is delayed: requests behind it must wait
    full: bool  # the client does not read

    def __init__(self, responses: ResponseCache, connections: ConnectionLimit) -> None:
        self.responses, self.connections = responses, connections
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
        if self.responses.web.hosts > 1:
            address = self.transport.get_extra_info("sockname")[0]
            self.host = number_of(address)
        self.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (why does not matter)
        self.connections.remove(self)
        self.closing = True
        if self._timer is not None:
            self._timer.cancel()
        if self.waiting:
            self._log(self._target, CLIENT_GONE, 0)

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self._resume()

    def eof_received(self) -> bool:
        """The client has closed its sending side; pending responses are still sent."""
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

    def close_when_idle(self) -> None:
        """Close as soon as no response is pending."""
        self.closing = True
        if not self.waiting:
            self.transport.close()

    def _is_blocked(self) -> bool:
        """Whether the next request must wait."""
        return self.waiting or self.full

    def _resume(self) -> None:
        if self._is_blocked() or self.transport.is_closing():
            return
        self._read()
        if self._is_blocked():
            return
        if self.closing or self.ended:
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.resume_reading()

    def _read(self) -> None:
        """Answer the requests that are complete."""
        buffer, at = self.buffer, 0
        while not (self._is_blocked() or self.transport.is_closing()):
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
        response = self.responses.answer(self.host, target.partition("#")[0], fields)
        if not self.responses.behaviour.waits:
            return self._send(response, method, target)
        self.waiting, self._target = True, target
        self._send_after(self.responses.delay(), response, method, target)
        return None

    def _send_after(
        self, delay: float, response: CachedResponse, method: bytes, target: str
    ) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(delay, self._send_late, response, method, target)

    def _send_late(self, response: CachedResponse, method: bytes, target: str) -> None:
        self.waiting = False
        self._send(response, method, target)
        self._resume()

    def _send(self, response: CachedResponse, method: bytes, target: str) -> None:
        body = b"" if method == b"HEAD" else response.body
        last = b"Connection: close\r\n" if self.closing else b""
        head = response.head + last + self.responses.date()
        if body and self.responses.is_slow(response):
            self.transport.write(head)
            self.waiting, self._target, self._status = True, target, response.status
            self._schedule_piece(body, 0)
            return
        self._log(target, response.status, len(body))
        self.transport.write(head + body)
        if last:
            self.transport.close()

    def _schedule_piece(self, body: bytes, at: int) -> None:
        pause = self.responses.behaviour.slow_for / SLOW_BODY_PIECES
        self._timer = asyncio.get_running_loop().call_later(pause, self._send_piece, body, at)

    def _send_piece(self, body: bytes, at: int) -> None:
        """Send the next piece of a slow body."""
        self.seen = monotonic()
        step = len(body) // SLOW_BODY_PIECES + 1
        if at + step >= len(body):
            self._log(self._target, self._status, len(body))
        self.transport.write(body[at : at + step])
        if at + step < len(body):
            self._schedule_piece(body, at + step)
            return
        self.waiting = False
        self._resume()

    def _refuse(self, status: int) -> None:
        """Respond with an error and close: the start of the next request is unknown."""
        self.closing = True
        allow = (("Allow", "GET, HEAD"),) if status == 405 else ()
        response = encoded(DemoReply(status, b"no\n", "text/plain", allow))
        self._log("", status, len(response.body))
        self.transport.write(
            response.head + b"Connection: close\r\n" + self.responses.date() + response.body
        )
        self.transport.close()

    def _log(self, target: str, status: int, size: int) -> None:
        host = self._fields.get("host", "")
        self.responses.log_exchange(
            self.name, host, target, status, size, self._came, left=self.ended
        )


def read_fields(text: bytes) -> dict[str, str]:
    """The header fields, names in lower case; a field named `:` marks a malformed head."""
    fields = {}
    for line in text.decode("latin-1").split("\r\n") if text else ():
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            return {":": line}
        fields[name.lower()] = value.strip()
    return fields
