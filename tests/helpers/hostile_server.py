"""A server that does everything wrong: raw sockets on loopback, one path an attack.

    async with HostileServer() as server:
        server.url                  an index page that links to every attack and to healthy pages
        ATTACKS                     path → Attack: what is sent, and what must be recorded

By hand, in tests/: `python -m helpers.hostile_server` prints its address and serves until stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import lru_cache
from types import TracebackType
from typing import NamedTuple, Self, TypeAlias

import brotli
from backports import zstd

HEALTHY = 500
MEGA = 1024 * 1024

Send: TypeAlias = Callable[["Wire"], Awaitable[None]]


class Attack(NamedTuple):
    """What is sent, and the record that must come of it."""

    send: Send
    outcome: str  # of the record; several are separated by |
    reason: str = ""  # how the record's reason begins; several are separated by |
    said: str = ""  # what stands in one of its `problems`


class Wire:
    """One connection, after its request was read."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, port: int
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.path = path
        self.port = port
        self.again = False  # whether the connection is kept for another request

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def forever(self, data: bytes, pause: float = 0.0) -> None:
        """The same bytes until the crawler goes away."""
        while True:
            await self.send(data)
            await asyncio.sleep(pause)

    async def silence(self) -> None:
        """Say nothing until the crawler goes away."""
        while await self.reader.read(4096):
            pass

    def reset(self) -> None:
        """The connection ends with a RST."""
        line = self.writer.get_extra_info("socket")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"


MAKERS: list[Callable[[], bytes]] = []
"""What makes the large bodies, once: a server that is busy compressing is slow for everybody."""


def raw(data: bytes) -> Send:
    """These bytes, then the end of the connection."""

    async def send(wire: Wire) -> None:
        await wire.send(data)

    return send


def body(content: bytes | Callable[[], bytes], *headers: bytes) -> Send:
    """A whole and honest answer with this body."""
    make = lru_cache(1)(content if callable(content) else lambda: content)
    MAKERS.append(make)

    async def send(wire: Wire) -> None:
        made = make()
        fields = b"".join(header + b"\r\n" for header in headers)
        length = b"Content-Length: %d\r\n\r\n" % len(made)
        await wire.send((HEAD if not fields.startswith(b"HTTP/") else b"") + fields + length + made)

    return send


def body_chunked(chunks: Callable[[], bytes]) -> Send:
    """An honest answer in chunks as given."""

    async def send(wire: Wire) -> None:
        await wire.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks() + b"0\r\n\r\n")

    return send


def after(first: bytes, again: bytes, pause: float) -> Send:
    """One thing, then another again and again."""

    async def send(wire: Wire) -> None:
        await wire.send(first)
        await wire.forever(again, pause)

    return send


def reset_after(data: bytes) -> Send:
    """These bytes, then a RST."""

    async def send(wire: Wire) -> None:
        await wire.send(data)
        wire.reset()

    return send


def quiet_after(data: bytes) -> Send:
    """These bytes, then nothing, on an open connection."""

    async def send(wire: Wire) -> None:
        await wire.send(data)
        await wire.silence()

    return send


def moved(target: str, status: int = 302) -> Send:
    """A redirect; `{port}` is filled in."""

    async def send(wire: Wire) -> None:
        to = target.replace("{port}", str(wire.port)).encode("latin-1")
        await wire.send(
            b"HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, to)
        )

    return send


async def kept_then_closed(wire: Wire) -> None:
    """The connection is said to be kept, and closed as soon as the answer is out."""
    await wire.send(HEAD + b"Connection: keep-alive\r\nContent-Length: 2\r\n\r\nok")


POISON = HEAD + b"Content-Length: 32\r\n\r\n<title>poisoned</title>poisoned!"


async def two_answers(wire: Wire) -> None:
    """A second answer that nobody asked for, to be taken for the next request's."""
    await wire.send(HEAD + b"Content-Length: 2\r\n\r\nok" + POISON)
    wire.again = True


async def late_garbage(wire: Wire) -> None:
    """Bytes after the answer, perhaps when the connection is in use again."""
    await wire.send(HEAD + b"Content-Length: 2\r\n\r\nok")
    await asyncio.sleep(0.02)
    await wire.send(b"<title>poisoned</title>poisoned!")
    wire.again = True


async def half_close(wire: Wire) -> None:
    """Our side is closed in the middle of the body; we go on listening."""
    await wire.send(HEAD + b"Content-Length: 100\r\n\r\nhalf")
    wire.writer.write_eof()
    await wire.silence()


async def numbered_headers(wire: Wire) -> None:
    """Header lines without end."""
    await wire.send(b"HTTP/1.1 200 OK\r\n")
    number = 0
    while True:
        await wire.send(b"".join(b"X-%d: 1\r\n" % (number + each) for each in range(500)))
        number += 500


async def hop(wire: Wire) -> None:
    """A redirect to a page that redirects, without end."""
    number = int(wire.path.rpartition("/")[2] or 0)
    await moved(f"/redirect/endless/{number + 1}")(wire)


@lru_cache(1)
def zeros() -> bytes:
    return b"<p>" + bytes(30 * MEGA)


def packed(*layers: str, content: Callable[[], bytes] = zeros) -> Send:
    """A body with content encodings, in the order of the header."""
    tools: dict[str, Callable[[bytes], bytes]] = {
        "gzip": lambda data: gzip.compress(data, 1, mtime=0),
        "deflate": lambda data: zlib.compress(data, 1),
        "br": lambda data: brotli.compress(data, quality=1),
        "zstd": zstd.compress,
    }

    @lru_cache(1)
    def made() -> bytes:
        data = content()
        for layer in layers:
            data = tools[layer](data)
        return data

    return body(made, b"Content-Encoding: " + ", ".join(layers).encode())


def quine() -> bytes:
    """A valid gzip member followed by the start of another, cut off."""
    return gzip.compress(b"<title>cut</title>" + b"x" * 4000, mtime=0)[:-12]


WIRE: dict[str, Attack] = {
    # bodies and headers that do not end
    "/wire/endless-body": Attack(
        after(HEAD + b"\r\n", b"<p>more" * 4096, 0), "failed", "too-large"),
    "/wire/endless-chunks": Attack(
        after(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n", 0),
        "failed", "too-large"),
    "/wire/endless-headers": Attack(numbered_headers, "failed", "garbled"),
    "/wire/endless-header-line": Attack(
        after(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65536, 0), "failed", "garbled"),
    "/wire/endless-status-line": Attack(
        after(b"HTTP/1.1 200 ", b"x" * 65536, 0), "failed", "garbled"),
    "/wire/endless-trailers": Attack(
        after(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 1000, 0),
        "failed", "garbled|truncated|too-large|timeout"),
    "/wire/endless-chunk-extension": Attack(
        after(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;", b"x" * 65536, 0),
        "failed", "garbled|truncated|too-large|timeout"),
    # slowness
    "/wire/silent": Attack(quiet_after(b""), "failed", "timeout:first-byte"),
    "/wire/headers-drip": Attack(
        after(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", 0.1), "failed", "timeout:first-byte"),
    "/wire/body-drip": Attack(after(HEAD + b"\r\n", b"x", 0.1), "failed", "timeout:rate"),
    "/wire/redirect-drip": Attack(
        after(b"HTTP/1.1 302 X\r\nLocation: /\r\nContent-Length: 9000\r\n\r\n", b"x", 0.1),
        "moved"),
    "/wire/stall": Attack(
        quiet_after(HEAD + b"Content-Length: 100\r\n\r\nhalf"), "failed", "timeout:idle"),
    "/wire/keeps-open": Attack(quiet_after(HEAD + b"\r\nall there is"), "failed", "timeout:idle"),
    # heads
    "/wire/header-100k": Attack(
        raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\nok"), "done"),
    "/wire/headers-10000": Attack(
        raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\nok"), "done"),
    "/wire/header-nul": Attack(raw(HEAD + b"X: a\0b\r\n\r\nok"), "failed", "garbled"),
    "/wire/header-latin": Attack(body(b"ok", b"X-\xe9: \xff\xfe"), "done"),
    "/wire/header-without-colon": Attack(raw(HEAD + b"nonsense\r\n\r\nok"), "done"),
    "/wire/header-folded": Attack(raw(HEAD + b"X: a\r\n b\r\n\r\nok"), "done"),
    "/wire/bare-cr": Attack(raw(HEAD + b"X: a\rY: b\r\n\r\nok"), "done"),
    "/wire/http09": Attack(raw(b"<html><title>old</title></html>"), "failed", "garbled"),
    "/wire/http2": Attack(raw(b"\0\0\x12\4\0\0\0\0\0\0\3\0\0\0\x80"), "failed", "garbled"),
    "/wire/garbage": Attack(raw(bytes(range(256)) * 16), "failed", "garbled"),
    "/wire/other-protocol": Attack(raw(b"220 mail.example ESMTP\r\n"), "failed", "garbled"),
    "/wire/status-000": Attack(raw(b"HTTP/1.1 000 X\r\n\r\n"), "failed", "garbled"),
    "/wire/status-word": Attack(raw(b"HTTP/1.1 OK\r\n\r\n"), "done"),
    "/wire/status-999": Attack(body(b"no", b"HTTP/1.1 999 No"), "failed", "status:999"),
    "/wire/status-9999": Attack(raw(b"HTTP/1.1 9999 X\r\n\r\n"), "failed", "garbled"),
    "/wire/version": Attack(raw(b"HTTP/9.9 200 X\r\n\r\nok"), "done"),
    "/wire/flood-1xx": Attack(
        after(b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 500, 0), "failed", "garbled:more than"),
    "/wire/few-1xx": Attack(
        raw(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3 + HEAD
            + b"Content-Length: 2\r\n\r\nok"), "done"),
    "/wire/switch-101": Attack(
        raw(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        "failed", "garbled:status 101"),
    # lengths
    "/wire/length-too-long": Attack(
        raw(HEAD + b"Content-Length: 1000\r\n\r\nshort"), "failed", "truncated"),
    "/wire/length-too-short": Attack(raw(HEAD + b"Content-Length: 2\r\n\r\nok, and more"),
        "done"),
    "/wire/length-negative": Attack(
        raw(HEAD + b"Content-Length: -5\r\n\r\nok"), "done"),
    "/wire/length-huge": Attack(
        raw(HEAD + b"Content-Length: 99999999999\r\n\r\nok"), "failed", "too-large"),
    "/wire/length-overflow": Attack(
        raw(HEAD + b"Content-Length: " + b"9" * 40 + b"\r\n\r\nok"), "done"),
    "/wire/length-twice": Attack(
        raw(HEAD + b"Content-Length: 2\r\nContent-Length: 5\r\n\r\nokxyz"), "failed", "garbled"),
    "/wire/length-word": Attack(
        raw(HEAD + b"Content-Length: two\r\n\r\nok"), "done"),
    "/wire/length-and-chunked": Attack(
        raw(HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        "done"),
    "/wire/chunked-twice": Attack(
        raw(HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        "done"),
    "/wire/chunk-cut": Attack(
        raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n64\r\nonly this"), "failed", "truncated"),
    "/wire/chunk-no-end": Attack(
        raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"), "failed", "truncated"),
    "/wire/chunks-tiny": Attack(
        body_chunked(lambda: b"1\r\nx\r\n" * 300_000), "done"),
    "/wire/chunk-size-word": Attack(
        raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n"),
        "failed", "garbled|truncated"),
    "/wire/chunk-size-huge": Attack(
        raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nok"),
        "failed", "garbled|truncated"),
    "/wire/chunk-size-negative": Attack(
        raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n-2\r\nok\r\n0\r\n\r\n"),
        "failed", "garbled|truncated"),
    # connections
    "/wire/empty": Attack(raw(b""), "failed", "connection"),
    "/wire/reset-at-once": Attack(reset_after(b""), "failed", "connection"),
    "/wire/reset-in-headers": Attack(reset_after(b"HTTP/1.1 200 OK\r\nX"), "failed", "connection"),
    "/wire/reset-in-body": Attack(
        reset_after(HEAD + b"Content-Length: 999\r\n\r\nhalf"), "failed", "truncated|connection"),
    "/wire/closed-in-headers": Attack(raw(b"HTTP/1.1 200 OK\r\nX"), "failed", "connection|garbled"),
    "/wire/half-close": Attack(half_close, "failed", "truncated"),
    "/wire/kept-then-closed": Attack(kept_then_closed, "done"),
    "/wire/two-answers": Attack(two_answers, "done"),
    "/wire/late-garbage": Attack(late_garbage, "done|failed", "garbled|"),
    # redirects
    "/redirect/itself": Attack(moved("/redirect/itself"), "failed", "redirect:loop"),
    "/redirect/endless/0": Attack(hop, "moved"),
    "/redirect/nowhere": Attack(raw(b"HTTP/1.1 302 X\r\nContent-Length: 0\r\n\r\n"), "failed",
                                "status:302"),
    "/redirect/file": Attack(moved("file:///etc/passwd"), "failed", "redirect:scheme file"),
    "/redirect/ftp": Attack(moved("ftp://127.0.0.1/"), "failed", "redirect:scheme ftp"),
    "/redirect/javascript": Attack(
        moved("javascript:alert(1)"), "failed", "redirect:scheme javascript"),
    "/redirect/data": Attack(moved("data:text/html,<a href=/>"), "failed", "redirect:scheme data"),
    "/redirect/gopher": Attack(
        moved("gopher://127.0.0.1:{port}/_GET"), "failed", "redirect:scheme gopher"),
    "/redirect/no-url": Attack(moved("http://[::1/"), "failed", "redirect:not a URL"),
    "/redirect/bytes": Attack(moved("/\xff\xfe"), "moved"),
    "/redirect/long": Attack(moved("/" + "x" * 20_000), "moved", "redirectToExcluded:tooLong"),
    "/redirect/endless-body": Attack(
        after(b"HTTP/1.1 302 X\r\nLocation: /ok/1\r\n\r\n", b"x" * 65536, 0), "moved"),
    "/redirect/set-cookie-flood": Attack(
        raw(b"HTTP/1.1 302 X\r\nLocation: /ok/2\r\nContent-Length: 0\r\n"
            + b"".join(b"Set-Cookie: c%d=1\r\n" % each for each in range(300)) + b"\r\n"), "moved"),
}  # fmt: skip

BOMBS: dict[str, Attack] = {
    "/bomb/gzip": Attack(packed("gzip"), "failed", "parse:too-large"),
    "/bomb/deflate": Attack(packed("deflate"), "failed", "parse:too-large"),
    "/bomb/br": Attack(packed("br"), "failed", "parse:too-large"),
    "/bomb/zstd": Attack(packed("zstd"), "failed", "parse:too-large"),
    "/bomb/gzip-gzip": Attack(packed("gzip", "gzip"), "failed", "parse:too-large"),
    "/bomb/zstd-br-gzip": Attack(packed("zstd", "br", "gzip"), "failed", "parse:too-large"),
    "/bomb/ten-layers": Attack(
        packed(*["gzip"] * 10, content=lambda: b"<p>ok"), "failed", "parse:encoding"),
    "/bomb/gzip-members": Attack(
        body(lambda: gzip.compress(b"x", mtime=0) * 40_000, b"Content-Encoding: gzip"), "done"),
    "/bomb/zstd-frames": Attack(
        body(lambda: zstd.compress(b"") * 80_000, b"Content-Encoding: zstd"), "done"),
    "/bomb/deflate-trailing": Attack(
        body(lambda: zlib.compress(b"<p>ok" * 40_000) + b"x" * 200_000,
             b"Content-Encoding: deflate"), "done"),
    "/bomb/gzip-cut": Attack(
        body(quine, b"Content-Encoding: gzip"), "done", said="gzip stream breaks off"),
    "/bomb/gzip-lie": Attack(
        body(b"<p>plain", b"Content-Encoding: gzip"), "done", said="said to be gzip"),
    "/bomb/br-garbage": Attack(
        body(b"\xff" * 999, b"Content-Encoding: br"), "done", said="said to be br"),
    "/bomb/encoding-unknown": Attack(
        body(b"<p>x", b"Content-Encoding: " + b"z" * 300), "done", said="unknown Content-Encoding"),
    "/bomb/one-line": Attack(body(lambda: b"<p>" + b"x" * (9 * MEGA)), "done"),
    "/bomb/nested-tags": Attack(body(lambda: b"<div>" * 100_000), "done"),
    "/bomb/nested-formatting": Attack(body(lambda: b"<b><i>" * 50_000), "done"),
    "/bomb/tags": Attack(body(lambda: b"<b>" * 2_100_000), "done", "tooManyTags", said="tags, the"),
    "/bomb/attributes": Attack(
        body(lambda: b"<a " + b" ".join(b"a%d=1" % each for each in range(900_000)) + b">"),
        "done"),
    "/bomb/attributes-spread": Attack(
        body(lambda: (b"<a " + b" ".join(b"%x" % each for each in range(990)) + b">") * 2300),
        "done", "tooManyAttributes", said="attributes, the rest"),
    "/bomb/links": Attack(
        body(lambda: b"".join(b"<a href=//x%d></a>" % each for each in range(450_000))),
        "done", "tooManyLinks", said="links, the first"),
    "/bomb/srcset": Attack(
        body(lambda: b"<img srcset='" + b"/x 1x," * 500_000 + b"'>"), "done"),
    "/bomb/script": Attack(body(lambda: b"<script>" + b"x=1<2;" * 1_400_000), "done"),
    "/bomb/nul": Attack(body(lambda: b"\0" * (5 * MEGA)), "done", said="NUL"),
    "/bomb/comments": Attack(body(lambda: b"<!--" * 2_000_000), "done"),
    "/bomb/doctype": Attack(body(lambda: b"<!DOCTYPE html>" * 100_000), "done"),
    "/bomb/entities": Attack(body(lambda: b"&amp;&#x41;&nosuch;" * 300_000), "done"),
    "/bomb/base": Attack(body(b"<base href='//[bad'><base href=javascript:x><a href=x>"), "done"),
    "/bomb/long-href": Attack(
        body(lambda: b"<a href='/" + b"x" * (2 * MEGA) + b"'>long</a>"), "done"),
    "/bomb/refresh": Attack(
        body(lambda: b"<meta http-equiv=refresh content='" + b" 1." * 300_000 + b"'>"), "done"),
    "/bomb/charset-lie": Attack(
        body("<title>häßlich</title>".encode("latin-1"),
             b"Content-Type: text/html; charset=utf-8"), "done"),
    "/bomb/charset-unknown": Attack(
        body(b"<title>x</title>", b'Content-Type: text/html; charset="no such\x7f"'), "done|failed",
        "garbled|"),
    "/bomb/utf-16-cut": Attack(body(b"\xff\xfe<\0p\0>\0\xd8"), "done"),
    "/bomb/utf-7": Attack(
        body(b"+ADw-script+AD4-", b"Content-Type: text/html; charset=utf-7"), "done"),
    "/bomb/detector": Attack(body(lambda: bytes(range(128, 256)) * 60_000), "done"),
    "/bomb/escape-title": Attack(
        body("<title>\x1b]0;owned\x07\x1b[2J\u202egnp.exe\u2066</title>".encode()), "done"),
    "/bomb/forty-robots-metas": Attack(
        body(lambda: b"<meta name=robots content='" + b"x," * 100_000 + b"'>"), "done"),
}  # fmt: skip

ATTACKS: dict[str, Attack] = WIRE | BOMBS


class HostileServer:
    """Serves everything at 127.0.0.1 on a free port."""

    def __init__(self, healthy: int = HEALTHY) -> None:
        self.healthy = [f"/ok/{number}" for number in range(healthy)]
        self.hits: Counter[str] = Counter()
        self.elsewhere: list[str] = []  # further links of the index
        self.port = 0
        self._server: asyncio.Server | None = None
        self._crew: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def __aenter__(self) -> Self:
        for make in MAKERS:
            make()
        self._server = await asyncio.start_server(self._greet, "127.0.0.1", 0, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._crew):
            task.cancel()
        await asyncio.gather(*self._crew, return_exceptions=True)
        await self._server.wait_closed()

    def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._converse(reader, writer))
        self._crew.add(task)
        task.add_done_callback(self._crew.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (path := await _hear(reader)) is not None:
                self.hits[path] += 1
                wire = Wire(reader, writer, path, self.port)
                await self._answer(wire)
                if not wire.again:
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the crawler has had enough: its right
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, wire: Wire) -> None:
        attack = ATTACKS.get(wire.path)
        if attack is not None:
            await attack.send(wire)
        elif wire.path.startswith("/redirect/endless/"):
            await hop(wire)
        elif wire.path == "/" or wire.path in self.healthy:
            text = "".join(self._page(wire.path)).encode()
            await wire.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(text) + text)
            wire.again = True
        else:
            await wire.send(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
            wire.again = True

    def _page(self, path: str) -> Iterator[str]:
        yield f"<!doctype html><title>Page {path}</title>"
        if path == "/":  # attacks and healthy pages in turn
            attacks = [*ATTACKS, *self.elsewhere]
            for number, good in enumerate(self.healthy):
                yield f'<a href="{good}">good</a>\n'
                if number < len(attacks):
                    yield f'<a href="{attacks[number]}">bad</a>\n'
            for bad in attacks[len(self.healthy) :]:
                yield f'<a href="{bad}">bad</a>\n'


async def _hear(reader: asyncio.StreamReader) -> str | None:
    """The path of the next request; None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    return head.split(b" ", 2)[1].decode("latin-1")


async def _main() -> None:
    async with HostileServer() as server:
        print(server.url, flush=True)  # noqa: T201 - for whoever runs it by hand
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main())
