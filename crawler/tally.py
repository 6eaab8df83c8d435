"""The sums of a crawl: one source for the progress display, the report and the metrics.

Bounded whatever the crawl's size: percentiles come from logarithmic buckets, hosts are kept up to
a number, the rest together.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

import msgspec

from crawler.model import Kind, Outcome, Visit

MAX_HOSTS: Final = 10_000
"""Hosts counted one by one; later ones are summed under "others"."""

WINDOW: Final = 10.0
"""Seconds over which the present speed is taken."""

_BUCKETS: Final = 160
_PER_DOUBLING: Final = 8
"""Eight buckets a doubling from 0.01 ms on: percentiles are exact to 9 %, up to 2.8 hours."""


class Histogram:
    """Milliseconds in logarithmic buckets."""

    def __init__(self) -> None:
        self._buckets = [0] * _BUCKETS
        self.number = 0
        self.sum = 0.0
        self.max = 0.0

    def add(self, ms: float) -> None:
        self.number += 1
        self.sum += ms
        self.max = max(self.max, ms)
        index = int(math.log2(ms * 100) * _PER_DOUBLING) if ms > 0.01 else 0
        self._buckets[min(index, _BUCKETS - 1)] += 1

    def percentile(self, share: float) -> float:
        """The value that `share` of all stay below; 0 when there is none."""
        wanted = share * self.number
        seen = 0
        for index, number in enumerate(self._buckets):
            seen += number
            if number and seen >= wanted:
                return float(min(self.max, 2 ** ((index + 1) / _PER_DOUBLING) / 100))
        return 0.0


class HostSum(msgspec.Struct):
    """What one host cost."""

    name: str
    visits: int = 0
    failed: int = 0
    bytes_wire: int = 0
    fetch_ms: float = 0.0
    max_ms: float = 0.0

    @property
    def mean_ms(self) -> float:
        return self.fetch_ms / self.visits if self.visits else 0.0


class Gauges(msgspec.Struct):
    """What is so at this moment; written by the loop's watch once a second."""

    queued: int = 0
    in_flight: int = 0  # open exchanges
    parsing: int = 0  # pages waiting for or in a parse process
    lag_ms: float = 0.0  # how late the loop woke
    lag_max_ms: float = 0.0
    loop_cpu: float = 0.0  # CPU seconds of this process
    child_cpu: float = 0.0  # … of the parse processes
    ledger_seconds: float = 0.0  # spent in commits
    slots: int = 0
    processes: int = 0


class Snapshot(msgspec.Struct, frozen=True):
    """The sums at one moment."""

    elapsed: float
    visits: int
    pages: int
    retries: int
    bytes_wire: int
    bytes_body: int
    links_found: int
    outcomes: dict[str, int]
    statuses: dict[int, int]
    reasons: dict[str, int]
    pages_per_second: float
    recent_per_second: float
    ttfb_ms: tuple[float, float, float]  # p50, p95, p99
    fetch_ms: tuple[float, float, float]
    fetch_seconds: float
    parse_seconds: float
    slowest: tuple[HostSum, ...]
    gauges: Gauges


class Tally:
    """Counts visits as they are entered; asks nothing of anyone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self.cpu_before = time.process_time()
        self._recent: deque[tuple[float, int]] = deque()
        self.gauges = Gauges()
        self.visits = 0
        self.pages = 0
        self.retries = 0
        self.bytes_wire = 0
        self.bytes_body = 0
        self.links_found = 0
        self.outcomes: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.reasons: Counter[str] = Counter()
        self.hosts: dict[str, HostSum] = {}
        self.ttfb = Histogram()
        self.fetch = Histogram()
        self.parse = Histogram()

    def count(self, visit: Visit) -> None:
        """Add a visit that was entered in the ledger."""
        link, page, extract = visit.link, visit.page, visit.extract
        if page is not None:
            self.bytes_wire += page.bytes_wire
        if link.kind is Kind.ROBOTS:
            return
        if visit.outcome is Outcome.RETRY:
            self.retries += 1
        else:
            self.visits += 1
            self.outcomes[visit.outcome.value] += 1
            self.pages += visit.outcome is Outcome.DONE and link.kind is Kind.PAGE
        if visit.reason:
            self.reasons[visit.reason.partition(":")[0]] += 1
        host = self.hosts.get(link.host)
        if host is None:
            name = link.host if len(self.hosts) < MAX_HOSTS else "others"
            host = self.hosts.setdefault(name, HostSum(name))
        host.visits += 1
        host.failed += visit.outcome in {Outcome.FAILED, Outcome.RETRY}
        if page is not None:
            self.statuses[page.status] += 1
            timings = page.timings
            self.fetch.add(timings.total)
            if timings.ttfb is not None:
                self.ttfb.add(timings.ttfb)
            host.bytes_wire += page.bytes_wire
            host.fetch_ms += timings.total
            host.max_ms = max(host.max_ms, timings.total)
        if extract is not None:
            self.bytes_body += extract.bytes_body
            self.links_found += len(extract.found)
            self.parse.add(extract.parse_ms)

    def snapshot(self) -> Snapshot:
        now = self._clock()
        elapsed = max(now - self._began, 1e-9)
        self._recent.append((now, self.pages))
        while len(self._recent) > 2 and now - self._recent[1][0] > WINDOW:
            self._recent.popleft()
        then, before = self._recent[0]
        span = now - then
        recent = (self.pages - before) / span if span > 0.5 else self.pages / elapsed
        slowest = sorted(self.hosts.values(), key=lambda host: host.mean_ms, reverse=True)[:5]
        return Snapshot(
            elapsed=elapsed,
            visits=self.visits,
            pages=self.pages,
            retries=self.retries,
            bytes_wire=self.bytes_wire,
            bytes_body=self.bytes_body,
            links_found=self.links_found,
            outcomes=dict(self.outcomes),
            statuses=dict(sorted(self.statuses.items())),
            reasons=dict(self.reasons.most_common()),
            pages_per_second=self.pages / elapsed,
            recent_per_second=recent,
            ttfb_ms=_percentiles(self.ttfb),
            fetch_ms=_percentiles(self.fetch),
            fetch_seconds=self.fetch.sum / 1000,
            parse_seconds=self.parse.sum / 1000,
            slowest=tuple(slowest),
            gauges=msgspec.structs.replace(self.gauges),
        )

    def __repr__(self) -> str:
        return f"<Tally {self.pages} pages, {self.visits} visits, {self.bytes_wire} bytes>"


def _percentiles(histogram: Histogram) -> tuple[float, float, float]:
    return histogram.percentile(0.5), histogram.percentile(0.95), histogram.percentile(0.99)


def bottleneck(shot: Snapshot) -> str:
    """What held the crawl up, in words, by the first rule that fits.

    CPU: the loop or the parse processes used nearly all of what they may. Disk: commits took most
    of the time. Pace: the fetch slots stood empty while links were queued. Else it was the network
    or the server: the slots were full, waiting for answers.
    """
    gauges = shot.gauges
    if shot.visits < 10 or shot.elapsed < 0.5:
        return "too short to say"
    loop = gauges.loop_cpu / shot.elapsed
    children = gauges.child_cpu / (shot.elapsed * max(gauges.processes, 1))
    busy = shot.fetch_seconds / (shot.elapsed * max(gauges.slots, 1))
    if loop > 0.85:
        return f"CPU in the event loop ({loop:.0%} of one core)"
    if children > 0.85:
        return f"CPU in parsing ({children:.0%} of {gauges.processes} processes)"
    if gauges.ledger_seconds / shot.elapsed > 0.8:
        return (
            f"disk: {gauges.ledger_seconds / shot.elapsed:.0%} of the time a commit was under way"
        )
    if loop + children * max(gauges.processes, 1) > 0.85 * max(gauges.processes, 1):
        return "CPU: the loop and the parse processes share all cores"
    if busy < 0.5:
        return f"the hosts' pace (politeness): fetch slots were {busy:.0%} in use"
    return f"network or server: answers take {shot.ttfb_ms[0]:.0f} ms at the median"
