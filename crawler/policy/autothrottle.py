"""A host's pace: what each answer teaches about how many requests at once it can take. Pure.

Additive increase, multiplicative decrease (Chiu and Jain 1989), with latency as the early sign, as
in TCP Vegas (Brakmo 1994): while answers come nearly as fast as the fastest seen, one more request
at a time is tried; when they slow down, fewer; when the host says 429 or 503, breaks or times out,
half as many, at most once for what was under way together. A width that is not used teaches nothing
about a larger one, so it does not grow (RFC 7661).

`docs/guide/pace.md` shows its effect; `python -m benchmarks.autothrottle_model` draws it.
"""

from __future__ import annotations

import msgspec

from crawler.errors import (
    FetchError,
    Insecure,
    TimedOut,
    TooLarge,
    Truncated,
    Unreachable,
    Unresolved,
    UnwantedType,
)
from crawler.records import CrawlResult, Page

START = 2.0
"""Requests at once to a host nobody knows yet; what browsers, Scrapy and Heritrix start below."""

NEAR = 1.5
FAR = 2.0
SLACK = 0.02
"""Seconds. Answers within NEAR × base + SLACK are unhurried, beyond FAR × base + SLACK late."""

SMOOTHING = 0.05
"""Weight of one answer in the running mean; twenty answers back, two thirds are forgotten."""

DRIFT = 1.00002
ALONE = 1.02
"""The base rises so much with each answer: hardly while many requests are under way, because what
is slow then may be our own doing; soon while fewer than two are, so that a host that got slower for
good is seen as it is."""

EAGER = 0.5
"""Added with each answer at first: half as wide again every round trip."""

WARY = 0.8
CREEP = 0.1
"""From WARY × the width at which the host last broke, growth is slower by this factor."""

OVERLOADED = frozenset({429, 502, 503, 504, 520, 521, 522, 523, 524})
"""Statuses that speak for the host, not for the page: it, or what stands behind it, cannot keep up
or is down. A 500 is one page's own fault as often as not: it teaches nothing."""


class ResponseSample(msgspec.Struct, frozen=True, gc=False):
    """What one exchange showed.

    `seconds` from asking to the first byte; None when no answer came. `strained`: 429, 503 and the
    like, a broken connection, a timeout. `failed`: the host did not serve (True), did (False), or
    the exchange says nothing about that (None). `bytes` came over the wire. `address` is where the
    answer came from; None: not known.
    """

    seconds: float | None = None
    strained: bool = False
    failed: bool | None = None
    bytes: int = 0
    address: str | None = None


class HostPace(msgspec.Struct, frozen=True):
    """How one host, or group of hosts, is treated at this moment; for those who show it.

    `width` requests at once are allowed now, `limit` at most ever. `queued` links wait, those for
    a later try included. `rest` and `parked` are seconds
    from now (0: neither); `failures` and `parks` are in a row. `crawl_delay` is what robots.txt
    asked for where that was more than is honoured, None elsewhere. `why` is the `rest_why` of the
    answer that asked for the rest, `url` what was asked for; empty: nobody did, or not known.
    """

    name: str
    width: int
    limit: int
    in_flight: int
    queued: int
    delay: float
    rest: float = 0.0
    parked: float = 0.0
    failures: int = 0
    parks: int = 0
    crawl_delay: float | None = None
    why: str = ""
    url: str = ""


class AutoThrottle(msgspec.Struct, frozen=True, gc=False):
    """How wide a host may be asked now. `width` is a real number; its whole part counts."""

    width: float
    limit: float
    base: float | None = None  # seconds of an unhurried answer
    smooth: float = 0.0  # running mean of late
    eager: bool = True  # no sign of strain yet: grow by shares, not by ones
    cut_at: float = float("-inf")  # when the width was last reduced
    wall: float = float("inf")  # the width at which the host last broke

    def learn(
        self, lesson: ResponseSample, now: float, *, began: float, full: bool = True
    ) -> AutoThrottle:
        """The pace after an exchange from `began` to `now` (monotonic seconds).

        `full`: when it began, the whole width was in use.
        """
        if lesson.strained:
            broken = self if began < self.cut_at else msgspec.structs.replace(self, wall=self.width)
            return broken.cut(0.5, now, began)
        if lesson.seconds is None:
            return self
        smooth = lesson.seconds
        if self.base is not None:
            smooth = self.smooth + SMOOTHING * (lesson.seconds - self.smooth)
        drift = ALONE if self.width < 2 else DRIFT
        base = smooth if self.base is None else min(self.base * drift, smooth)
        seen = msgspec.structs.replace(self, base=base, smooth=smooth)
        if smooth > FAR * base + SLACK:
            return seen.cut(0.9, now, began)
        if smooth > NEAR * base + SLACK:
            return msgspec.structs.replace(seen, eager=False)
        if not full or self.width >= self.limit:
            return seen
        more = EAGER if self.eager else 1.0 / self.width
        if WARY * self.wall < self.width <= self.wall / WARY:
            more *= CREEP
        return msgspec.structs.replace(seen, width=min(self.limit, self.width + more))

    def cut(self, share: float, now: float, began: float) -> AutoThrottle:
        """Narrower, unless the exchange began before the last cut: that one was for it too."""
        if began < self.cut_at:
            return self
        width = max(1.0, self.width * share)
        return msgspec.structs.replace(self, width=width, eager=False, cut_at=now)


def lesson_of(page: Page | None, error: FetchError | None = None) -> ResponseSample:
    """What an answer, or the lack of one, shows of its host."""
    if page is not None:
        busy = page.status in OVERLOADED
        times = page.timings
        waited = None
        if not busy and times.ttfb is not None:
            # Looking the name up and connecting are not the host's work on the answer.
            waited = max(0.0, times.ttfb - (times.dns or 0.0) - (times.connect or 0.0)) / 1000
        failed = True if busy else False if page.status < 500 else None
        return ResponseSample(waited, busy, failed, page.bytes_wire, page.ip)
    if isinstance(error, Insecure):
        return ResponseSample()
    if isinstance(error, TimedOut | Unreachable):
        return ResponseSample(strained=True, failed=True)
    if isinstance(error, Unresolved):
        return ResponseSample(failed=True)
    if isinstance(error, Truncated):
        return ResponseSample(strained=True)
    if isinstance(error, TooLarge | UnwantedType):
        return ResponseSample(failed=False)
    return ResponseSample()


def robots_lesson(visit: CrawlResult) -> ResponseSample | None:
    """What the fetch of a robots.txt showed of its host; None when another host answered last."""
    page = visit.page
    if page is None:
        silent = visit.rules is None or visit.rules.status is None
        return ResponseSample(strained=silent, failed=True if silent else None)
    return lesson_of(page) if page.link.host == visit.link.host else None
