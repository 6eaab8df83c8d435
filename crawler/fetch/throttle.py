"""Bodies are read no faster than so many bytes a second, all of them together."""

from __future__ import annotations

import asyncio
import time

from crawler.policy.token_bucket import TokenBucket


class Throttle:
    """Who reads pays for each piece; what is not read backs up to the sender (TCP's own brake).

    The frontier leases no more links than the rate can carry, so few connections wait here: for
    one large body this is what slows it.
    """

    def __init__(self, rate: int) -> None:
        self._meter = TokenBucket(rate)

    async def pay(self, number: int, deadline: asyncio.Timeout) -> float:
        """Wait until `number` bytes are paid for, and how long it took, in seconds.

        The wait is ours: the deadline moves with it.
        """
        wait = self._meter.take(number, time.monotonic())
        if wait <= 0:
            return 0.0
        until = deadline.when()
        if until is not None:
            deadline.reschedule(until + wait)
        await asyncio.sleep(wait)
        return wait
