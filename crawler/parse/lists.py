"""What is no page but a list: a robots.txt, a sitemap, a feed, as an Extract."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

from crawler.model import Extract, Found, Kind, Link
from crawler.parse.decode import stream
from crawler.parse.sitemap import Entry, read_listing
from crawler.robots import MAX_BYTES, whole_lines
from crawler.scope import Scope
from crawler.urls import Urls, fingerprint, host_key, registered_domain

MAX_NESTING: Final = 10
"""Sitemaps inside sitemaps. The standard knows one level; a ring of them would never end."""


class Rules(Protocol):
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


def read_robots_file(body: bytes | Path, encodings: str) -> Extract:
    """The first half megabyte of a robots.txt, decoded, cut at a line; more is not unpacked."""
    text = bytearray()
    problems: list[str] = []
    for piece in stream(body, encodings, problems):
        text += piece
        if len(text) > MAX_BYTES:
            break
    kept = whole_lines(bytes(text))
    digest = f"sha256:{hashlib.sha256(kept).hexdigest()}"
    return Extract(bytes_body=len(kept), digest=digest, body=kept, problems=tuple(problems))


def read_list(
    link: Link, rules: Rules, content_type: str, body: bytes | Path, encodings: str
) -> Extract:
    """The addresses in a sitemap or a feed, judged, the most important first.

    They are as deep as the list itself: reading a list is no click. A list of lists may name only
    lists of its own registered domain or of hosts in scope. Raises ParseError for hostile XML.
    """
    began = time.perf_counter()
    problems: list[str] = []
    meter = _Meter(stream(body, encodings, problems), keep=rules.keep_body)
    listing = read_listing(meter)
    pages, lists = listing.ordered()
    found = {one[0]: one for one in _judged(link, rules, lists, link.kind)}
    for one in _judged(link, rules, pages, Kind.PAGE):
        found.setdefault(one[0], one)
    return Extract(
        found=tuple(found.values()),
        mime=content_type.partition(";")[0].strip().lower(),
        bytes_body=meter.size,
        digest=meter.digest,
        problems=(*problems, *listing.problems)[:20],
        parse_ms=(time.perf_counter() - began) * 1000,
        body=meter.body,
    )


def _judged(link: Link, rules: Rules, entries: list[Entry], kind: Kind) -> Iterator[Found]:
    for entry in entries:
        url = rules.urls.join(link.url, entry.url)
        if url is None:
            continue
        host = host_key(url)
        reason = rules.scope.judge(url, host, link.depth, kind.value)
        if not reason and kind is not Kind.PAGE:
            if link.hops >= MAX_NESTING:
                reason = "tooNested"
            elif _foreign(link, rules, url, host):
                reason = "sitemapForeign"
        yield url, host, fingerprint(url, host), kind.value, reason


def _foreign(link: Link, rules: Rules, url: str, host: str) -> bool:
    if registered_domain(host) == registered_domain(link.host):
        return False
    return rules.scope.judge(url, host, link.depth, Kind.PAGE.value) == "outOfScope"
