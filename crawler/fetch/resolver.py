"""Names to addresses, with a deadline of its own; a look-up that hangs costs its own host only."""

from __future__ import annotations

import asyncio
import socket
import time
from contextvars import ContextVar

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from crawler.errors import TimedOut, Unresolved


class Trip:
    """What the connector's callbacks note down about the exchange under way."""

    __slots__ = ("address", "connecting", "dns", "host", "port")

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.dns: float | None = None  # seconds
        self.connecting: float | None = None  # when the socket was made, `time.monotonic()`
        self.address: str | None = None


TRIP: ContextVar[Trip | None] = ContextVar("trip", default=None)
"""Set by the fetcher around each exchange; aiohttp's tasks inherit it."""


class Resolver(AbstractResolver):
    """aiohttp's threaded resolver (getaddrinfo) with a deadline and our errors."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises Unresolved, and TimedOut("dns")."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                return await self._inner.resolve(host, port, family)
        except TimeoutError as error:
            raise TimedOut("dns") from error
        except (OSError, UnicodeError) as error:
            raise Unresolved(host) from error
        finally:
            if (trip := TRIP.get()) is not None:
                trip.dns = time.monotonic() - began

    async def close(self) -> None:
        await self._inner.close()
