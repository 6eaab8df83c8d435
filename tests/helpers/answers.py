"""What a test's website can say. An answer gets the request and returns what to send.

Tests take these names from `website`, which serves them.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Protocol, TypeAlias


class Site(Protocol):
    """What an answer may know of the site it belongs to."""

    def fill(self, link: str) -> str:
        """A link with `{0}` … replaced by the hosts' origins."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `path` is the target as sent, with its query; names of headers in lower case."""

    time: float
    path: str
    host: str  # the Host header
    headers: Mapping[str, str]
    method: str
    address: str  # the address that was connected to
    site: Site = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """What to send. `stream` comes after the body, as it is; with it, no length is announced.

    `exact` replaces all else: these bytes, then the connection is closed. `reset` closes it with
    a RST instead of a FIN.
    """

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    mime: str = "text/html; charset=utf-8"
    length: int | None = None  # announced instead of the true one
    stream: AsyncIterator[bytes] | None = None
    exact: bytes | None = None
    reset: bool = False


Answer: TypeAlias = Callable[[Asked], Awaitable[Reply]]


def reply(
    body: bytes | str = b"",
    status: int = 200,
    mime: str = "text/html; charset=utf-8",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """The same bytes to everyone."""
    sent = body.encode() if isinstance(body, str) else body
    fields = tuple((headers or {}).items())

    async def answer(_: Asked) -> Reply:
        return Reply(status, sent, fields, mime)

    return answer


def page(
    title: str = "A page",
    links: Sequence[str] = (),
    *,
    text: str = "",
    head: str = "",
    status: int = 200,
    etag: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """An HTML page with links; with an `etag`, 304 to those who have it."""

    async def answer(asked: Asked) -> Reply:
        fields = dict(headers or {})
        if etag is not None:
            fields["ETag"] = etag
            if asked.headers.get("if-none-match") == etag:
                return Reply(304, headers=tuple(fields.items()))
        anchors = "\n".join(
            f'<a href="{escape(asked.site.fill(link))}">{number}</a>'
            for number, link in enumerate(links)
        )
        body = (
            f"<!doctype html>\n<html lang=en><head><title>{escape(title)}</title>{head}</head>\n"
            f"<body><p>{escape(text)}</p>\n{anchors}\n</body></html>\n"
        )
        return Reply(status, body.encode(), tuple(fields.items()))

    return answer


def text(body: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Plain text: robots.txt and the like."""
    return reply(body, status, "text/plain; charset=utf-8", headers)


def redirect(to: str, status: int = 302) -> Answer:
    """Elsewhere."""

    async def answer(asked: Asked) -> Reply:
        return Reply(status, headers=(("Location", asked.site.fill(to)),))

    return answer


def slow(seconds: float, then: Answer | None = None) -> Answer:
    """The answer comes after so many seconds."""
    after = then or page("Slow")

    async def answer(asked: Asked) -> Reply:
        await asyncio.sleep(seconds)
        return await after(asked)

    return answer


def busy(
    times: int = 1,
    retry_after: int | str | None = None,
    status: int = 503,
    then: Answer | None = None,
) -> Answer:
    """Refuses the first `times` requests."""
    after, refused = then or page("No longer busy"), 0

    async def answer(asked: Asked) -> Reply:
        nonlocal refused
        if refused >= times:
            return await after(asked)
        refused += 1
        fields = () if retry_after is None else (("Retry-After", str(retry_after)),)
        return Reply(status, b"busy\n", fields, "text/plain")

    return answer


def sequence(*answers: Answer) -> Answer:
    """One answer after the other; the last one for ever."""
    left = list(answers)

    async def answer(asked: Asked) -> Reply:
        return await (left.pop(0) if len(left) > 1 else left[0])(asked)

    return answer


def raw(exact: bytes, *, reset: bool = False) -> Answer:
    """These bytes and nothing else, then the end of the connection."""

    async def answer(_: Asked) -> Reply:
        return Reply(exact=exact, reset=reset)

    return answer


def hangup(*, reset: bool = True) -> Answer:
    """The connection ends without a word."""
    return raw(b"", reset=reset)


def truncated(body: bytes = b"<p>only half", announced: int = 1000) -> Answer:
    """A body that ends before its announced length."""

    async def answer(_: Asked) -> Reply:
        return Reply(body=body, length=announced)

    return answer


def endless(chunk: bytes = b"<p>and more</p>\n" * 512, *, pause: float = 0.0) -> Answer:
    """A body that never ends; it comes as fast as it is read, or a chunk each `pause` seconds."""

    async def stream() -> AsyncIterator[bytes]:
        while True:
            yield chunk
            await asyncio.sleep(pause)

    async def answer(_: Asked) -> Reply:
        return Reply(stream=stream())

    return answer


def drip(body: bytes, pieces: int = 10, pause: float = 0.01) -> Answer:
    """A body in so many pieces, with a pause before each."""
    step = max(1, -(-len(body) // pieces))

    async def stream() -> AsyncIterator[bytes]:
        for at in range(0, len(body), step):
            await asyncio.sleep(pause)
            yield body[at : at + step]

    async def answer(_: Asked) -> Reply:
        return Reply(length=len(body), stream=stream())

    return answer


def packed(body: bytes, *, mime: str = "text/html; charset=utf-8") -> Answer:
    """A gzipped body, whether it was asked for or not."""
    return reply(gzip.compress(body, mtime=0), 200, mime, {"Content-Encoding": "gzip"})


def gzip_bomb(size: int = 50 * 1024 * 1024) -> Answer:
    """Unpacks to `size` bytes, a thousand times what goes over the wire."""
    return packed(b"<p>" + b"\0" * size)


class Gate:
    """An answer that waits until the test opens it; `waiting` counts who stands before it."""

    def __init__(self, then: Answer | None = None) -> None:
        self._then = then or page("Behind the gate")
        self._open = asyncio.Event()
        self.waiting = 0

    def open(self) -> None:
        """Let everyone through, now and later."""
        self._open.set()

    async def __call__(self, asked: Asked) -> Reply:
        self.waiting += 1
        try:
            await self._open.wait()
        finally:
            self.waiting -= 1
        return await self._then(asked)


def gate(then: Answer | None = None) -> Gate:
    """Keep a reference to it, put it into the site, and `open()` it when the time has come."""
    return Gate(then)


async def missing(_: Asked) -> Reply:
    """What is not in the dict."""
    return Reply(404, b"<!doctype html><title>Not found</title>\n")
