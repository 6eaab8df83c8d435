"""The reading of a body, and what guards it: its type, its size, its silence and its pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from os import SEEK_END
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp.streams import EMPTY_PAYLOAD

from crawler.config.model import FetchConfig
from crawler.errors import FetchError, SinkError, TimedOut, TooLarge, UnwantedType
from crawler.fetch.client import ResponseLike
from crawler.fetch.limits import FetchLimits
from crawler.fetch.resolver import ExchangeTrace
from crawler.fetch.throttle import Throttle
from crawler.interfaces import Receiver
from crawler.policy.mime import extract_mime

REDIRECT_BODY: Final = 64 * 1024
REDIRECT_WAIT: Final = 1.0
"""A redirect's body is read up to so many bytes and for so many seconds, to keep its connection:
nobody looks at it, and where it leads is known, however the body ends.
"""


class BodyReader:
    """How one fetcher reads. `accept` sees a response's content type; False: its body is not read.
    `silence` is the seconds after which the session itself ends a read.
    """

    def __init__(
        self,
        rules: FetchConfig,
        *,
        accept: Callable[[str], bool] | None,
        throttle: Throttle | None,
        silence: float,
    ) -> None:
        self._rules = rules
        self._accept = accept
        self._throttle = throttle
        self._silence = silence

    async def read(
        self,
        response: ResponseLike,
        body: Receiver,
        granted: FetchLimits,
        trip: ExchangeTrace,
        *,
        redirect: bool,
        typed: bool = True,
    ) -> None:
        """All of it, or as much as is granted. Raises TooLarge, TimedOut and, where it is `typed`,
        UnwantedType.
        """
        if redirect:
            await self._read_redirect(response, body)
            return
        length = response.content_length
        limit = granted.size
        if typed and self._accept is not None:
            self._judge_type(response, self._accept)
        empty = response.content.is_eof()  # a 304 has the length of what it does not send
        if length is not None and length > limit and not granted.cut and not empty:
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
                await body.add(chunk[: limit - body.size])
                if granted.cut:
                    body.truncated = "length"
                    return
                raise TooLarge(f"more than {limit} bytes")
            await body.add(chunk)
            if body.full:
                response.close()
                return
            came += await self._pay(len(chunk), trip)
            self._demand_pace(time.monotonic() - came, body.size)

    @staticmethod
    async def _read_redirect(response: ResponseLike, body: Receiver) -> None:
        """As much of a redirect's body as keeping the connection is worth."""
        length = response.content_length
        if length is None or length > REDIRECT_BODY:
            body.truncated = "length"
        else:
            try:
                async with asyncio.timeout(REDIRECT_WAIT):
                    while chunk := await response.content.readany():
                        await body.add(chunk)
            except TimeoutError:
                body.truncated = "time"
            except aiohttp.ClientError:
                body.truncated = "disconnect"
        if body.truncated:
            response.close()

    @staticmethod
    def _judge_type(response: ResponseLike, accept: Callable[[str], bool]) -> None:
        """Raises UnwantedType for a type whose bodies are not read."""
        if response.status < 300:
            mime = extract_mime(response.headers.get("Content-Type", "")).essence
            if not accept(mime):
                response.close()
                raise UnwantedType(mime)

    async def _pay(self, number: int, trip: ExchangeTrace) -> float:
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


async def keep_rest(response: ResponseLike, body: Receiver, error: FetchError, limit: int) -> None:
    """What came of a body that broke off by `error` and was not read yet, up to `limit` in all.

    Raises SinkError, the body discarded.
    """
    body.truncated = "disconnect"
    if isinstance(error, TooLarge):
        body.truncated = "length"
    elif isinstance(error, TimedOut):
        body.truncated = "time"
    if rest := rest_of(response.content)[: limit - body.size]:
        try:
            await body.add(rest)
        except SinkError:
            await body.discard()
            raise


def rest_of(content: aiohttp.StreamReader) -> bytes:
    """What came before a stream's error; its public methods raise that, and keep the bytes."""
    return b"" if content is EMPTY_PAYLOAD else content._read_nowait(-1)  # noqa: SLF001


def is_all(fields: tuple[tuple[str, str], ...], body: bytes | Path) -> bool:
    """Whether a body that is shorter than announced is whole: gzip's, with the length of what it
    unpacks to, which stands at its end (RFC 1952 §2.3.1).
    """
    said = {name.lower(): value.strip().lower() for name, value in fields}
    if said.get("content-encoding") not in {"gzip", "x-gzip"}:
        return False
    if isinstance(body, Path):
        with body.open("rb") as file:
            start, size = file.read(2), file.seek(0, SEEK_END)
            file.seek(max(0, size - 4))
            end = file.read()
    else:
        start, end = body[:2], body[-4:]
    return start == b"\x1f\x8b" and str(int.from_bytes(end, "little")) == said.get("content-length")
