"""One HTTP exchange at a time and many side by side: aiohttp's session, our slots and limits.

Follows no redirect (a redirect is a link), decodes nothing (the parse processes do), keeps the
bytes as they were sent. The exchange is here; the body's way through its guards is in reading.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp

from crawler.config.model import FetchConfig
from crawler.config.redaction import as_told
from crawler.errors import FetchError, ProtocolError, TimedOut, TooLarge, Truncated, Unreachable
from crawler.fetch.address_guard import AddressGuard
from crawler.fetch.body_buffer import BodyBuffer, MemoryBudget
from crawler.fetch.body_reader import BodyReader, is_all, keep_rest
from crawler.fetch.client import ClientRequest, HttpClient
from crawler.fetch.connector import Connector
from crawler.fetch.credentials import Credentials
from crawler.fetch.error_map import as_fetch_error
from crawler.fetch.headers import (
    ResponseHead,
    demand_status,
    fields_of,
    location_of,
    own_headers,
    with_cookies,
)
from crawler.fetch.limits import FetchLimits, allowance
from crawler.fetch.proxy import Proxies, Proxy, as_proxys
from crawler.fetch.resolver import TRIP, ExchangeTrace, Resolver
from crawler.fetch.socket_factory import SocketFactory
from crawler.fetch.throttle import Throttle
from crawler.fetch.tls import TlsContexts
from crawler.interfaces import Receiver
from crawler.policy.urls import origin
from crawler.records import CrawlUrl, Kind, Page, Timings

if TYPE_CHECKING:
    from crawler.fetch.cookies_txt import FileCookieJar

QUICK_TRIES: Final = 3
"""Tries in all to get a connection that answers: a kept one may close at any time."""

PAGE_BUFFER: Final = 64 * 1024
FILE_BUFFER: Final = 1024 * 1024
FILE_BUFFERS: Final = 16 * 1024 * 1024
"""Bytes that aiohttp holds for one reader before it stops the sender, and for all of them: with a
megabyte instead of 256 KiB a file of 2 GiB costs 1.4 s of CPU instead of 4.4 (measured)."""

AROUND_BODY: Final = 2 * 1024 * 1024
"""Bytes on the wire beyond the body: head, chunk sizes (a tenth of a body in small chunks)."""

BREAKS: Final = (Truncated, TooLarge, TimedOut, Unreachable)
"""What an answer breaks off by, with a page of what came."""

HEADERS: Final = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Encoding": "gzip, deflate, br, zstd",
}


class _NotSent(Exception):
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
    type; False: the body is not read. `always` is sent with every request, whatever else is.
    `rate`: bodies are read no faster than so many bytes a second, all together. `robots_timeout` is
    the whole time for a robots.txt. `owned` says, just before a request is written, whether the
    link may still be asked for; if not: LeaseLost. `resumed`: a crawl goes on, with its cookies.
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
        always: Mapping[str, str] | None = None,
        rate: int | None = None,
        robots_timeout: float = 20.0,
        owned: Callable[[CrawlUrl], bool] | None = None,
        resumed: bool = False,
    ) -> None:
        self._rules = rules
        self._slots = asyncio.Semaphore(slots) if isinstance(slots, int) else slots
        self._user_agent = user_agent
        self._spool = spool
        self._credentials = credentials or Credentials(rules)
        self._keep_request = keep_request
        self._always = always or {}
        self._throttle = Throttle(rate) if rate else None
        self._robots_timeout = robots_timeout
        self._owned = owned
        self._resumed = resumed
        self._room = MemoryBudget(rules.in_flight)
        self._proxies = Proxies(rules)
        self._tls = TlsContexts(rules)
        self._jar: FileCookieJar | None = None
        self._clients: dict[Proxy | None, HttpClient] = {}  # open; None: without a proxy
        self._busy = 0
        self.guard = guard
        width = slots if isinstance(slots, int) else 1  # else whoever gave them counts memory too
        self._file_buffer = max(PAGE_BUFFER, min(FILE_BUFFER, FILE_BUFFERS // width))
        self._silence = max(rules.first_byte_timeout, rules.idle_timeout)
        self._sockets = SocketFactory(guard)
        self._reading = BodyReader(
            rules, accept=accept, throttle=self._throttle, silence=self._silence
        )

    def check(self) -> None:
        """Raises ConfigError for files that cannot be used: before there is anything to undo."""
        self._open_jar()
        self._tls.read()

    def unsent(self) -> tuple[str, ...]:
        """Logins and headers that were given for hosts of which nothing was asked for so far."""
        return self._credentials.unsent

    async def __aenter__(self) -> Self:
        rules = self._rules
        self._tls.open()
        self._jar = self._open_jar(tell=True)
        settings: dict[str, Any] = {
            "limit": 0,  # the slots are ours
            "max_exchange": rules.max_body + AROUND_BODY,
            "resolver": Resolver(rules.dns_timeout),
            "ttl_dns_cache": 300,
            "tls": lambda: self._tls.everyone,
            "socket_factory": self._sockets.open,
        }
        for proxy in (None, *self._proxies.all):
            self._clients[proxy] = HttpClient(
                (proxy.connector(settings) if proxy else None) or Connector(**settings),
                headers={**HEADERS, "User-Agent": self._user_agent, **self._credentials.everywhere},
                always=self._always,
                timeout=aiohttp.ClientTimeout(
                    total=None,  # ours, around everything
                    sock_connect=rules.connect_timeout,
                    sock_read=self._silence,
                ),
                proxy=proxy.http if proxy else None,
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Raises SinkError when the cookies cannot be saved; they are the last thing done."""
        for client in self._clients.values():
            await client.close()
        if self._jar is not None:
            self._jar.close()

    def _open_jar(self, *, tell: bool = False) -> FileCookieJar | None:
        """None: no cookies are kept. Raises ConfigError."""
        rules = self._rules
        if not (rules.cookies or rules.load_cookies or rules.save_cookies):
            return None
        from crawler.fetch.cookies_txt import FileCookieJar  # noqa: PLC0415 - only who keeps any pays

        return FileCookieJar(rules, tell=tell, resumed=self._resumed)

    @property
    def busy(self) -> int:
        """Exchanges under way."""
        return self._busy

    async def fetch(
        self,
        link: CrawlUrl,
        *,
        headers: Mapping[str, str] | None = None,
        into: Receiver | None = None,
    ) -> Page:
        """One exchange. Raises FetchError, with a page where an answer broke off; SinkError when
        the spool's disk is full.

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
        link: CrawlUrl,
        waited: float,
        headers: Mapping[str, str] | None,
        into: Receiver | None,
    ) -> Page:
        try:
            return await self._exchange(link, waited, headers, into)
        except _NotSent as first:
            if first.error.__class__ not in {Unreachable, ProtocolError}:
                raise first.error from first.__cause__
        # Costs 5 ms to load and 30 µs to make, so only once something failed.
        from tenacity import (  # noqa: PLC0415
            AsyncRetrying,
            retry_if_exception_type,
            stop_after_attempt,
            wait_random_exponential,
        )

        again = AsyncRetrying(
            retry=retry_if_exception_type(_NotSent),
            stop=stop_after_attempt(QUICK_TRIES - 1),
            wait=wait_random_exponential(multiplier=0.1, max=0.5),
            reraise=True,
        )
        try:
            return await again(self._exchange, link, waited, headers, into, fresh=True)
        except _NotSent as last:
            raise last.error from last.__cause__

    def _request(
        self, link: CrawlUrl, extra: Mapping[str, str] | None
    ) -> tuple[ClientRequest, Proxy | None]:
        """All that is said for a link but its target, and the way it goes."""
        home = origin(link.url)
        proxy = self._proxies.of(home)
        given = self._credentials.headers(home)
        own: Mapping[str, str] = own_headers(link)
        if extra:
            own = {**own, **extra}
        if self._jar is not None:
            given, own = with_cookies(self._jar.cookies(link.url), given, own)
        request = self._clients[proxy].request(
            "HEAD" if link.kind is Kind.PROBE and not link.attempt else "GET",
            home,
            given,
            own,
            self._tls.own if self._tls.own and self._credentials.own(home) else None,
        )
        return request, proxy

    def _remember(self, fields: tuple[tuple[str, str], ...], url: str) -> None:
        if self._jar is not None:
            self._jar.take((said for name, said in fields if name.lower() == "set-cookie"), url)

    async def _exchange(
        self,
        link: CrawlUrl,
        waited: float,
        extra: Mapping[str, str] | None,
        into: Receiver | None,
        *,
        fresh: bool = False,
    ) -> Page:
        request, proxy = self._request(link, extra)
        rules = self._rules
        granted = allowance(link, rules, self._robots_timeout)
        trip = self._trip(link, request, granted, fresh=fresh, proxied=proxy is not None)
        token = TRIP.set(trip)
        loop = asyncio.get_running_loop()
        began = time.monotonic()
        first_byte: float | None = None
        body: Receiver = into or BodyBuffer(self._spool, rules.spool_above, self._room)
        buffer = PAGE_BUFFER if into is None or self._throttle else self._file_buffer
        head: ResponseHead | None = None  # of an answer whose body is read
        try:
            start = loop.time() + rules.dns_timeout + rules.connect_timeout
            async with asyncio.timeout_at(min(trip.until, start)) as trip.clock:
                self._sockets.judge(trip)
                response = await self._clients[proxy].ask(request, link.url, buffer=buffer)
                try:
                    first_byte = time.monotonic()
                    trip.clock.reschedule(trip.until)
                    demand_status(response, proxied=trip.proxied)
                    whole = ResponseHead(
                        response, fields_of(response), location_of(link.url, response)
                    )
                    self._remember(whole.fields, link.url)
                    if link.kind is Kind.PROBE:
                        response.close()  # whatever it says: nobody reads it
                    else:
                        await body.head(response.status, whole.fields)
                        head = whole
                        await self._reading.read(
                            response,
                            body,
                            granted,
                            trip,
                            redirect=whole.location is not None,
                            typed=link.kind is Kind.PAGE,
                        )
                finally:
                    response.release()
            times = _timings(trip, began, first_byte, waited)
            return await self._page(link, whole, body, trip, times)
        except BaseException as error:
            ours = as_fetch_error(error, self._phase(trip, error, first_byte))
            if proxy is not None and first_byte is None:
                ours = as_proxys(ours, link.url)
            if head is None or first_byte is None or into or not isinstance(ours, BREAKS):
                await body.discard()
            else:  # what came is worth something
                await keep_rest(head.response, body, ours, granted.size)
                times = _timings(trip, began, first_byte, waited)
                ours.page = await self._page(link, head, body, trip, times)
                if not ours.page.truncated or ours.page.status >= 300:  # which is what counts
                    return ours.take_page()  # type: ignore[no-any-return]
            if ours is None:
                raise
            unasked = trip.ready is None or (first_byte is None and trip.connecting is None)
            raise (_NotSent(ours) if unasked else ours) from error
        finally:
            TRIP.reset(token)

    def _trip(
        self,
        link: CrawlUrl,
        request: ClientRequest,
        granted: FetchLimits,
        *,
        fresh: bool,
        proxied: bool,
    ) -> ExchangeTrace:
        """What the connector has to know of an exchange."""
        # Not `host`: that decodes what it takes for IDNA, and raises where it cannot.
        host, port = request.url.raw_host or "", request.port or 0
        trip = ExchangeTrace(host, port, fresh=fresh, proxied=proxied)
        if self._owned is not None:
            trip.owned = partial(self._owned, link)
        trip.head = self._rules.first_byte_timeout
        trip.until = asyncio.get_running_loop().time() + granted.seconds
        trip.most = max(granted.size, self._rules.max_body) + AROUND_BODY
        return trip

    async def _page(
        self,
        link: CrawlUrl,
        head: ResponseHead,
        body: Receiver,
        trip: ExchangeTrace,
        timings: Timings,
    ) -> Page:
        """An answer whose body ended, in one way or another."""
        response = head.response
        version = response.version
        content = await body.close()
        if body.truncated and is_all(head.fields, content):
            body.truncated = ""
        page = Page(
            link,
            response.status,
            head.fields,
            content,
            time.time() - timings.total / 1000,
            timings,
            body.size,
            head.location,
            self._sockets.address(trip),
            f"{version.major}.{version.minor}" if version else "1.1",
            response.reason or "",
            as_told(response.request_info.headers.items()) if self._keep_request else (),
            body.truncated,
        )
        self._room.follow(page)
        return page

    def _phase(self, trip: ExchangeTrace, error: BaseException, first_byte: float | None) -> str:
        """What an exchange was at when it failed; a timeout is named after it."""
        clock = trip.clock
        ours = clock is not None and isinstance(error, TimeoutError) and clock.expired()
        if ours and clock is not None and clock.when() == trip.until:
            return "total"
        return trip.phase if first_byte is None else "idle"


def _timings(trip: ExchangeTrace, began: float, first_byte: float, waited: float) -> Timings:
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
