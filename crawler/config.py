"""ONE frozen, validated model of everything that can be set. Pure: reading files is a door's job.

Defaults < TOML file < environment < flags are merged by `crawler/settings.py` into one tree and
validated there. Each part of the house is passed its own small section, never the
whole. Units: seconds, bytes, milliseconds where the name says so.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(ge=0, extra={"unit": "s"})]
Bytes = Annotated[int, Meta(ge=0, extra={"unit": "B"})]
Width = Annotated[int, Meta(ge=1, le=10_000)]
Count = Annotated[int, Meta(ge=0)]
ScopeName = Literal["page", "prefix", "host", "domain", "any"]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A group of settings, handed as it is to the part of the house that it rules."""


class ScopeConfig(Section, frozen=True):
    """Which links are followed. The rules themselves: `crawler/scope.py`."""

    scope: ScopeName = "host"
    include: tuple[str, ...] = ()  # regular expressions; a link must match one
    exclude: tuple[str, ...] = ()  # … and none of these
    max_depth: Count | None = None  # clicks from a seed; 0: the seeds alone
    follow: tuple[str, ...] = ("page",)  # kinds of links that are fetched
    forms: bool = False  # follow GET forms' actions
    mime: tuple[str, ...] = ()  # read only bodies of these types, e.g. text/html; empty: all
    probe: bool = False  # links that are not followed are asked for all the same, never read
    max_url: Annotated[int, Meta(ge=16, le=65_536)] = 2083
    max_segments: Annotated[int, Meta(ge=1)] = 25
    max_repeats: Annotated[int, Meta(ge=1)] = 3
    max_links: Annotated[int, Meta(ge=1)] = 5000  # a page; the rest are counted as a problem


class UrlsConfig(Section, frozen=True):
    """What is done to a URL beyond the WHATWG standard. See `crawler/urls.py`."""

    strip_fragment: bool = True
    strip_query: tuple[str, ...] = (  # names (glob) of parameters that never change the page
        "utm_*", "gclid", "fbclid", "dclid", "msclkid", "mc_cid", "mc_eid", "_ga", "yclid",
    )  # fmt: skip
    sort_query: bool = False


class LimitsConfig(Section, frozen=True):
    """When to stop, and how wide to work."""

    concurrency: Width = 64  # open connections
    workers: Width | None = None  # links in hand, in whatever stage; None: 4 × the connections
    max_pages: Annotated[int, Meta(ge=1)] | None = None
    time_limit: Seconds | None = None
    size_limit: Bytes | None = None  # sum of bytes on the wire
    grace: Seconds = 10.0  # for what is in hand when the crawl is asked to stop


class PaceConfig(Section, frozen=True):
    """How one host is treated. Enforced in the frontier: no code path goes around it."""

    per_host: Width = 2
    delay: Seconds = 0.25
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.0  # ± share of the delay
    fast: bool = False  # one's own servers: no pacing at all
    adaptive: bool = True
    max_crawl_delay: Seconds = 60.0
    max_retry_after: Seconds = 3600.0
    group: Literal["host", "domain", "ip"] = "host"


class FetchConfig(Section, frozen=True):
    """One HTTP exchange."""

    user_agent: str = "crawler/{version} (+{contact})"
    contact: str = ""
    headers: dict[str, str] = {}
    dns_timeout: Seconds = 5.0
    connect_timeout: Seconds = 10.0
    first_byte_timeout: Seconds = 20.0
    idle_timeout: Seconds = 20.0
    timeout: Seconds = 60.0  # the whole exchange
    max_body: Bytes = 10 * 1024 * 1024  # on the wire, and again decoded
    max_ratio: Annotated[float, Meta(ge=1)] = 100.0  # decoded / wire, once past a megabyte
    spool_above: Bytes = 1024 * 1024  # larger bodies lie in a file, not in memory
    max_redirects: Count = 10
    insecure: bool = False  # do not verify TLS certificates
    proxy: str | None = None


class RetryConfig(Section, frozen=True):
    """Which failures are worth another try, and when."""

    retries: Count = 3
    on_status: tuple[int, ...] = (408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524)
    base: Seconds = 1.0  # full jitter: random(0, base · 2ⁿ)
    ceiling: Seconds = 60.0


class RobotsConfig(Section, frozen=True):
    """RFC 9309."""

    obey: bool = True
    max_age: Seconds = 86_400.0
    recheck: Seconds = 300.0


class ParseConfig(Section, frozen=True):
    """The parse processes."""

    processes: Width | None = None  # None: as many as this process may use CPUs
    deadline: Seconds = 10.0  # a page
    memory: Bytes = 2 * 1024 * 1024 * 1024  # address space of a child
    batch_pages: Width = 32
    batch_bytes: Bytes = 1024 * 1024
    recycle_pages: Count = 20_000  # a pool is replaced after so many; 0: never
    plugins: tuple[str, ...] = ()  # dotted path or file path, `module:function`
    anchors: bool = False  # note ids and #fragments, for `crawler check --anchors`
    rules: tuple[str, ...] = ()  # TOML files that say what to extract; crawler/parse/extract.py


class OutputConfig(Section, frozen=True):
    """What a crawl leaves behind, and where."""

    dir: str = "crawl"
    jsonl: bool = True
    graph: bool = True  # graph.bin: which page links to which, 17 bytes a link
    report: bool = True  # report.html, at the end of each run
    text: bool = False  # text/: each page's main content as Markdown
    save: Literal["none", "html", "all"] = "none"
    durable: Literal["process", "power"] = "process"  # power: fsync at every commit


class Config(Section, frozen=True):
    """Everything a crawl needs to know; written to `DIR/crawl.toml` as it took effect."""

    seeds: tuple[str, ...] = ()
    scope: ScopeConfig = ScopeConfig()
    urls: UrlsConfig = UrlsConfig()
    limits: LimitsConfig = LimitsConfig()
    pace: PaceConfig = PaceConfig()
    fetch: FetchConfig = FetchConfig()
    retry: RetryConfig = RetryConfig()
    robots: RobotsConfig = RobotsConfig()
    parse: ParseConfig = ParseConfig()
    output: OutputConfig = OutputConfig()
