"""Frozen records that all packages share. No I/O, no decisions.

    CrawlUrl ──fetch──▶ Page ──read──▶ ParsedPage ──▶ CrawlResult ──▶ committer, sinks, stats, log

Every visit ends in exactly one `CrawlResult`. All records are frozen and slotted
(msgspec structs: 0.09 µs to make one, against 1.5 µs for a frozen dataclass of this width).
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

import msgspec


class Kind(StrEnum):
    """What we expect to find behind a link; decides who reads it and whether it is a record."""

    PAGE = "page"
    ASSET = "asset"
    SITEMAP = "sitemap"
    FEED = "feed"
    ROBOTS = "robots"
    FILE = "file"
    PROBE = "probe"  # only asked whether it is there: HEAD, never read, not followed


class Outcome(StrEnum):
    """How a visit ended. All but RETRY are final: the link is crossed off."""

    DONE = "done"  # fetched and read
    MOVED = "moved"  # a redirect; its target is in `CrawlResult.found`
    UNCHANGED = "unchanged"  # 304: what we have is still good
    REFUSED = "refused"  # a rule of ours or of the site's says no; nothing was fetched
    RETRY = "retry"  # again, in `CrawlResult.retry_in` seconds
    FAILED = "failed"  # gave up; `CrawlResult.reason` names why


Outlink: TypeAlias = tuple[str, str, bytes, str, str]
"""A link seen on a page, as it travels from the parse process: `(url, host, key, kind, reason)`.

`url` is canonical, `host` its politeness key, `key` its 16-byte fingerprint (`urls.fingerprint`),
`kind` a `Kind` value, `reason` empty when the link is admitted, else the name of the rule that
refused it. A plain tuple, because a page has dozens and pickle moves tuples three times faster.
"""


class CrawlUrl(msgspec.Struct, frozen=True, gc=False):
    """Where we mean to go.

    `url` is canonical and never re-quoted. `host` is the politeness key. `via` is the URL of the
    page it was found on, None for a seed. `hops` counts the redirects behind it, `attempt` the
    tries before this one. `id` is the frontier's own handle; None before it was queued. `cookie`
    is sent along: what a redirect to the very same URL set (a cookie wall), nothing else. `known`
    is what a revisit knows of it; None: it was never fetched. `deaths` counts the runs that died
    with it in hand, of what they had in hand.
    """

    url: str
    host: str
    depth: int = 0
    via: str | None = None
    kind: Kind = Kind.PAGE
    hops: int = 0
    attempt: int = 0
    id: int | None = None
    cookie: str = ""
    known: Validators | None = None
    deaths: int = 0


class Validators(msgspec.Struct, frozen=True, gc=False):
    """What an earlier run left of a link: what a conditional request and a comparison need.

    `interval` is the present revisit interval in seconds, None: never revisited.
    """

    etag: str | None
    modified: str | None
    digest: str | None
    text_digest: str | None
    interval: float | None

    @property
    def validators(self) -> dict[str, str]:
        """Headers that make a request conditional (RFC 9110 §13.1); a 304 answers no other."""
        pairs = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in pairs.items() if value and self.digest}


class Timings(msgspec.Struct, frozen=True, gc=False):
    """Where the time of one trip went, in milliseconds. None: the phase did not take place."""

    total: float
    ttfb: float | None = None
    dns: float | None = None
    connect: float | None = None
    waited: float | None = None  # for a fetch slot


class Page(msgspec.Struct, frozen=True, weakref=True):  # its end frees its body's room
    """What came over the wire, as sent.

    `body` still carries its Content-Encoding; a large one lies in a file (`Path`) that the owner
    of the Page removes. `headers` keep order, case and repeats. `location` is the canonical
    absolute target of a redirect, None for any other status. `fetched_at` is Unix time in seconds.
    """

    link: CrawlUrl
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | Path
    fetched_at: float
    timings: Timings
    bytes_wire: int
    location: str | None = None
    ip: str | None = None
    http_version: str = "1.1"
    phrase: str = ""  # the reason phrase of the status line, as sent
    sent: tuple[tuple[str, str], ...] = ()  # our request's headers, only when a sink asked for them
    truncated: str = ""  # why the body is not whole, in WARC's words: length, time, disconnect

    def header(self, name: str, default: str = "") -> str:
        """The first value of a header, whatever the case of its name."""
        name = name.lower()
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return default


class WarcRecord(msgspec.Struct, frozen=True, gc=False):
    """An exchange as the archive writes it, made in a parse process: compressed WARC records.

    `response` is a record of its own, large ones in a file that the sink removes; `aside` the
    request and metadata records that belong to it. `head` and `record` (its id) are for a revisit
    record in its place, when `digest` (of the payload) was archived before. `bytes_payload` is 0
    for an answer without body.
    """

    response: bytes | Path
    aside: bytes
    head: bytes  # status line and headers
    record: str  # WARC-Record-ID
    digest: str  # as in WARC-Payload-Digest
    bytes_payload: int


class PluginRun(msgspec.Struct, frozen=True, gc=False):
    """What a rule or plugin did on one page. `kind` is "rule" or "plugin".

    `fits` is False where a rule's `match` does not fit the URL: it was not run. `took`: it gave a
    record or a link. `error` says in one line why it failed; empty: it did not. `traceback` is
    that of the first exception that it raised in its parse process, else empty.
    """

    kind: str
    name: str
    fits: bool = True
    took: bool = False
    error: str = ""
    traceback: str = ""


class ParsedPage(msgspec.Struct, frozen=True, gc=False):
    """What we read in a page, made in a parse process.

    `mime` and `charset` are as decided, not as claimed; `charset_source` is one of bom, http,
    meta, detected, default. `digest` is `sha256:…` of the decoded body (after Content-Encoding).
    `bytes_body` its length. `records` are the results of extraction rules and plugins.
    `problems` are short sentences on what was wrong but did not stop the reading.
    """

    found: tuple[Outlink, ...] = ()
    mime: str = ""
    charset: str = ""
    charset_source: str = ""
    bytes_body: int = 0
    digest: str = ""
    text_digest: str = ""  # of the main text alone, whatever surrounds it; empty: not a page
    title: str = ""
    description: str = ""
    canonical: str | None = None
    lang: str = ""
    hreflang: tuple[tuple[str, str], ...] = ()
    text_length: int = 0
    robots: tuple[str, ...] = ()
    simhash: int | None = None
    records: tuple[dict[str, Any], ...] = ()
    problems: tuple[str, ...] = ()
    incomplete: str = ""  # the limit by which not all that was there was taken; empty: none
    parse_ms: float = 0.0
    anchors: tuple[str, ...] | None = None  # ids and names on the page, only for a check of them
    fragments: tuple[tuple[str, str], ...] = ()  # (URL, fragment) that links name, likewise
    markdown: str | None = None  # the main content, only when a sink asked for it
    body: bytes | Path | None = None  # decoded, only when a sink asked for it; large: a file
    kept: WarcRecord | None = None  # only when the crawl is archived
    ran: tuple[PluginRun, ...] = ()  # rules and plugins, in the order of the configuration


class Follow(msgspec.Struct, frozen=True, gc=False):
    """A link that a plugin found where the page shows none; judged and entered like any other.

    `url` may be relative to the page. `kind` is a `Kind` value.
    """

    url: str
    kind: Kind = Kind.PAGE


class RobotsRecord(msgspec.Struct, frozen=True, gc=False):
    """What an origin's robots.txt said, and until when that holds (Unix time).

    `status` None: it could not be fetched. `delay` is its Crawl-delay for us in seconds, None when
    it names none. `body` is the file as decoded, at most 512 KiB. `trouble` is the reason that the
    origin's links are given where there was no answer to go by; empty: there was one.
    """

    origin: str
    status: int | None
    body: bytes
    expires_at: float
    delay: float | None = None
    trouble: str = ""


class CrawlResult(msgspec.Struct, frozen=True, gc=False):
    """One whole trip: the only thing that sinks, frontier, tally, log and dashboard read.

    `found` are the links to enter (a redirect's target, a page's links). `reason` names why a
    visit was not DONE, or why a page that is DONE was not read whole (`ParsedPage.incomplete`): one
    machine-readable word, a detail after a colon where there is one.
    `retry_in` is in seconds, set with RETRY only. `rest` asks the host to rest that many seconds
    (Retry-After, back-off); it holds for the host's other links too, and `rest_why` names why in a
    word, as `reason` does. `duplicate_of` is the URL of the first page with the same bytes, None
    for that page itself. `adopts` is set where a seed redirects, so that its target is a seed too:
    the kind of address that it may have, as `fetch.guard.kind_of` names it, or "public".
    """

    link: CrawlUrl
    outcome: Outcome
    page: Page | None = None
    extract: ParsedPage | None = None
    found: tuple[Outlink, ...] = ()
    reason: str = ""
    retry_in: float | None = None
    rest: float = 0.0
    rest_why: str = ""
    rules: RobotsRecord | None = None  # set by a visit to a robots.txt only
    kept: WarcRecord | None = None  # of an answer that was not read: a redirect, a 404, a 304
    duplicate_of: str | None = None
    trail: tuple[
        tuple[Page, WarcRecord | None], ...
    ] = ()  # redirects that a robots.txt was found behind
    adopts: str = ""

    @property
    def archived(self) -> WarcRecord | None:
        """The exchange as the archive writes it, whether it was read or not."""
        return self.kept or (self.extract.kept if self.extract else None)


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """A link that was not followed, or a page that was not read whole, and why: a line of
    skipped.jsonl.

    `at` is Unix time, `via` the page it was found on (None: a seed), `seed` where the way to it
    began.
    """

    url: str
    via: str | None
    depth: int
    reason: str
    at: float
    seed: str | None = None


class Counts(msgspec.Struct, frozen=True, gc=False):
    """How many links of a crawl are in which state; one row of the frontier's ledger."""

    queued: int = 0
    resting: int = 0  # waiting for a later try
    leased: int = 0
    done: int = 0
    moved: int = 0
    unchanged: int = 0
    refused: int = 0
    failed: int = 0
    hosts: int = 0
    braked: int = 0  # parked: `crawler release` queues them
    incomplete: int = 0  # of those done: a limit left some of their links out
    pages: int = 0  # of `done` and `unchanged`: no sitemap, no image
    left: dict[str, int] = {}  # refused, failed or parked, though in scope: see `ending.left_of`

    @property
    def pending(self) -> int:
        """Links that will still be visited."""
        return self.queued + self.resting + self.leased

    @property
    def seen(self) -> int:
        """Every distinct URL this crawl knows of."""
        final = self.done + self.moved + self.unchanged + self.refused + self.failed
        return self.pending + final + self.braked
