"""What a report says, as values: gathered in `gather.py`, shown in `page.py`."""

from __future__ import annotations

import msgspec

from crawler.report.broken import BrokenLink


class BarValue(msgspec.Struct, frozen=True):
    """One row of a distribution. `example`: a URL of it, where one helps."""

    name: str
    number: int
    example: str = ""


class HostFigures(msgspec.Struct, frozen=True):
    """What one host gave and how it was treated. Milliseconds; None: unknown."""

    name: str
    visits: int
    failed: int
    busy: int  # answers 429 and 503
    bytes_wire: int
    p50: float | None
    p95: float | None
    p99: float | None
    crawl_delay: float | None  # asked for in its robots.txt, seconds
    per_second: float  # visits over the time from its first to its last
    resting: float  # seconds that the host still asked to be left alone when the crawl ended


class TimeSlice(msgspec.Struct, frozen=True):
    """One step of the time line."""

    at: float  # Unix time of its beginning
    visits: int
    failed: int
    bytes_wire: int


class PageWeight(msgspec.Struct, frozen=True):
    """A URL and what is remarkable about it."""

    url: str
    value: float


class DuplicateGroup(msgspec.Struct, frozen=True):
    """Different URLs with the very same body."""

    number: int
    urls: tuple[str, ...]


class RedirectChain(msgspec.Struct, frozen=True):
    """Redirects in a row, first URL first."""

    urls: tuple[str, ...]
    end: str = ""  # why it does not end in a page; empty: it does


class ReportData(msgspec.Struct, frozen=True):
    """Everything that the report of one folder shows."""

    seeds: tuple[str, ...]
    folder: str
    made_at: float
    version: str
    runs: int
    first: float | None  # Unix time of the first and the last visit
    last: float | None
    finish_reason: str
    bottleneck: str
    lag_ms: tuple[float, float] | None  # the loop's, mean and most
    states: dict[str, int]
    pages: int  # of `done` and `unchanged`: no sitemap, no image
    left: dict[str, int]  # see `ending.left_of`
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
    has_pages: bool  # pages.jsonl was there
    has_graph: bool
    incomplete: tuple[BarValue, ...] = ()  # pages that were not read whole, by the limit
    plugins: tuple[str, ...] = ()  # rules and plugins that failed or matched nothing, last run
