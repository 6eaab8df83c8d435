"""Broken links, each with the pages that link to it, also through redirects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from crawler.config.workdir import FRONTIER
from crawler.frontier.sqlite.lookup import FrontierReader, LinkRecord
from crawler.frontier.sqlite.statements import FAILED, MOVED
from crawler.output.graph import NAME, GraphEdges, read_edges
from crawler.records import Kind
from crawler.report.link_certainty import certainty

MOST: Final = 20_000
"""Broken links told one by one; the rest are counted."""

SOURCES: Final = 25
"""Pages named for one broken link; the rest are counted."""

MAX_HOPS: Final = 10

_ROBOTS: Final = tuple(Kind).index(Kind.ROBOTS)


class LinkSource(msgspec.Struct, frozen=True):
    """A page with a link that breaks. `through`: the redirect that it names; None: none."""

    url: str
    through: str | None = None


class BrokenLink(msgspec.Struct, frozen=True):
    """A URL that could not be had, and who sends people there. `pages` counts all of them."""

    url: str
    reason: str
    status: int | None
    pages: int
    sources: tuple[LinkSource, ...]


class _Entry(msgspec.Struct):
    url: str
    reason: str
    status: int | None
    via: str | None
    pages: int = 0
    sources: list[tuple[int, bytes]] = msgspec.field(default_factory=list)  # id, key it names


def surely(url: str, reason: str, status: int | None) -> bool:
    """Whether a link is broken for sure, all hosts being our own."""
    return certainty(url, reason, status, own=True) == "broken"


def broken_links(
    folder: Path,
    book: FrontierReader,
    *,
    accept: Sequence[int] = (),
    most: int = MOST,
    wanted: Callable[[str, str, int | None], bool] = surely,
) -> tuple[int, list[BrokenLink]]:
    """Their number, and the `most` that are linked most. Statuses in `accept` are not broken.
    `wanted` sees URL, reason and status of each link that failed.

    Without graph.bin only the page is known on which each was found first. One pass over graph.bin,
    and one more for each length of redirect chains that end in a broken link.
    """
    entries: dict[bytes, _Entry] = {}
    number = 0
    for key, url, reason, status, via in book.rows(_FAILED, _ROBOTS, FAILED):
        if status in accept or not wanted(url, reason or "", status):
            continue
        number += 1
        if len(entries) < MOST:
            entries[key] = _Entry(url, reason or "", status, via)
    if entries and (folder / NAME).exists():
        _referrers(folder, book, entries)
    ranked = sorted(entries.items(), key=lambda one: (-one[1].pages, one[1].url))[:most]
    entries.clear()
    urls = book.links({source for _, entry in ranked for source, _ in entry.sources})
    return number, [_told(book, key, entry, urls) for key, entry in ranked]


def _told(
    book: FrontierReader, key: bytes, entry: _Entry, urls: Mapping[int, LinkRecord]
) -> BrokenLink:
    named = [
        LinkSource(urls[one].url, None if target == key else book.url_of(target))
        for one, target in entry.sources
        if one in urls
    ]
    if not named and entry.via:
        named = [LinkSource(entry.via)]
    pages = max(entry.pages, len(named))
    return BrokenLink(entry.url, entry.reason, entry.status, pages, tuple(named))


def _referrers(folder: Path, book: FrontierReader, entries: dict[bytes, _Entry]) -> None:
    """Note who links to the entries, directly or by way of redirects."""
    targets: dict[bytes, tuple[bytes, ...]] = {
        key: (key,) for key in entries
    }  # a key → the entries that it leads to
    seen = set(targets)
    for _ in range(MAX_HOPS):
        redirects: dict[bytes, tuple[bytes, ...]] = {}
        batch: list[tuple[int, bytes]] = []
        wanted = frozenset(targets)
        for edges in _current(folder, book):
            batch += [(edges.source, key) for key in wanted.intersection(edges.keys)]
            if len(batch) > 10_000:
                _sort_in(book, batch, targets, redirects, entries)
                batch.clear()
        _sort_in(book, batch, targets, redirects, entries)
        targets = {key: ends for key, ends in redirects.items() if key not in seen}
        seen |= set(targets)
        if not targets:
            return


def _sort_in(
    book: FrontierReader,
    batch: Sequence[tuple[int, bytes]],
    targets: dict[bytes, tuple[bytes, ...]],
    redirects: dict[bytes, tuple[bytes, ...]],
    entries: dict[bytes, _Entry],
) -> None:
    """A source that is a redirect is a target of the next round, a page is an answer."""
    known = book.links({source for source, _ in batch})
    for source, named in batch:
        page = known.get(source)
        for end in targets[named]:
            if page is not None and page.state == MOVED:
                own = page.key
                redirects[own] = (*redirects.get(own, ()), end)
                continue
            entry = entries[end]
            entry.pages += 1
            if len(entry.sources) < SOURCES:
                entry.sources.append((source, named))


def _current(folder: Path, book: FrontierReader) -> Iterator[GraphEdges]:
    """Each page's links as last seen: after recrawls, older entries of a page count no more."""
    spans = book.spans("graph")
    if len(spans) == 1:
        yield from read_edges(folder / NAME)
        return
    seen = bytearray()  # one byte a link id: newest run first, the first entry of a page counts
    for span in reversed(spans):
        for edges in read_edges(folder / NAME, span.start, span.end):
            if edges.source >= len(seen):
                seen.extend(bytes(edges.source + (1 << 16) - len(seen)))
            if not seen[edges.source]:
                seen[edges.source] = 1
                yield edges


def broken_in(folder: Path, accept: Sequence[int] = ()) -> tuple[int, list[BrokenLink]]:
    """`broken_links` of a crawl's folder."""
    with FrontierReader(folder / FRONTIER) as book:
        return broken_links(folder, book, accept=accept)


_FAILED: Final = (
    "SELECT link.key, link.url, link.reason, link.status, parent.url FROM link "
    "LEFT JOIN link AS parent ON parent.id = link.via "
    "WHERE link.kind <> ? AND "
    "link.state = ? AND coalesce(link.reason, '') NOT LIKE 'forbidden%' ORDER BY link.id"
)
"""A host that is gone fails its links. What was not asked is not broken: an address that we do not
go to, a page whose host has no robots.txt for us at the moment."""
