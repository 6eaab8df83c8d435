"""The data of a report as values: built in `build.py`, rendered in `page.py`, written by `crawler
report --json`.
"""

from __future__ import annotations

import msgspec

from crawler.report.broken import BrokenLink


class BarValue(msgspec.Struct, frozen=True):
    """One row of a distribution. `example` is a URL, where it helps."""

    name: str
    number: int
    example: str = ""


class HostFigures(msgspec.Struct, frozen=True):
    """Traffic and latency of one host. Latencies in milliseconds; None: unknown."""

    name: str
    visits: int
    failed: int
    busy: int  # responses with status 429 or 503
    bytes_wire: int
    p50: float | None
    p95: float | None
    p99: float | None
    crawl_delay: float | None  # Crawl-delay of its robots.txt, seconds
    per_second: float  # visits per second from the first to the last
    resting: float  # seconds of its cooldown that remain


class TimeSlice(msgspec.Struct, frozen=True):
    """One slice of the time line."""

    at: float  # Unix time of its start
    visits: int
    failed: int
    bytes_wire: int


class PageWeight(msgspec.Struct, frozen=True):
    """A URL with its duration in ms or its size in bytes."""

    url: str
    value: float


class DuplicateGroup(msgspec.Struct, frozen=True):
    """Different URLs with the same body."""

    number: int
    urls: tuple[str, ...]


class RedirectChain(msgspec.Struct, frozen=True):
    """Consecutive redirects, in order."""

    urls: tuple[str, ...]
    end: str = ""  # why it does not end in a page; empty: it ends in one


class ReportData(msgspec.Struct, frozen=True):
    """Everything that a report shows."""

    seeds: tuple[str, ...]
    folder: str
    made_at: float
    version: str
    runs: int
    first: float | None  # Unix time of the first and the last visit; None: no visit
    last: float | None
    finish_reason: str
    bottleneck: str
    lag_ms: tuple[float, float] | None  # event loop delay, mean and maximum
    states: dict[str, int]
    pages: int  # done and unchanged, without sitemaps and images
    left: dict[str, int]  # links left by reason; see `end_message`
    bytes_wire: int
    bytes_body: int
    hosts_seen: int
    statuses: tuple[BarValue, ...]
    mimes: tuple[BarValue, ...]
    depths: tuple[BarValue, ...]
    failures: tuple[BarValue, ...]
    skipped: tuple[BarValue, ...]
    traps: tuple[BarValue, ...]
    slices: tuple[TimeSlice, ...]
    step: float  # seconds of one slice
    hosts: tuple[HostFigures, ...]
    latency: tuple[float, float, float] | None  # p50, p95, p99 of whole fetches
    slowest: tuple[PageWeight, ...]
    largest: tuple[PageWeight, ...]
    twins: tuple[DuplicateGroup, ...]
    twins_groups: int
    twins_pages: int
    chains: tuple[RedirectChain, ...]
    chains_number: int
    broken: tuple[BrokenLink, ...]
    broken_number: int
    records: int
    problems: tuple[BarValue, ...]
    has_pages: bool  # pages.jsonl exists
    has_graph: bool
    incomplete: tuple[BarValue, ...] = ()  # incompletely parsed pages, by limit
    plugins: tuple[str, ...] = ()  # rules and plugins that failed or matched nothing, last run
