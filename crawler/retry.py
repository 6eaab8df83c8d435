"""Which failures are worth another try, and when. Pure; the dice are an argument."""

from __future__ import annotations

import random
from collections.abc import Callable

from crawler.config import RetryConfig
from crawler.dates import http_date
from crawler.errors import (
    FetchError,
    Insecure,
    ServerBusy,
    TimedOut,
    Truncated,
    Unreachable,
    Unresolved,
)

WORTH = (TimedOut, Unreachable, Truncated, ServerBusy, Unresolved)


class Retry:
    """Full jitter: a random moment within `base · 2ⁿ` seconds, which spreads a herd best
    (Brooker, AWS Architecture Blog 2015).
    """

    def __init__(self, rules: RetryConfig, dice: Callable[[], float] = random.random) -> None:
        self._rules = rules
        self._dice = dice

    def wait(
        self, attempt: int, *, retry_after: float | None = None, limit: int | None = None
    ) -> float | None:
        """Seconds until the next try after `attempt` earlier retries; None: give up.

        Never less than what the server asked for. `limit` lowers the number of retries.
        """
        retries = self._rules.retries if limit is None else min(limit, self._rules.retries)
        if attempt >= retries:
            return None
        ceiling = min(self._rules.ceiling, self._rules.base * 2.0 ** min(attempt, 32))
        return max(self._dice() * ceiling, retry_after or 0.0)

    def backoff(self, attempt: int) -> float:
        """Seconds after `attempt` tries, for one that waits alone: doubling, without dice."""
        return min(self._rules.ceiling, self._rules.base * 2.0 ** min(attempt, 32))

    def worth(self, error: FetchError) -> bool:
        """Whether this failure may be gone the next time."""
        return isinstance(error, WORTH) and not isinstance(error, Insecure)

    def worth_status(self, status: int) -> bool:
        return status in self._rules.on_status


def parse_retry_after(value: str, now: float) -> float | None:
    """Seconds from `now` (Unix time) that a Retry-After asks for (RFC 9110 §10.2.3).

    Seconds or a date; what lies in the past is 0, what is neither is None.
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    date = http_date(value)
    return None if date is None else max(0.0, date - now)
