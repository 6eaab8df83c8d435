"""A GET that yields the loop while it waits: aiohttp, as the product's fetcher uses it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, Self

import aiohttp
import yarl

from crawler.bench.reading import BenchResponse

HEADERS = {"Accept-Encoding": "gzip", "User-Agent": "crawler-bench"}


class AsyncClient:
    """One a loop; it keeps its connections."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def get(self, url: str) -> BenchResponse:
        """The answer as sent: no redirect followed, nothing unpacked."""
        asked = time.monotonic()
        address = yarl.URL(url, encoded=True)
        async with self._session.get(address, allow_redirects=False) as answer:
            body = await answer.read()
        headers = tuple(answer.headers.items())
        return BenchResponse(url, answer.status, headers, body, (time.monotonic() - asked) * 1000)

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, ssl=ssl.create_default_context())
        self._session = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=HEADERS,
                timeout=aiohttp.ClientTimeout(total=30),
            )
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where there is one, as the product does."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):  # not on every platform
        import uvloop  # noqa: PLC0415

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)
