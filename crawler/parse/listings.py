"""What is no page but a list: a robots.txt, a sitemap, a feed, as an Extract."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

from crawler.parse.decode import stream
from crawler.parse.sitemap import SitemapEntry, looks_like_list, looks_like_sitemap, read_listing
from crawler.policy.robots_lines import MAX_BYTES, whole_lines
from crawler.policy.scope import Scope
from crawler.policy.urls import Urls, fingerprint, host_key, registered_domain
from crawler.records import CrawlUrl, Kind, Outlink, ParsedPage

MAX_NESTING: Final = 10
"""Sitemaps inside sitemaps. The standard knows one level; a ring of them would never end."""


class ListingSettings(Protocol):
    """What of `read.ReaderRules` matters here."""

    @property
    def urls(self) -> Urls: ...
    @property
    def scope(self) -> Scope: ...
    @property
    def keep_body(self) -> bool: ...


class _Meter:
    """Lets pieces through, and counts, digests and (when asked to) keeps them."""

    def __init__(self, pieces: Iterable[bytes], *, keep: bool) -> None:
        self.size = 0
        self.whole = False  # the pieces came to their end
        self._pieces = pieces
        self._digest = hashlib.sha256()
        self._kept: list[bytes] | None = [] if keep else None

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.size += len(piece)
            self._digest.update(piece)
            if self._kept is not None:
                self._kept.append(piece)
            yield piece
        self.whole = True

    @property
    def digest(self) -> str:
        return f"sha256:{self._digest.hexdigest()}" if self.whole else ""

    @property
    def body(self) -> bytes | None:
        return b"".join(self._kept) if self._kept is not None and self.whole else None


def read_robots_file(body: bytes | Path, encodings: str) -> ParsedPage:
    """The first half megabyte of a robots.txt, decoded, cut at a line; more is not unpacked."""
    text = bytearray()
    problems: list[str] = []
    for piece in stream(body, encodings, problems):
        text += piece
        if len(text) > MAX_BYTES:
            break
    kept = whole_lines(bytes(text))
    digest = f"sha256:{hashlib.sha256(kept).hexdigest()}"
    return ParsedPage(bytes_body=len(kept), digest=digest, body=kept, problems=tuple(problems))


def is_start(link: CrawlUrl) -> bool:
    """Whether a page is where the crawl starts: a seed, or what one redirects to."""
    return link.kind is Kind.PAGE and not link.depth and (link.via is None or link.hops > 0)


def is_list(body: bytes | Path, encodings: str, charset: str) -> bool:
    """Whether a page is a list, by what is in it: who names one as a seed wants what it lists."""
    return looks_like_list(stream(body, encodings, []), charset)


def is_sitemap(body: bytes | Path, encodings: str, charset: str) -> bool:
    """Whether a page that a link leads to is a sitemap: a site may link to it before its robots.txt
    names it, and a URL is visited once.
    """
    return looks_like_sitemap(stream(body, encodings, []), charset)


def read_list(
    link: CrawlUrl,
    rules: ListingSettings,
    mime: str,
    charset: str,
    body: bytes | Path,
    encodings: str,
) -> ParsedPage:
    """The addresses in a sitemap or a feed, judged, the most important first.

    They are as deep as the list itself: reading a list is no click; those of a seed, which is
    entered as a page, are one click deep. A list of lists may name only lists of its own
    registered domain or of hosts in scope. Raises ParseError for hostile XML.
    """
    began = time.perf_counter()
    problems: list[str] = []
    meter = _Meter(stream(body, encodings, problems), keep=rules.keep_body)
    listing = read_listing(meter, charset)
    problems += listing.problems
    pages, lists = listing.ordered()
    seed = link.kind is Kind.PAGE
    listed = _Judge(link, rules, link.depth + seed)
    found = {one[0]: one for one in listed(lists, Kind.SITEMAP if seed else link.kind)}
    for one in listed(pages, Kind.PAGE):
        found.setdefault(one[0], one)
    if listed.unusable:
        problems.append(f"{len(listed.unusable)} addresses are none: {listed.unusable[0][:100]!r}")
    return ParsedPage(
        found=tuple(found.values()),
        mime=mime,
        charset=charset,
        charset_source="http" if charset else "",
        bytes_body=meter.size,
        digest=meter.digest,
        problems=tuple(problems[:20]),
        incomplete=listing.cut,
        parse_ms=(time.perf_counter() - began) * 1000,
        body=meter.body,
    )


class _Judge:
    """Makes links of a list's entries; `unusable` are the addresses that are none."""

    def __init__(self, link: CrawlUrl, rules: ListingSettings, depth: int) -> None:
        self._link = link
        self._rules = rules
        self._depth = depth
        self.unusable: list[str] = []

    def __call__(self, entries: list[SitemapEntry], kind: Kind) -> Iterator[Outlink]:
        link, rules = self._link, self._rules
        for entry in entries:
            base = link.url
            for one in entry.bases:
                base = rules.urls.join(base, one) or base
            url = rules.urls.join(base, entry.url)
            if url is None:
                self.unusable.append(entry.url)
                continue
            host = host_key(url)
            reason = rules.scope.judge(url, host, self._depth, kind.value)
            if not reason and kind is not Kind.PAGE:
                if link.hops >= MAX_NESTING:
                    reason = "tooNested"
                elif _foreign(link, rules, url, host):
                    reason = "sitemapForeign"
            yield url, host, fingerprint(url, host), kind.value, reason


def _foreign(link: CrawlUrl, rules: ListingSettings, url: str, host: str) -> bool:
    if registered_domain(host) == registered_domain(link.host):
        return False
    return rules.scope.judge(url, host, link.depth, Kind.PAGE.value) == "outOfScope"
