"""Lists of addresses: sitemaps (XML, index, text), gzipped or not, and feeds that serve as such.

By sitemaps.org: at most 50,000 addresses and 50 MB, beyond which the rest is not read and said to
be so. Streamed: memory holds the addresses, never the file.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Final

import msgspec

from crawler.parse.decode import unpack
from crawler.parse.feed import Feed, read_json_feed
from crawler.parse.xml import Enough, Xml

MAX_URLS: Final = 50_000
MAX_BYTES: Final = 50 * 1024 * 1024
MAX_LINE: Final = 64 * 1024

_GZIP: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = b" \t\r\n\f\0"
_DATE: Final = re.compile(r"\d{4}(-\d\d(-\d\d(T[\d:.]+)?)?)?")
_FEEDS: Final = frozenset({"rss", "RDF", "feed"})


class Entry(msgspec.Struct, gc=False):
    """One address of a list. `changed` is its lastmod as written, "" for none."""

    url: str
    changed: str = ""
    priority: float = 0.5


class Listing(msgspec.Struct):
    """What a list holds: pages, further lists of the same `kind`, what was wrong."""

    kind: str = ""  # urlset, index, text, rss, atom, json; nothing: not a list
    pages: list[Entry] = msgspec.field(default_factory=list)
    lists: list[Entry] = msgspec.field(default_factory=list)
    problems: list[str] = msgspec.field(default_factory=list)

    def add(self, entry: Entry, *, nested: bool = False) -> None:
        """Raises Enough when the list is longer than one may be."""
        if not entry.url:
            return
        if len(self.pages) + len(self.lists) >= MAX_URLS:
            self.problems.append(f"more than {MAX_URLS} addresses: the rest is not read")
            raise Enough
        (self.lists if nested else self.pages).append(entry)

    def ordered(self) -> tuple[list[Entry], list[Entry]]:
        """Pages and lists, what matters most and changed last first; else as written."""
        for entries in (self.pages, self.lists):
            entries.sort(key=lambda entry: entry.changed, reverse=True)
            entries.sort(key=lambda entry: -entry.priority)
        return self.pages, self.lists


def read_listing(pieces: Iterable[bytes]) -> Listing:
    """Raises ParseError for hostile XML; all else that is wrong is among the problems."""
    listing = Listing()
    try:
        first, stream = _opened(_bounded(pieces, listing.problems), listing.problems)
        stream = _bounded(stream, listing.problems)
        if first.startswith(b"<") or first[:2] in {b"\xff\xfe", b"\xfe\xff"}:
            _read_xml(stream, listing)
        elif first.startswith(b"{"):
            listing.kind = "json"
            for url in read_json_feed(b"".join(stream), listing.problems):
                listing.add(Entry(url))
        else:
            _read_text(stream, listing)
    except Enough:
        pass
    return listing


def _opened(pieces: Iterator[bytes], problems: list[str]) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes, and all: what is gzipped (by its magic, whatever it is called) is not."""
    for _ in range(2):  # gzipped twice happens: once by the site, once by its server
        head = b""
        for piece in pieces:
            head += piece
            if len(head) > 1:
                break
        pieces = chain([head], pieces)
        if not head.startswith(_GZIP):
            break
        pieces = unpack(pieces, "gzip", problems)
    head = b""
    for piece in pieces:  # white space before an XML declaration is common, and an error
        head = (head + piece).lstrip(_SPACE)
        if len(head) > len(_BOM):
            head = head.removeprefix(_BOM).lstrip(_SPACE)
            break
    return head, chain([head], pieces)


def _bounded(pieces: Iterable[bytes], problems: list[str]) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > MAX_BYTES:
            problems.append(f"more than {MAX_BYTES} bytes: the rest is not read")
            yield piece[: len(piece) - (total - MAX_BYTES)]
            return
        yield piece


# ── XML ──────────────────────────────────────────────────────────────────────────────────────────


def _read_xml(pieces: Iterable[bytes], listing: Listing) -> None:
    reader: _Sitemap | Feed | None = None

    def begun(root: str) -> None:
        nonlocal reader
        if root in {"urlset", "sitemapindex"}:
            listing.kind = "urlset" if root == "urlset" else "index"
            reader = _Sitemap(listing)
        elif root in _FEEDS:
            listing.kind = "atom" if root == "feed" else "rss"
            reader = Feed(
                page=lambda url: listing.add(Entry(url)),
                more=lambda url: listing.add(Entry(url), nested=True),
            )
        else:
            listing.problems.append(f"neither sitemap nor feed: <{root[:40]}>")
            raise Enough

    def ended(name: str, parent: str, text: str, attributes: Mapping[str, str]) -> None:
        assert reader is not None
        reader.ended(name, parent, text, attributes)

    Xml(begun, ended).read(pieces, listing.problems)


class _Sitemap:
    """A urlset or an index, with or without namespaces and extensions."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._entry = Entry("")
        self._alternates: list[str] = []

    def ended(self, name: str, parent: str, text: str, attributes: Mapping[str, str]) -> None:
        if name in {"url", "sitemap"}:
            entry, self._entry = self._entry, Entry("")
            alternates, self._alternates = self._alternates, []
            self._listing.add(entry, nested=name == "sitemap")
            for url in alternates:
                self._listing.add(Entry(url, entry.changed, entry.priority))
        elif parent in {"url", "sitemap"}:
            if name == "loc":
                self._entry.url = text
            elif name == "lastmod":
                match = _DATE.match(text)
                self._entry.changed = match[0] if match else ""
            elif name == "priority":
                self._entry.priority = _priority(text)
            elif name == "link" and attributes.get("rel") == "alternate":
                self._alternates.append(attributes.get("href", "").strip())


def _priority(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.5
    return value if 0.0 <= value <= 1.0 else 0.5  # a NaN is neither


# ── text ─────────────────────────────────────────────────────────────────────────────────────────


def _read_text(pieces: Iterable[bytes], listing: Listing) -> None:
    """One absolute address a line (sitemaps.org, "text file"); other lines are counted."""
    listing.kind = "text"
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest, strange = "", 0
    try:
        for piece in chain(pieces, [b"\n"]):
            *lines, rest = (rest + decoder.decode(piece)).replace("\r", "\n").split("\n")
            rest = rest[:MAX_LINE]
            for line in lines:
                address = line.strip()
                if address.lower().startswith(("http://", "https://")):
                    listing.add(Entry(address))
                elif address:
                    strange += 1
    finally:
        if strange:
            listing.problems.append(f"{strange} lines are no addresses")
