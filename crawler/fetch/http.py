"""One HTTP exchange at a time and many side by side: aiohttp's session, our slots and limits.

Follows no redirect (a redirect is a link), decodes nothing (the parse processes do), keeps the
bytes as they were sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from socket import socket
from typing import Any, Final, Self

import ada_url
import aiohttp
from aiohttp.connector import AddrInfoType

from crawler.config import FetchConfig
from crawler.errors import FetchError, Garbled, TimedOut, TooLarge, Unreachable, Unwanted
from crawler.fetch.allowance import Allowance, allowance
from crawler.fetch.body import Body, Room
from crawler.fetch.client import Client, Response
from crawler.fetch.connector import Connector
from crawler.fetch.cookies import Jar
from crawler.fetch.credentials import Credentials
from crawler.fetch.errors import as_fetch_error
from crawler.fetch.guard import AddressGuard
from crawler.fetch.proxy import Proxy
from crawler.fetch.resolver import TRIP, Resolver, Trip
from crawler.fetch.throttle import Throttle
from crawler.fetch.tls import TlsContexts
from crawler.model import Kind, Link, Page, Timings
from crawler.protocols import Receiver
from crawler.secrets import as_told
from crawler.urls import origin

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

REDIRECT_BODY: Final = 64 * 1024
"""A redirect's body is read up to here, to keep its connection; nobody looks at it."""

QUICK_TRIES: Final = 3
"""Tries in all to get a connection that answers: a kept one may close at any time."""

ADDRESSES: Final = 10_000
"""Hosts whose address is remembered for their records."""

PAGE_BUFFER: Final = 64 * 1024
FILE_BUFFER: Final = 1024 * 1024
FILE_BUFFERS: Final = 16 * 1024 * 1024
"""Bytes that aiohttp holds for one reader before it stops the sender, and for all of them: with a
megabyte instead of 256 KiB a file of 2 GiB costs 1.4 s of CPU instead of 4.4 (measured)."""

AROUND_BODY: Final = 2 * 1024 * 1024
"""Bytes on the wire beyond the body: head, chunk sizes (a tenth of a body in small chunks)."""

HEADERS: Final = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Encoding": "gzip, deflate, br, zstd",
}


class _NotAsked(Exception):
    """The server was not asked, or may not have been: trying again is harmless, and no failure.

    No connection could be made, or a kept one had been closed, or what lay in it was no answer to
    this request.
    """

    def __init__(self, error: FetchError) -> None:
        self.error = error


class HttpFetcher:
    """Implements `protocols.Fetcher`. At most `slots` exchanges are open at a time.

    Bodies above `rules.spool_above`, and all that find no room in `rules.in_flight`, lie in a file
    in `spool`. `credentials` know what is said to which origin. `accept` sees a response's content
    type; False: the body is not read. `rate`: bodies are read no faster than so many bytes a
    second, all together. `robots_timeout` is the whole time for a robots.txt. `owned` says, just
    before a request is written, whether the link may still be asked for; if not: Lapsed.
    """

    def __init__(
        self,
        rules: FetchConfig,
        *,
        slots: int | AbstractAsyncContextManager[None],
        user_agent: str,
        spool: Path,
        guard: AddressGuard | None = None,
        credentials: Credentials | None = None,
        accept: Callable[[str], bool] | None = None,
        keep_request: bool = False,
        rate: int | None = None,
        robots_timeout: float = 20.0,
        owned: Callable[[Link], bool] | None = None,
    ) -> None:
        self._rules = rules
        self._slots = asyncio.Semaphore(slots) if isinstance(slots, int) else slots
        self._user_agent = user_agent
        self._spool = spool
        self._guard = guard
        self._credentials = credentials or Credentials(rules)
        self._accept = accept
        self._keep_request = keep_request
        self._throttle = Throttle(rate) if rate else None
        self._robots_timeout = robots_timeout
        self._owned = owned
        self._room = Room(rules.in_flight)
        self._proxy = Proxy(rules.proxy)
        self._tls = TlsContexts(rules)
        self._jar: Jar | None = None
        self._client: Client | None = None
        self._busy = 0
        width = slots if isinstance(slots, int) else 1  # else whoever gave them counts memory too
        self._file_buffer = max(PAGE_BUFFER, min(FILE_BUFFER, FILE_BUFFERS // width))
        self._addresses: dict[str, str] = {}
        self._silence = max(rules.first_byte_timeout, rules.idle_timeout)

    async def __aenter__(self) -> Self:
        rules = self._rules
        self._tls.open()
        if rules.cookies or rules.load_cookies or rules.save_cookies:
            self._jar = Jar()
            if rules.load_cookies:
                self._jar.load(rules.load_cookies)
        settings: dict[str, Any] = {
            "limit": 0,  # the slots are ours
            "max_exchange": rules.max_body + AROUND_BODY,
            "resolver": Resolver(rules.dns_timeout),
            "ttl_dns_cache": 300,
            "ssl": self._tls.everyone,
            "socket_factory": self._socket,
        }
        self._client = Client(
            self._proxy.connector(settings) or Connector(**settings),
            headers={**HEADERS, "User-Agent": self._user_agent, **self._credentials.everywhere},
            timeout=aiohttp.ClientTimeout(
                total=None,  # ours, around everything
                sock_connect=rules.connect_timeout,
                sock_read=self._silence,
            ),
            jar=self._jar,
            proxy=self._proxy.http,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Raises SinkError when the cookies cannot be saved; they are the last thing done."""
        assert self._client is not None
        await self._client.close()
        if self._jar is not None and self._rules.save_cookies:
            self._jar.save(self._rules.save_cookies)

    @property
    def busy(self) -> int:
        """Exchanges under way."""
        return self._busy

    async def fetch(
        self,
        link: Link,
        *,
        headers: Mapping[str, str] | None = None,
        into: Receiver | None = None,
    ) -> Page:
        """One exchange. Raises FetchError; OSError when the spool's disk is full.

        `headers` are sent beside and instead of the usual ones. `into` takes the body as it comes;
        the page's own is what its `close` returns.
        """
        asked = time.monotonic()
        async with self._slots:
            self._busy += 1
            try:
                return await self._try(link, time.monotonic() - asked, headers, into)
            finally:
                self._busy -= 1

    async def _try(
        self,
        link: Link,
        waited: float,
        headers: Mapping[str, str] | None,
        into: Receiver | None,
    ) -> Page:
        try:
            return await self._exchange(link, waited, headers, into)
        except _NotAsked as first:
            if first.error.__class__ not in {Unreachable, Garbled}:
                raise first.error from first.__cause__
        # Costs 5 ms to load and 30 µs to make, so only once something failed.
        from tenacity import (  # noqa: PLC0415
            AsyncRetrying,
            retry_if_exception_type,
            stop_after_attempt,
            wait_random_exponential,
        )

        again = AsyncRetrying(
            retry=retry_if_exception_type(_NotAsked),
            stop=stop_after_attempt(QUICK_TRIES - 1),
            wait=wait_random_exponential(multiplier=0.1, max=0.5),
            reraise=True,
        )
        try:
            return await again(self._exchange, link, waited, headers, into, fresh=True)
        except _NotAsked as last:
            raise last.error from last.__cause__

    async def _exchange(
        self,
        link: Link,
        waited: float,
        extra: Mapping[str, str] | None,
        into: Receiver | None,
        *,
        fresh: bool = False,
    ) -> Page:
        assert self._client is not None
        home = origin(link.url)
        request = self._client.request(
            "HEAD" if link.kind is Kind.PROBE and not link.attempt else "GET",
            home,
            self._credentials.headers(home),
            {**_own_headers(link), **(extra or {})},
            self._tls.own if self._tls.own and self._credentials.own(home) else None,
        )
        trip = Trip(request.url.host or "", request.port or 0, fresh=fresh)
        if self._owned is not None:
            trip.owned = partial(self._owned, link)
        token = TRIP.set(trip)
        rules = self._rules
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        trip.head = rules.first_byte_timeout
        granted = allowance(link, rules, self._robots_timeout)
        trip.until = loop.time() + granted.seconds
        trip.most = max(granted.size, rules.max_body) + AROUND_BODY
        first_byte: float | None = None
        body: Receiver = into or Body(self._spool, rules.spool_above, self._room)
        buffer = PAGE_BUFFER if into is None or self._throttle else self._file_buffer
        try:
            start = loop.time() + rules.dns_timeout + rules.connect_timeout
            async with asyncio.timeout_at(min(trip.until, start)) as trip.clock:
                self._judge(trip)
                response = await self._client.ask(request, link.url, buffer=buffer)
                try:
                    first_byte = time.monotonic()
                    trip.clock.reschedule(trip.until)
                    _demand_status(response.status)
                    fields = _fields(response)
                    location = self._location(link.url, response)
                    if link.kind is Kind.PROBE:
                        response.close()  # whatever it says: nobody reads it
                    else:
                        redirect = location is not None
                        await body.head(response.status, fields)
                        await self._read(response, body, granted, trip, redirect=redirect)
                finally:
                    response.release()
            page = Page(
                link,
                response.status,
                fields,
                await body.close(),
                time.time() - (time.monotonic() - began),
                _timings(trip, began, first_byte, waited),
                body.size,
                location,
                self._address(trip),
                f"{response.version.major}.{response.version.minor}" if response.version else "1.1",
                response.reason or "",
                as_told(response.request_info.headers.items()) if self._keep_request else (),
                body.truncated,
            )
            self._room.follow(page)
            return page  # noqa: TRY300 - what fails above is mapped below
        except BaseException as error:
            await body.discard()
            ours = as_fetch_error(error, self._phase(trip, error, first_byte))
            if ours is None:
                raise
            if trip.ready is None or (first_byte is None and trip.connecting is None):
                raise _NotAsked(ours) from error
            raise ours from error
        finally:
            TRIP.reset(token)

    def _phase(self, trip: Trip, error: BaseException, first_byte: float | None) -> str:
        """What an exchange was at when it failed; a timeout is named after it."""
        clock = trip.clock
        ours = clock is not None and isinstance(error, TimeoutError) and clock.expired()
        if ours and clock is not None and clock.when() == trip.until:
            return "total"
        return trip.phase if first_byte is None else "idle"

    def _judge(self, trip: Trip) -> None:
        """Raises Forbidden for what the guard can tell without an address."""
        if self._guard is not None:
            self._guard.judge_port(trip.port)
            if self._proxy.url is not None:
                self._guard.judge_literal(trip.host)

    def _location(self, base: str, response: Response) -> str | None:
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
        response: Response,
        body: Receiver,
        granted: Allowance,
        trip: Trip,
        *,
        redirect: bool,
    ) -> None:
        length = response.content_length
        limit = granted.size
        if redirect:
            if length is None or length > REDIRECT_BODY:
                response.close()
                body.truncated = "length"
                return
        else:
            self._judge_type(response)
            if length is not None and length > limit and not granted.cut:
                response.close()
                raise TooLarge(f"{length} bytes announced, {limit} allowed")
        content = response.content
        came = time.monotonic()
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
            if body.full:
                response.close()
                return
            came += await self._pay(len(chunk), trip)
            self._demand_pace(time.monotonic() - came, body.size)

    def _judge_type(self, response: Response) -> None:
        """Raises Unwanted for a type whose bodies are not read."""
        if self._accept is not None and response.status < 300:
            mime = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if not self._accept(mime):
                response.close()
                raise Unwanted(mime)

    async def _pay(self, number: int, trip: Trip) -> float:
        """Wait until `number` bytes are paid for; the seconds, which are ours, not the server's."""
        if self._throttle is None or trip.clock is None:
            return 0.0
        waited = await self._throttle.pay(number, trip.clock)
        trip.until += waited
        return waited

    def _demand_pace(self, seconds: float, size: int) -> None:
        """Raises TimedOut for a body that comes in drops: it would hold its slot for ever."""
        rules = self._rules
        if seconds > rules.min_rate_after and size < rules.min_rate * seconds:
            raise TimedOut("rate")

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
            if self._proxy.url is None:  # else it is the proxy's, which the person named
                trip.address = str(address[0])
                if self._guard is not None:
                    self._guard.judge(trip.host, trip.address)
        return socket(family, kind, protocol)


def _fields(response: Response) -> tuple[tuple[str, str], ...]:
    """The head's fields as they were sent."""
    return tuple(
        [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers]
    )


def _demand_status(status: int) -> None:
    """Raises Garbled for what is no final answer: 101 to nobody's wish, 000, 099."""
    if status < 200:
        raise Garbled(f"status {status:03}")


def _own_headers(link: Link) -> dict[str, str]:
    """A wall's cookie, and what makes a revisit conditional (RFC 9110 §13.1)."""
    headers = {"Cookie": link.cookie} if link.cookie else {}
    known = link.known
    if known is not None and known.digest:
        if known.etag:
            headers["If-None-Match"] = known.etag
        if known.modified:
            headers["If-Modified-Since"] = known.modified
    return headers


def _timings(trip: Trip, began: float, first_byte: float, waited: float) -> Timings:
    """A kept connection has neither look-up nor connecting."""
    connect = None
    if trip.connecting is not None and trip.ready is not None:
        connect = (trip.ready - trip.connecting) * 1000  # TLS included
    return Timings(
        total=(time.monotonic() - began) * 1000,
        ttfb=(first_byte - began) * 1000,
        dns=None if trip.dns is None else trip.dns * 1000,
        connect=connect,
        waited=waited * 1000,
    )
