"""Lists of addresses: sitemaps (XML, index, text), gzipped or not, and feeds that serve as such.

By sitemaps.org: at most 50,000 addresses and 50 MB, beyond which the rest is not read and said to
be so. Streamed: memory holds the addresses, never the file.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

import msgspec

from crawler.errors import ParseError
from crawler.parse.decode import unpack
from crawler.parse.feed import Feed, read_json_feed
from crawler.parse.utf8 import in_utf8
from crawler.parse.xml import StopReading, XmlElement, XmlReader

MAX_URLS: Final = 50_000
MAX_BYTES: Final = 50 * 1024 * 1024
MAX_LINE: Final = 64 * 1024

TOO_MANY_ENTRIES: Final = "tooManyEntries"

_GZIP: Final = b"\x1f\x8b"
_SPACE: Final = b" \t\r\n\f\0"
_DATE: Final = re.compile(r"\d{4}(-\d\d(-\d\d(T[\d:.]+)?)?)?")
_FEEDS: Final = frozenset({"rss", "rdf", "feed"})
_RECORDS: Final = frozenset({"url", "sitemap", "item", "entry"})
_ROOTS: Final = frozenset({b"urlset", b"sitemapindex", b"rss", b"rdf", b"feed"})
_SITEMAPS: Final = frozenset({b"urlset", b"sitemapindex"})
_ROOT: Final = re.compile(
    rb"<\?xml\s|<([\w.-]+:)?(urlset|sitemapindex|rss|rdf|feed)[\s>]", re.IGNORECASE
)
_FIRST_TAG: Final = re.compile(
    rb"(?:\s|<\?[^>]*+>|<!--.*?-->|<![^-][^>\[]*+>)*+<([\w.:-]+)[\s>]", re.DOTALL
)

HEAD: Final = 4096
"""Bytes by which a list is told."""


class SitemapEntry(msgspec.Struct, gc=False):
    """One address of a list. `changed` is its lastmod as written, "" for none; `bases` are the
    xml:base attributes that it is relative to, each to the one before and the first to the list.
    """

    url: str
    changed: str = ""
    priority: float = 0.5
    bases: tuple[str, ...] = ()


class Listing(msgspec.Struct):
    """What a list holds: pages, further lists of the same `kind`, what was wrong."""

    kind: str = ""  # urlset, index, text, rss, atom, json; nothing: not a list
    pages: list[SitemapEntry] = msgspec.field(default_factory=list)
    lists: list[SitemapEntry] = msgspec.field(default_factory=list)
    problems: list[str] = msgspec.field(default_factory=list)
    cut: str = ""  # the limit that left entries out

    def add(self, entry: SitemapEntry, *, nested: bool = False) -> None:
        """Raises Enough when the list is longer than one may be."""
        if not entry.url:
            return
        if len(self.pages) + len(self.lists) >= MAX_URLS:
            self.end_at(f"{MAX_URLS} addresses")
            raise StopReading
        (self.lists if nested else self.pages).append(entry)

    def end_at(self, most: str) -> None:
        """Note that a limit left the rest out."""
        self.problems.append(f"more than {most}: the rest is not read")
        self.cut = TOO_MANY_ENTRIES

    def ordered(self) -> tuple[list[SitemapEntry], list[SitemapEntry]]:
        """Pages and lists, what matters most and changed last first; else as written."""
        for entries in (self.pages, self.lists):
            entries.sort(key=lambda entry: entry.changed, reverse=True)
            entries.sort(key=lambda entry: -entry.priority)
        return self.pages, self.lists


def read_listing(pieces: Iterable[bytes], charset: str = "") -> Listing:
    """`charset` is what HTTP says, "" for nothing. Raises ParseError for hostile XML; all else
    that is wrong is among the problems.
    """
    listing = Listing()
    try:
        head, stream = _opened(pieces, charset, listing)
        if head.startswith(b"<") or _ROOT.search(head):
            _read_xml(_from_its_start(head, stream, listing.problems), listing)
        elif head.startswith(b"{"):
            listing.kind = "json"
            read_json_feed(
                b"".join(stream),
                page=lambda url: listing.add(SitemapEntry(url)),
                more=lambda url: listing.add(SitemapEntry(url), nested=True),
                problems=listing.problems,
            )
        else:
            _read_text(stream, listing)
    except StopReading:
        pass
    return listing


def looks_like_list(pieces: Iterable[bytes], charset: str = "") -> bool:
    """Whether this is certainly a list, whatever it is called: its root, its form, or nothing
    but addresses; judged by its first bytes.
    """
    try:
        head, _ = _opened(pieces, charset, Listing())
    except ParseError:  # unknown layers of compression
        return False
    if head.startswith(b"<"):
        return _root(head) in _ROOTS
    if head.startswith(b"{"):
        return b"jsonfeed.org/version" in head
    lines = [line.strip().lower() for line in head.splitlines() if line.strip()]
    return bool(lines) and all(line.startswith((b"http://", b"https://")) for line in lines)


def looks_like_sitemap(pieces: Iterable[bytes], charset: str = "") -> bool:
    """Whether this is certainly a sitemap in XML, judged by its first bytes."""
    try:
        return _root(_opened(pieces, charset, Listing())[0]) in _SITEMAPS
    except ParseError:
        return False


def _root(head: bytes) -> bytes:
    """The first element's name without its prefix, in lower case; nothing: there is none."""
    root = _FIRST_TAG.match(head)
    return root[1].rpartition(b":")[2].lower() if root is not None else b""


def _opened(
    pieces: Iterable[bytes], charset: str, listing: Listing
) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes, and all: in UTF-8, and what is gzipped (by its magic, whatever it is
    called) is not.
    """
    problems = listing.problems
    stream = _bounded(pieces, listing)
    for _ in range(2):  # gzipped twice happens: once by the site, once by its server
        head, stream = _begun(stream, len(_GZIP))
        if not head.startswith(_GZIP):
            break
        stream = unpack(stream, "gzip", problems)
    head, stream = _begun(in_utf8(_bounded(stream, listing), charset, problems), HEAD)
    return head[:HEAD], stream


def _begun(pieces: Iterable[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes, `size` at least if there are as many, and all. White space before an XML
    declaration is common, and an error: it is taken away.
    """
    pieces = iter(pieces)
    head = b""
    for piece in pieces:
        head += piece
        if size > len(_GZIP):
            head = head.lstrip(_SPACE)
        if len(head) >= size:
            break
    return head, chain([head], pieces)


def _from_its_start(head: bytes, stream: Iterator[bytes], problems: list[str]) -> Iterator[bytes]:
    """Without the messages that a program printed before the list."""
    start = _ROOT.search(head)
    if head.startswith((b"<?", b"<!")) or start is None or not start.start():
        return stream
    problems.append(f"{start.start()} bytes before the list are not read")
    return chain([next(stream)[start.start() :]], stream)


def _bounded(pieces: Iterable[bytes], listing: Listing) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > MAX_BYTES:
            listing.end_at(f"{MAX_BYTES} bytes")
            yield piece[: len(piece) - (total - MAX_BYTES)]
            return
        yield piece


# ── XML ──────────────────────────────────────────────────────────────────────────────────────────


def _read_xml(pieces: Iterable[bytes], listing: Listing) -> None:
    reader: _Sitemap | Feed | None = None

    def begun(root: str) -> None:
        nonlocal reader
        if reader is not None:
            raise StopReading  # what follows the list is none of it
        if root in {"urlset", "sitemapindex"}:
            listing.kind = "urlset" if root == "urlset" else "index"
            reader = _Sitemap(listing)
        elif root in _FEEDS:
            listing.kind = "atom" if root == "feed" else "rss"
            reader = Feed(
                page=lambda url, bases: listing.add(SitemapEntry(url, bases=bases)),
                more=lambda url, bases: listing.add(SitemapEntry(url, bases=bases), nested=True),
            )
        else:
            listing.problems.append(f"neither sitemap nor feed: <{root[:40]}>")
            raise StopReading

    def ended(element: XmlElement, parent: str) -> None:
        assert reader is not None
        reader.ended(element, parent)

    XmlReader(begun, ended, _RECORDS).read(pieces, listing.problems)
    if reader is not None:
        reader.finish()


class _Sitemap:
    """A urlset or an index, with or without namespaces and extensions."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._entry = SitemapEntry("")
        self._nested = False
        self._alternates: list[str] = []
        self._empty = 0  # entries that ended, less the addresses that came

    def ended(self, element: XmlElement, parent: str) -> None:
        name = element.name
        if name in {"url", "sitemap"}:
            self._empty += 1
            self._add()
        elif parent in {"url", "sitemap"}:
            if name == "loc":
                self._located(element, nested=parent == "sitemap")
            elif name == "lastmod":
                match = _DATE.match(element.text)
                self._entry.changed = match[0] if match else ""
            elif name == "priority":
                self._entry.priority = _priority(element.text)
            elif name == "link" and element.attributes.get("rel", "").lower() == "alternate":
                self._alternates.append(element.attributes.get("href", "").strip())

    def finish(self) -> None:
        """The list is over, or broke off."""
        if self._entry.url:
            self._add()
        if self._empty > 0:
            self._listing.problems.append(f"{self._empty} entries without an address")

    def _located(self, element: XmlElement, *, nested: bool) -> None:
        url = element.text
        if url and self._entry.url:  # no </url> came between
            self._add()
        if url:
            self._empty -= 1
            self._entry.url, self._entry.bases, self._nested = url, element.bases, nested

    def _add(self) -> None:
        entry, self._entry = self._entry, SitemapEntry("")
        alternates, self._alternates = self._alternates, []
        self._listing.add(entry, nested=self._nested)
        for url in alternates:
            self._listing.add(SitemapEntry(url, entry.changed, entry.priority, entry.bases))


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
                    listing.add(SitemapEntry(address))
                elif address:
                    strange += 1
    finally:
        if strange:
            listing.problems.append(f"{strange} lines are no addresses")
