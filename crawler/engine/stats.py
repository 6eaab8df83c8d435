"""The sums of a crawl: one source for the progress display, the report and the metrics.

Bounded whatever the crawl's size: percentiles come from logarithmic buckets, hosts are kept up to
a number, the rest together.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter, deque
from collections.abc import Callable
from math import log2
from typing import Final

import msgspec

from crawler.policy.plugin_stats import PluginStats, add_page, joined
from crawler.records import CrawlResult, Kind, Outcome
from crawler.utils.units import counted

MAX_HOSTS: Final = 10_000
"""Hosts counted one by one; later ones are summed under "others"."""

NAMED: Final = 5
"""Hosts without a robots.txt that are named in the summary."""

WINDOW: Final = 10.0
"""Seconds over which the present speed is taken."""

MARK_EVERY: Final = 0.2
"""Seconds between marks at least, however often somebody looks: fifty marks cover the window."""

_BUCKETS: Final = 240
_PER_DOUBLING: Final = 8
"""Eight buckets a doubling from 0.01 ms on: percentiles are exact to 9 %, up to three hours."""


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
        index = int(log2(ms * 100) * _PER_DOUBLING) if ms > 0.01 else 0
        self._buckets[index if index < _BUCKETS else _BUCKETS - 1] += 1

    def buckets(self) -> list[tuple[float, int]]:
        """Those that hold something: the upper bound in milliseconds, how many."""
        return [
            (2 ** ((index + 1) / _PER_DOUBLING) / 100, number)
            for index, number in enumerate(self._buckets)
            if number
        ]

    def percentile(self, share: float) -> float:
        """The value that `share` of all stay below; 0 when there is none."""
        wanted = share * self.number
        seen = 0
        for index, number in enumerate(self._buckets):
            seen += number
            if number and seen >= wanted:
                return float(min(self.max, 2 ** ((index + 1) / _PER_DOUBLING) / 100))
        return 0.0


class HostStats(msgspec.Struct):
    """What one host cost."""

    name: str
    visits: int = 0
    answers: int = 0
    failed: int = 0
    bytes_wire: int = 0
    fetch_ms: float = 0.0
    max_ms: float = 0.0

    @property
    def mean_ms(self) -> float:
        return self.fetch_ms / self.answers if self.answers else 0.0


class Gauges(msgspec.Struct):
    """The state at this moment; `LoopMonitor` writes it and calls `StatsCollector.sample`."""

    queued: int = 0
    in_flight: int = 0  # open exchanges
    parsing: int = 0  # pages waiting for or in a parse process
    lag_ms: float = 0.0  # how late the loop woke
    lag_max_ms: float = 0.0
    lag_mean_ms: float = 0.0
    loop_cpu: float = 0.0  # CPU seconds of this process
    child_cpu: float = 0.0  # … of the parse processes
    ledger_seconds: float = 0.0  # spent in commits
    slots: int = 0
    processes: int = 0
    cpus: int = 0  # that may be used; 0: unknown


class StatsSnapshot(msgspec.Struct, frozen=True):
    """The sums at one moment."""

    elapsed: float
    visits: int
    pages: int
    retries: int
    bytes_wire: int
    bytes_body: int
    links_found: int
    duplicates: int  # pages whose bytes an earlier page had
    outcomes: dict[str, int]
    statuses: dict[int, int]
    reasons: dict[str, int]
    robots: dict[str, int]  # why robots.txt files could not be had, each try
    robots_hosts: tuple[str, ...]  # whose, the first of them
    pages_per_second: float
    recent_per_second: float
    ttfb_ms: tuple[float, float, float]  # p50, p95, p99
    fetch_ms: tuple[float, float, float]
    fetch_seconds: float
    parse_seconds: float
    slot_seconds: float  # waited for a free connection
    parse_ms: tuple[float, float, float]
    paced: float  # share of samples in which slots were free and links had to wait
    thin: float  # … in which slots were free and there were no links to fill them
    slowest: tuple[HostStats, ...]
    gauges: Gauges
    unread: float = 0.0  # … in which slots were free and pages waited for a parse process
    incomplete: dict[str, int] = {}  # pages that were not read whole, by the limit
    plugins: tuple[PluginStats, ...] = ()  # rules and plugins, once a page was read
    unsent: tuple[str, ...] = ()  # logins for hosts of which nothing was asked for


class StatsCollector:
    """Counts visits as they are entered; asks nothing of anyone."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        unsent: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        """`unsent` is asked for what `StatsSnapshot.unsent` holds."""
        self._clock = clock
        self._unsent = unsent
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
        self.duplicates = 0
        self.outcomes: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.reasons: Counter[str] = Counter()
        self.robots: Counter[str] = Counter()
        self.robots_hosts: dict[str, None] = {}
        self.incomplete: Counter[str] = Counter()
        self.plugins: list[PluginStats] = []
        self.hosts: dict[str, HostStats] = {}
        self.ttfb = Histogram()
        self.fetch = Histogram()
        self.parse = Histogram()
        self._slot_ms = 0.0
        self._lag_ms = 0.0
        self._samples = self._paced = self._thin = self._unread = 0

    def count(self, visit: CrawlResult) -> None:
        """Add a visit that was entered in the ledger."""
        link, page, extract = visit.link, visit.page, visit.extract
        if page is not None:
            self.bytes_wire += page.bytes_wire
        if link.kind is Kind.ROBOTS:
            if visit.reason and visit.outcome is not Outcome.DONE:  # a 404 says that all is allowed
                word, _, detail = visit.reason.partition(":")
                self.robots[f"{word}:{detail}" if word == "status" else word] += 1
                if len(self.robots_hosts) < NAMED:
                    self.robots_hosts[link.host] = None
            return
        if visit.outcome is Outcome.RETRY:
            self.retries += 1
        else:
            self.visits += 1
            self.outcomes[visit.outcome.value] += 1
            self.pages += visit.outcome is Outcome.DONE and link.kind is Kind.PAGE
        if visit.reason:
            self.reasons[visit.reason.partition(":")[0]] += 1
            if visit.outcome is Outcome.DONE:
                self.incomplete[visit.reason] += 1
        host = self.hosts.get(link.host)
        if host is None:
            name = link.host if len(self.hosts) < MAX_HOSTS else "others"
            host = self.hosts.setdefault(name, HostStats(name))
        host.visits += 1
        host.failed += visit.outcome in {Outcome.FAILED, Outcome.RETRY}
        if page is not None:
            self.statuses[page.status] += 1
            timings = page.timings
            self.fetch.add(timings.total)
            self._slot_ms += timings.waited or 0.0
            if timings.ttfb is not None:
                self.ttfb.add(timings.ttfb)
            host.answers += 1
            host.bytes_wire += page.bytes_wire
            host.fetch_ms += timings.total
            host.max_ms = max(host.max_ms, timings.total)
        if extract is not None:
            self.bytes_body += extract.bytes_body
            self.duplicates += visit.duplicate_of is not None
            self.links_found += len(extract.found)
            self.parse.add(extract.parse_ms)
            add_page(self.plugins, extract.ran)

    def sample(self) -> None:
        """Take the gauges in, once they have been written: a few times a second."""
        gauges = self.gauges
        self._samples += 1
        self._lag_ms += gauges.lag_ms
        gauges.lag_max_ms = max(gauges.lag_max_ms, gauges.lag_ms)
        gauges.lag_mean_ms = self._lag_ms / self._samples
        if gauges.in_flight >= gauges.slots / 2:
            return
        if gauges.parsing > gauges.processes:
            self._unread += 1
        else:
            waiting = gauges.queued > gauges.in_flight + gauges.parsing
            self._paced += waiting
            self._thin += not waiting

    def snapshot(self, *, hosts: int = 5) -> StatsSnapshot:
        """The sums now. `hosts`: how many of the slowest; 0 spares looking at all of them."""
        now = self._clock()
        elapsed = max(now - self._began, 1e-9)
        return StatsSnapshot(
            elapsed=elapsed,
            visits=self.visits,
            pages=self.pages,
            retries=self.retries,
            bytes_wire=self.bytes_wire,
            bytes_body=self.bytes_body,
            links_found=self.links_found,
            duplicates=self.duplicates,
            outcomes=dict(self.outcomes),
            statuses=dict(sorted(self.statuses.items())),
            reasons=dict(self.reasons.most_common()),
            robots=dict(self.robots.most_common()),
            robots_hosts=tuple(self.robots_hosts),
            pages_per_second=self.pages / elapsed,
            recent_per_second=self._recently(now, elapsed),
            ttfb_ms=_percentiles(self.ttfb),
            fetch_ms=_percentiles(self.fetch),
            parse_ms=_percentiles(self.parse),
            fetch_seconds=self.fetch.sum / 1000,
            parse_seconds=self.parse.sum / 1000,
            slot_seconds=self._slot_ms / 1000,
            paced=self._paced / max(self._samples, 1),
            thin=self._thin / max(self._samples, 1),
            unread=self._unread / max(self._samples, 1),
            slowest=tuple(msgspec.structs.replace(host) for host in self._slowest(hosts)),
            gauges=msgspec.structs.replace(self.gauges),
            incomplete=dict(self.incomplete.most_common()),
            plugins=joined([self.plugins]),
            unsent=self._unsent(),
        )

    def _recently(self, now: float, elapsed: float) -> float:
        """Pages a second over the window, from marks left by earlier snapshots."""
        marks = self._recent
        if not marks or now - marks[-1][0] >= MARK_EVERY:
            marks.append((now, self.pages))
        while len(marks) > 2 and now - marks[1][0] >= WINDOW:
            marks.popleft()
        then, before = marks[0]
        span = now - then
        return (self.pages - before) / span if span >= 1.0 else self.pages / elapsed

    def _slowest(self, most: int) -> list[HostStats]:
        if not most:
            return []
        answered = (host for host in self.hosts.values() if host.answers)
        return heapq.nlargest(most, answered, key=lambda host: host.mean_ms)

    def __repr__(self) -> str:
        return f"<Tally {self.pages} pages, {self.visits} visits, {self.bytes_wire} bytes>"


def _percentiles(histogram: Histogram) -> tuple[float, float, float]:
    return histogram.percentile(0.5), histogram.percentile(0.95), histogram.percentile(0.99)


def bottleneck(shot: StatsSnapshot) -> str:
    """What held the crawl up, in words, by the first rule that fits.

    1  under 10 visits or half a second: too short to say
    2  the loop's process used over 85 % of a core: CPU in the loop
    3  the parse processes were busy over 85 % of the time: CPU in parsing
    4  a commit was under way over 80 % of the time: disk
    5  loop and parsing together used over 85 % of the cores: CPU
    6  under half the fetch slots in use, pages waiting for a process: parsing
    7  … no links to fill them: a thin frontier
    8  … though links waited: the hosts' pace
    9  else the slots were full, waiting for answers: network or server
    """
    gauges = shot.gauges
    if shot.visits < 10 or shot.elapsed < 0.5:
        return "too short to say"
    processes = max(gauges.processes, 1)
    cores = gauges.cpus or processes
    loop = gauges.loop_cpu / shot.elapsed
    children = gauges.child_cpu / shot.elapsed
    commits = gauges.ledger_seconds / shot.elapsed
    busy = shot.fetch_seconds / (shot.elapsed * max(gauges.slots, 1))
    if loop > 0.85:
        return f"CPU in the event loop ({loop:.0%} of one core)"
    if children / processes > 0.85:
        return f"CPU in parsing ({children / processes:.0%} of {processes} processes)"
    if commits > 0.8:
        return f"disk: {commits:.0%} of the time a commit was under way"
    if loop + children > 0.85 * cores:
        return f"CPU: the loop and the parse processes share {cores} cores"
    if busy < 0.5 and shot.unread > max(shot.thin, shot.paced):
        readers = counted(processes, "process", "processes")
        return f"parsing: {shot.unread:.0%} of the time pages waited for {readers}"
    if busy < 0.5 and shot.thin > shot.paced:
        return f"few links at a time: {shot.thin:.0%} of the time there was no more to fetch"
    if busy < 0.5:
        return f"the hosts' pace (politeness, retries): fetch slots were {busy:.0%} in use"
    return f"network or server: answers take {shot.ttfb_ms[0]:.0f} ms at the median"
