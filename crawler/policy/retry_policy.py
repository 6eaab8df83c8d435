"""Which failures are worth another try, and when; whose wait a Retry-After is. No I/O."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from crawler.config.model import PaceConfig, RetryConfig
from crawler.errors import (
    FetchError,
    Insecure,
    ServerBusy,
    TimedOut,
    Truncated,
    Unreachable,
    Unresolved,
)
from crawler.utils.dates import http_date

WORTH = (TimedOut, Unreachable, Truncated, ServerBusy, Unresolved)

SHORT: Final = 60.0
"""Seconds of a Retry-After up to which the whole host rests for it: no more than `retry.ceiling`,
for which our own back-off may hold a host too. A busy server names such times; a page that is
closed for maintenance, or a firewall's rule for one path, names hours."""

AGREE: Final = 3
"""Different URLs of a host, one after another, whose answers ask for patience until a longer
Retry-After is the host's. One page, or a page and its redirect, prove nothing; five failures in a
row park a host anyway (`pace.park_after`), so three are reached before that."""

FAST: Final = 5.0
"""Seconds of a Retry-After that are kept with `--fast`, at most: one's own server, restarting."""

HOSTS: Final = 10_000
"""Hosts of which it is remembered that they asked for patience; the latest."""


class RetryPolicy:
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


def longest_retry_after(pace: PaceConfig) -> float:
    """Seconds of a Retry-After that are kept at most."""
    return min(pace.max_retry_after, FAST) if pace.fast else pace.max_retry_after


class HostCooldowns:
    """How long a whole host rests after an answer of it that asked for patience.

    An answer asks for patience with 429, with 503, or with a Retry-After on whatever status (RFC
    9110 §10.2.3). Its own URL always waits as long as it says. The host's other URLs wait

    - for a Retry-After of up to SHORT seconds: as long;
    - for a longer one: as long, once AGREE different URLs of the host asked for patience in
      succession, no other answer between them; until then for the back-off alone, as after a
      429 or 503 without Retry-After.

    RFC 6585 §4 leaves open whether a 429 counts requests of one resource or of the whole server.
    """

    def __init__(self) -> None:
        self._asking: OrderedDict[str, dict[str, float]] = OrderedDict()  # host → URL → until

    def refused(
        self, host: str, url: str, now: float, *, asked: float | None, kept: float, backoff: float
    ) -> float:
        """Seconds that the host rests, as `url` asked for patience at `now`.

        `asked`: seconds of its Retry-After, None: it has none; `kept`: what is kept of them;
        `backoff`: seconds that the host rests anyway.
        """
        urls = self._asking.setdefault(host, {})
        self._asking.move_to_end(host)
        urls[url] = max(now + kept, urls.get(url, 0.0))
        if len(urls) > AGREE:
            del urls[min(urls, key=lambda one: urls[one])]
        if len(self._asking) > HOSTS:
            self._asking.popitem(last=False)
        rest = kept if asked is not None and asked <= SHORT else backoff
        return max(rest, max(urls.values()) - now) if len(urls) >= AGREE else rest

    def served(self, host: str) -> None:
        """The host answered otherwise: whoever asked for patience spoke for its own URL."""
        if self._asking:
            self._asking.pop(host, None)
