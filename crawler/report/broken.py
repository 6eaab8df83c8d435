"""Broken links, each with the pages that link to it, directly or through redirects."""

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

MAX_BROKEN: Final = 20_000
"""Broken links listed; further ones are counted."""

MAX_SOURCES: Final = 25
"""Linking pages listed for one broken link; further ones are counted."""

MAX_HOPS: Final = 10
"""Redirects between a page's link and the broken URL."""

_ROBOTS: Final = tuple(Kind).index(Kind.ROBOTS)


class LinkSource(msgspec.Struct, frozen=True):
    """A page with a link that breaks. `through` is the redirect that it links to; None: it links
    directly.
    """

    url: str
    through: str | None = None


class BrokenLink(msgspec.Struct, frozen=True):
    """A URL that failed and the pages that link to it. `pages` counts all of them."""

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
    sources: list[tuple[int, bytes]] = msgspec.field(default_factory=list)  # page id, linked key


def is_broken(url: str, reason: str, status: int | None) -> bool:
    """Whether a link is certainly broken, with all hosts treated as own."""
    return certainty(url, reason, status, own=True) == "broken"


def broken_links(
    folder: Path,
    reader: FrontierReader,
    *,
    accept: Sequence[int] = (),
    limit: int = MAX_BROKEN,
    matches: Callable[[str, str, int | None], bool] = is_broken,
) -> tuple[int, list[BrokenLink]]:
    """The number of broken links, and the `limit` with the most linking pages. Statuses in `accept`
    are not broken. `matches` is called with URL, reason and status of each failed link.

    Without graph.bin only the page on which a link was found first is known. Reads graph.bin once,
    and once more for each redirect on the longest chain that ends in a broken link.
    """
    entries: dict[bytes, _Entry] = {}
    count = 0
    for key, url, reason, status, via in reader.rows(_FAILED, _ROBOTS, FAILED):
        if status in accept or not matches(url, reason or "", status):
            continue
        count += 1
        if len(entries) < MAX_BROKEN:
            entries[key] = _Entry(url, reason or "", status, via)
    if entries and (folder / NAME).exists():
        _find_referrers(folder, reader, entries)
    ranked = sorted(entries.items(), key=lambda item: (-item[1].pages, item[1].url))[:limit]
    entries.clear()
    urls = reader.links({source for _, entry in ranked for source, _ in entry.sources})
    return count, [_to_broken_link(reader, key, entry, urls) for key, entry in ranked]


def _to_broken_link(
    reader: FrontierReader, key: bytes, entry: _Entry, urls: Mapping[int, LinkRecord]
) -> BrokenLink:
    sources = [
        LinkSource(urls[one].url, None if target == key else reader.url_of(target))
        for one, target in entry.sources
        if one in urls
    ]
    if not sources and entry.via:
        sources = [LinkSource(entry.via)]
    pages = max(entry.pages, len(sources))
    return BrokenLink(entry.url, entry.reason, entry.status, pages, tuple(sources))


def _find_referrers(folder: Path, reader: FrontierReader, entries: dict[bytes, _Entry]) -> None:
    """Add to each entry the pages that link to it, directly or through redirects."""
    targets: dict[bytes, tuple[bytes, ...]] = {
        key: (key,) for key in entries
    }  # key → entries that it leads to
    seen = set(targets)
    for _ in range(MAX_HOPS):
        redirects: dict[bytes, tuple[bytes, ...]] = {}
        batch: list[tuple[int, bytes]] = []
        target_keys = frozenset(targets)
        for edges in _current_edges(folder, reader):
            batch += [(edges.source, key) for key in target_keys.intersection(edges.keys)]
            if len(batch) > 10_000:
                _resolve_sources(reader, batch, targets, redirects, entries)
                batch.clear()
        _resolve_sources(reader, batch, targets, redirects, entries)
        targets = {key: ends for key, ends in redirects.items() if key not in seen}
        seen |= set(targets)
        if not targets:
            return


def _resolve_sources(
    reader: FrontierReader,
    batch: Sequence[tuple[int, bytes]],
    targets: dict[bytes, tuple[bytes, ...]],
    redirects: dict[bytes, tuple[bytes, ...]],
    entries: dict[bytes, _Entry],
) -> None:
    """Sort the sources of links: a redirect becomes a target of the next round, a page is a
    result.
    """
    known = reader.links({source for source, _ in batch})
    for source, target in batch:
        page = known.get(source)
        for end in targets[target]:
            if page is not None and page.state == MOVED:
                own = page.key
                redirects[own] = (*redirects.get(own, ()), end)
                continue
            entry = entries[end]
            entry.pages += 1
            if len(entry.sources) < MAX_SOURCES:
                entry.sources.append((source, target))


def _current_edges(folder: Path, reader: FrontierReader) -> Iterator[GraphEdges]:
    """The latest links of each page: after recrawls, older entries of a page are skipped."""
    spans = reader.spans("graph")
    if len(spans) == 1:
        yield from read_edges(folder / NAME)
        return
    seen = bytearray()  # by link id; newest run first, the first entry of a page is used
    for span in reversed(spans):
        for edges in read_edges(folder / NAME, span.start, span.end):
            if edges.source >= len(seen):
                seen.extend(bytes(edges.source + (1 << 16) - len(seen)))
            if not seen[edges.source]:
                seen[edges.source] = 1
                yield edges


def broken_in(folder: Path, accept: Sequence[int] = ()) -> tuple[int, list[BrokenLink]]:
    """`broken_links` of a crawl's folder."""
    with FrontierReader(folder / FRONTIER) as reader:
        return broken_links(folder, reader, accept=accept)


_FAILED: Final = (
    "SELECT link.key, link.url, link.reason, link.status, parent.url FROM link "
    "LEFT JOIN link AS parent ON parent.id = link.via "
    "WHERE link.kind <> ? AND "
    "link.state = ? AND coalesce(link.reason, '') NOT LIKE 'forbidden%' ORDER BY link.id"
)
"""Failed links with the page that they were found on. URLs that were never requested are not
broken: forbidden addresses, pages whose host's robots.txt was unreachable."""
