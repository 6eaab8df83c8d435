"""One HTTP exchange at a time and many side by side: aiohttp's session, our slots and limits.

Follows no redirect (a redirect is a link), decodes nothing (the parse processes do), keeps the
bytes as they were sent.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from socket import socket
from tempfile import NamedTemporaryFile
from typing import Any, Final, Self

import ada_url
import aiofiles
import aiohttp
import yarl
from aiohttp.connector import AddrInfoType
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from crawler.config import FetchConfig
from crawler.errors import FetchError, TooLarge, Unreachable, Unwanted
from crawler.fetch.allowance import Allowance, allowance
from crawler.fetch.errors import as_fetch_error
from crawler.fetch.guard import AddressGuard
from crawler.fetch.resolver import TRIP, Resolver, Trip
from crawler.fetch.throttle import Throttle
from crawler.model import Link, Page, Timings

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

REDIRECT_BODY: Final = 64 * 1024
"""A redirect's body is read up to here, to keep its connection; nobody looks at it."""

QUICK_TRIES: Final = 3
"""Tries in all when no byte of an answer came: a kept connection may close at any time."""

ADDRESSES: Final = 10_000
"""Hosts whose address is remembered for their records."""

HEADERS: Final = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Encoding": "gzip, deflate, br, zstd",
}


class _NothingCame(Exception):
    """The connection failed before the first byte of an answer: trying again is harmless."""

    def __init__(self, error: FetchError) -> None:
        self.error = error


class HttpFetcher:
    """Implements `protocols.Fetcher`. At most `slots` exchanges are open at a time.

    Bodies above `rules.spool_above` lie in a file in `spool`, so memory in flight is bounded by
    slots × spool_above. `accept` sees a response's content type; False: the body is not read.
    `rate`: bodies are read no faster than so many bytes a second, all together.
    """

    def __init__(
        self,
        rules: FetchConfig,
        *,
        slots: int | AbstractAsyncContextManager[None],
        user_agent: str,
        spool: Path,
        guard: AddressGuard | None = None,
        accept: Callable[[str], bool] | None = None,
        rate: int | None = None,
        robots_timeout: float = 20.0,
    ) -> None:
        self._rules = rules
        self._slots = asyncio.Semaphore(slots) if isinstance(slots, int) else slots
        self._user_agent = user_agent
        self._spool = spool
        self._guard = guard
        self._accept = accept
        self._throttle = Throttle(rate) if rate else None
        self._robots_timeout = robots_timeout
        self._session: aiohttp.ClientSession | None = None
        self._busy = 0
        self._addresses: dict[str, str] = {}
        self._silence = max(rules.first_byte_timeout, rules.idle_timeout)

    async def __aenter__(self) -> Self:
        rules = self._rules
        connector = aiohttp.TCPConnector(
            limit=0,  # the slots are ours
            resolver=Resolver(rules.dns_timeout),
            ttl_dns_cache=300,
            ssl=False if rules.insecure else ssl.create_default_context(),
            socket_factory=self._socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={**HEADERS, "User-Agent": self._user_agent, **rules.headers},
            max_field_size=32 * 1024,
            max_headers=512,
            requote_redirect_url=False,
            timeout=aiohttp.ClientTimeout(
                total=None,  # ours, around everything
                sock_connect=rules.connect_timeout,
                sock_read=self._silence,
            ),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    @property
    def busy(self) -> int:
        """Exchanges under way."""
        return self._busy

    async def fetch(self, link: Link) -> Page:
        """One exchange. Raises FetchError; OSError when the spool's disk is full."""
        asked = time.monotonic()
        async with self._slots:
            self._busy += 1
            try:
                return await self._try(link, time.monotonic() - asked)
            finally:
                self._busy -= 1

    async def _try(self, link: Link, waited: float) -> Page:
        try:
            return await self._exchange(link, waited)
        except _NothingCame as first:
            if first.error.__class__ is not Unreachable:
                raise first.error from first.__cause__
        again = AsyncRetrying(  # costs 30 µs, so only once something failed
            retry=retry_if_exception_type(_NothingCame),
            stop=stop_after_attempt(QUICK_TRIES - 1),
            wait=wait_random_exponential(multiplier=0.1, max=0.5),
            reraise=True,
        )
        try:
            return await again(self._exchange, link, waited)
        except _NothingCame as last:
            raise last.error from last.__cause__

    async def _exchange(self, link: Link, waited: float) -> Page:
        assert self._session is not None
        url = yarl.URL(link.url, encoded=True)
        trip = Trip(url.host or "", url.port or 0)
        token = TRIP.set(trip)
        began = time.monotonic()
        phase = "first-byte"
        body = _Body(self._spool, self._rules)
        granted = allowance(link, self._rules, self._robots_timeout)
        try:
            async with asyncio.timeout(granted.seconds) as total:
                if self._guard is not None:
                    self._guard.judge_port(trip.port)
                response = await self._headers(url, link.cookie)
                first_byte = time.monotonic()
                phase = "idle"
                async with response:
                    location = self._location(link.url, response)
                    redirect = location is not None
                    await self._read(response, body, granted, total, redirect=redirect)
            return Page(
                link,
                response.status,
                tuple(
                    (name.decode("latin-1"), value.decode("latin-1"))
                    for name, value in response.raw_headers
                ),
                await body.close(),
                time.time() - (time.monotonic() - began),
                Timings(
                    total=(time.monotonic() - began) * 1000,
                    ttfb=(first_byte - began) * 1000,
                    dns=None if trip.dns is None else trip.dns * 1000,
                    connect=None,
                    waited=waited * 1000,
                ),
                body.size,
                location,
                self._address(trip),
                f"{response.version.major}.{response.version.minor}" if response.version else "1.1",
            )
        except BaseException as error:
            await body.discard()
            if isinstance(error, TimeoutError) and total.expired():
                phase = "total"
            ours = as_fetch_error(error, phase)
            if ours is None:
                raise
            if phase == "first-byte":
                raise _NothingCame(ours) from error
            raise ours from error
        finally:
            TRIP.reset(token)

    async def _headers(self, url: yarl.URL, cookie: str) -> aiohttp.ClientResponse:
        assert self._session is not None
        headers = {"Cookie": cookie} if cookie else None
        get = self._session.get(
            url, allow_redirects=False, proxy=self._rules.proxy, headers=headers
        )
        rules = self._rules
        if rules.first_byte_timeout >= self._silence:
            return await get
        async with asyncio.timeout(
            rules.dns_timeout + rules.connect_timeout + rules.first_byte_timeout
        ):
            return await get

    def _location(self, base: str, response: aiohttp.ClientResponse) -> str | None:
        """The absolute target of a redirect; as sent when it is no URL at all."""
        if response.status not in REDIRECTS:
            return None
        target = response.headers.get("Location")
        if target is None:
            return None
        # Header bytes beyond ASCII are UTF-8 in practice, and aiohttp keeps the others escaped.
        target = target.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        try:
            return ada_url.join_url(base, target)
        except ValueError:
            return target

    async def _read(
        self,
        response: aiohttp.ClientResponse,
        body: _Body,
        granted: Allowance,
        total: asyncio.Timeout,
        *,
        redirect: bool,
    ) -> None:
        length = response.content_length
        limit = granted.size
        if redirect:
            if length is None or length > REDIRECT_BODY:
                response.close()
                return
        else:
            self._judge_type(response)
            if length is not None and length > limit and not granted.cut:
                response.close()
                raise TooLarge(f"{length} bytes announced, {limit} allowed")
        content = response.content
        idle = self._rules.idle_timeout if self._rules.idle_timeout < self._silence else None
        while True:
            if idle is None:
                chunk = await content.readany()
            else:
                async with asyncio.timeout(idle):
                    chunk = await content.readany()
            if not chunk:
                return
            if body.size + len(chunk) > limit:
                response.close()
                if granted.cut:
                    await body.add(chunk[: limit - body.size])
                    return
                raise TooLarge(f"more than {limit} bytes")
            await body.add(chunk)
            if self._throttle is not None:
                await self._throttle.pay(len(chunk), total)

    def _judge_type(self, response: aiohttp.ClientResponse) -> None:
        """Raises Unwanted for a type whose bodies are not read."""
        if self._accept is not None and response.status < 300:
            mime = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if not self._accept(mime):
                response.close()
                raise Unwanted(mime)

    def _address(self, trip: Trip) -> str | None:
        """Where the answer came from; a kept connection leads where the host's last was made."""
        if trip.address is not None:
            if len(self._addresses) >= ADDRESSES:
                self._addresses.clear()
            self._addresses[trip.host] = trip.address
        return self._addresses.get(trip.host)

    def _socket(self, info: AddrInfoType) -> socket:
        """Make a socket for an address, once the guard has seen it."""
        family, kind, protocol, _, address = info
        trip = TRIP.get()
        if trip is not None:
            trip.connecting = time.monotonic()
            trip.address = str(address[0])
            if self._guard is not None and self._rules.proxy is None:
                self._guard.judge(trip.host, str(address[0]))
        return socket(family, kind, protocol)


class _Body:
    """The bytes of one answer: in memory while few, else in a file of the spool."""

    def __init__(self, spool: Path, rules: FetchConfig) -> None:
        self.size = 0
        self._spool = spool
        self._above = rules.spool_above
        self._chunks: list[bytes] = []
        self._path: Path | None = None
        self._file: Any = None

    async def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self._file is not None:
            await self._file.write(chunk)
            return
        self._chunks.append(chunk)
        if self.size > self._above:
            with NamedTemporaryFile(dir=self._spool, suffix=".body", delete=False) as file:
                self._path = Path(file.name)
            self._file = await aiofiles.open(self._path, "wb")
            await self._file.write(b"".join(self._chunks))
            self._chunks.clear()

    async def close(self) -> bytes | Path:
        """The body, whole; a file belongs to the caller from here on."""
        if self._file is None:
            return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        await self._file.close()
        assert self._path is not None
        return self._path

    async def discard(self) -> None:
        """Leave nothing behind; also when cancelled in the middle of a write."""
        self._chunks.clear()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        if self._file is not None:
            await asyncio.shield(self._file.close())
