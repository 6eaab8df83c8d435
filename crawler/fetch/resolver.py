"""Names to addresses, with a deadline of its own; a look-up that hangs costs its own host only."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

from crawler.errors import TimedOut, Unresolved

LOOKUPS: Final = 32
"""Look-ups at a time. Their threads are their own: names that hang must not take those that write
files."""

MOST: Final = 16
"""Addresses of a name that are looked at."""


class ExchangeTrace:
    """What the connector's callbacks note down about the exchange under way."""

    __slots__ = (
        "address", "clock", "connecting", "dns", "fresh", "head", "host", "most", "owned", "port",
        "proxied", "ready", "until",
    )  # fmt: skip

    def __init__(self, host: str, port: int, *, fresh: bool = False, proxied: bool = False) -> None:
        self.proxied = proxied  # through a proxy: its address, not the host's
        self.fresh = fresh  # no kept connection, please
        self.most = 0  # bytes of the answer, with all that stands around its body
        self.owned: Callable[[], bool] | None = None  # asked before each request; None: ours
        self.host = host
        self.port = port
        self.dns: float | None = None  # seconds
        self.connecting: float | None = None  # when the socket was made, `time.monotonic()`
        self.ready: float | None = None  # when the connection could be used
        self.address: str | None = None  # None on a kept connection
        self.clock: asyncio.Timeout | None = None  # what ends this exchange
        self.head = 0.0  # seconds from connection to headers, at most
        self.until = 0.0  # the exchange's last moment, in the loop's time

    def connected(self, now: float) -> None:
        """The connection is ready: from here on the server has its time for the headers."""
        self.ready = now
        if self.clock is not None and not self.clock.expired():
            moment = asyncio.get_running_loop().time() + self.head
            self.clock.reschedule(min(self.until, moment))

    @property
    def phase(self) -> str:
        """What was waited for before the headers came."""
        if self.ready is not None:
            return "first-byte"
        return "dns" if self.connecting is None and self.dns is None else "connect"


TRIP: ContextVar[ExchangeTrace | None] = ContextVar("trip", default=None)
"""Set by the fetcher around each exchange; aiohttp's tasks inherit it."""


class Resolver(AbstractResolver):
    """getaddrinfo in threads of its own, with a deadline and our errors."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._threads = ThreadPoolExecutor(LOOKUPS, "dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises Unresolved, and TimedOut("dns")."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                found = await asyncio.get_running_loop().run_in_executor(
                    self._threads, _look_up, host, port, family
                )
        except TimeoutError as error:
            raise TimedOut("dns") from error
        except (OSError, UnicodeError) as error:
            raise Unresolved(host) from error
        finally:
            if (trip := TRIP.get()) is not None:
                trip.dns = time.monotonic() - began
        if not found:
            raise Unresolved(host)
        return found

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    flags = socket.AI_ADDRCONFIG
    if host == "localhost" or host.endswith(".localhost"):
        flags = socket.AddressInfo(0)  # a machine without a network still has itself
    found = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=flags)
    results: list[ResolveResult] = []
    for kind, _, protocol, _, address in found[:MOST]:
        literal = str(address[0])
        if kind == socket.AF_INET6 and len(address) == 4 and address[3]:
            # A link-local address means nothing without its interface.
            literal, _ = socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
        results.append(
            ResolveResult(
                hostname=host,
                host=literal,
                port=int(address[1]),
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
        )
    return results
