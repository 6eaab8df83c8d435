"""The reading of a body, and what guards it: its type, its size, its silence and its pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from crawler.config import FetchConfig
from crawler.errors import TimedOut, TooLarge, Unwanted
from crawler.fetch.allowance import Allowance
from crawler.fetch.client import Response
from crawler.fetch.resolver import Trip
from crawler.fetch.throttle import Throttle
from crawler.mime import extract_mime
from crawler.protocols import Receiver

REDIRECT_BODY: Final = 64 * 1024
"""A redirect's body is read up to here, to keep its connection; nobody looks at it."""


class Reading:
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
        response: Response,
        body: Receiver,
        granted: Allowance,
        trip: Trip,
        *,
        redirect: bool,
    ) -> None:
        """All of it, or as much as is granted. Raises TooLarge, Unwanted, TimedOut."""
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
            mime = extract_mime(response.headers.get("Content-Type", "")).essence
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
