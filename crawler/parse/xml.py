"""Stream untrusted XML through expat, with entities and external references switched off.

Entity declarations (billion laughs, external entities) end the reading with a ParseError; nothing
is ever fetched. Memory is bounded: 64 KiB of input at a time, texts of 8 KiB, elements nested 100
deep. What expat refuses is read leniently from the last good tag on (docs/decisions/0016, 0110).
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator, Mapping
from html.entities import html5
from itertools import chain
from typing import Final
from xml.parsers import expat

import msgspec

from crawler.errors import ParseError
from crawler.parse.malformed_xml import MAX_TAG, TokenKind, XmlScanner, XmlToken

MAX_TEXT: Final = 8192
"""Characters of one element's text; a URL is refused from 2083 on."""

MAX_DEPTH: Final = 100


class XmlElement(msgspec.Struct, gc=False):
    """An element: local name and names of attributes in lower case. `bases` are the xml:base
    attributes around it, the outermost first (XML Base §3).
    """

    name: str
    attributes: Mapping[str, str]
    bases: tuple[str, ...] = ()
    parts: list[str] = msgspec.field(default_factory=list)
    length: int = 0

    @property
    def text(self) -> str:
        """All its text, its children's not."""
        return "".join(self.parts).strip()


Ended = Callable[[XmlElement, str], None]
"""Called with an element that ended and its parent's name."""


class StopReading(Exception):
    """Raised by a reader that needs no more: the rest is not read."""


class XmlReader:
    """Calls `begun` with the root's local name, and `ended` for every element.

    `records` are the names of elements that stand side by side: where markup is broken, one that
    begins ends the one before.
    """

    def __init__(
        self, begun: Callable[[str], None], ended: Ended, records: frozenset[str] = frozenset()
    ) -> None:
        self._begun = begun
        self._ended = ended
        self._records = records
        self._open: list[XmlElement] = []
        self._parser: expat.XMLParserType
        self._at = -1  # where in the input the last tag began
        self._told = 0  # how many parts of text the open element had by then

    def read(self, pieces: Iterable[bytes], problems: list[str]) -> None:
        """`pieces` are UTF-8, whatever the declaration says. Where they are no XML, that is a
        problem, and all that can be told is read. Raises ParseError when hostile.
        """
        # Prefixes are looked at, not resolved: half the sitemaps of the web declare none.
        self._parser = parser = expat.ParserCreate("UTF-8")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.SkippedEntityHandler = self._skipped
        parser.EntityDeclHandler = _entity
        parser.ExternalEntityRefHandler = _external
        pieces = iter(pieces)
        kept, began = b"", 0  # the input from the last tag on, and where that is
        try:
            for piece in pieces:
                kept += piece
                parser.Parse(piece, False)
                came = began + len(kept)
                began = max(began, self._at if came - self._at <= MAX_TAG else came)
                kept = kept[began - came :] if began < came else b""
            parser.Parse(b"", True)
        except StopReading:
            pass
        except expat.ExpatError as error:
            what = expat.ErrorString(error.code)
            problems.append(f"broken XML, line {error.lineno}: {what}; read leniently from there")
            known = self._at >= began
            self._leniently(chain([kept[max(0, self._at - began) :]], pieces), known=known)

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        local = name.rpartition(":")[2].lower()
        around = self._open
        bases = around[-1].bases if around else ()
        if attributes:
            attributes = {key.lower(): value for key, value in attributes.items()}
            if base := attributes.get("xml:base"):
                bases = (*bases, base.strip())
        if not around:
            self._begun(local)
        elif len(around) >= MAX_DEPTH:
            raise ParseError("xml", f"elements nested more than {MAX_DEPTH} deep")
        around.append(XmlElement(local, attributes, bases))
        self._at = self._parser.CurrentByteIndex
        self._told = 0

    def _end(self, _name: str) -> None:
        element = self._open.pop()
        self._ended(element, self._open[-1].name if self._open else "")
        self._at = self._parser.CurrentByteIndex
        self._told = len(self._open[-1].parts) if self._open else 0

    def _characters(self, text: str) -> None:
        if self._open and self._open[-1].length < MAX_TEXT:
            self._open[-1].parts.append(text)
            self._open[-1].length += len(text)

    def _skipped(self, name: str, is_parameter: bool) -> None:
        """An entity that a DTD, which is never fetched, may declare: HTML's are known."""
        if not is_parameter:
            self._characters(html5.get(f"{name};", ""))

    # ── what is not XML ──────────────────────────────────────────────────────────────────────

    def _leniently(self, pieces: Iterable[bytes], *, known: bool) -> None:
        """Go on with the tag after the last; `known`: the input begins with that one."""
        if self._open:
            del self._open[-1].parts[self._told :]
        try:
            for token in _tokens(pieces):
                if known:
                    known = False
                elif token.what is TokenKind.TEXT:
                    self._characters(token.value)
                elif token.what is TokenKind.END:
                    self._close(token.value.rpartition(":")[2].lower())
                else:
                    self._imply_ends(token.value.rpartition(":")[2].lower())
                    self._start(token.value, token.attributes)
                    if token.empty:
                        self._end(token.value)
        except StopReading:
            pass

    def _close(self, name: str) -> None:
        """End an element and what is open in it; an end tag of nothing is passed over."""
        if any(one.name == name for one in self._open):
            while self._open[-1].name != name:
                self._end("")
            self._end(name)

    def _imply_ends(self, name: str) -> None:
        """What the start of an element ends, though no tag did: its like."""
        if name in self._records or (self._open and self._open[-1].name == name):
            self._close(name)


def _tokens(pieces: Iterable[bytes]) -> Iterator[XmlToken]:
    scanner = XmlScanner()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece in pieces:
        yield from scanner.feed(decoder.decode(piece))
    yield from scanner.feed(decoder.decode(b"", True), last=True)


def _entity(_name: str, is_parameter: bool, value: str | None, *_: object) -> None:
    # An external one of a DTD (XHTML's names for characters) is never fetched: it does no harm.
    if not is_parameter or value is not None:
        raise ParseError("xml", "declares an entity")


def _external(*_: object) -> int:
    raise ParseError("xml", "refers to an external entity")
