"""XML from strangers, streamed: expat, with everything off that is a weapon.

Entity declarations (billion laughs, external entities) and external DTDs end the reading with a
ParseError; nothing is ever fetched. Memory is bounded: 64 KiB of input at a time, texts of 8 KiB,
elements nested 100 deep (docs/decisions/0016).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final
from xml.parsers import expat

from crawler.errors import ParseError

MAX_TEXT: Final = 8192
"""Characters of one element's text; a URL is refused from 2083 on."""

MAX_DEPTH: Final = 100

Ended = Callable[[str, str, str, Mapping[str, str]], None]
"""Called with an element's local name, its parent's, its text and its attributes."""


class Enough(Exception):
    """Raised by a reader that needs no more: the rest is not read."""


class Xml:
    """Calls `begun` with the root's local name, and `ended` for every element."""

    def __init__(self, begun: Callable[[str], None], ended: Ended) -> None:
        self._begun = begun
        self._ended = ended
        self._names: list[str] = []
        self._attributes: list[Mapping[str, str]] = []
        self._text: list[str] = []
        self._length = 0

    def read(self, pieces: Iterable[bytes], problems: list[str]) -> None:
        """Broken XML is a problem, what came before it counts. Raises ParseError when hostile."""
        # Prefixes are looked at, not resolved: half the sitemaps of the web declare none.
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = _doctype
        parser.EntityDeclHandler = _entity
        parser.ExternalEntityRefHandler = _external
        try:
            for piece in pieces:
                parser.Parse(piece, False)
            parser.Parse(b"", True)
        except Enough:
            return
        except expat.ExpatError as error:
            problems.append(f"broken XML, line {error.lineno}: {expat.ErrorString(error.code)}")

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        local = name.rpartition(":")[2]
        if not self._names:
            self._begun(local)
        elif len(self._names) >= MAX_DEPTH:
            raise ParseError("xml", f"elements nested more than {MAX_DEPTH} deep")
        self._names.append(local)
        self._attributes.append(attributes)
        self._text.clear()
        self._length = 0

    def _end(self, _name: str) -> None:
        local = self._names.pop()
        text = "".join(self._text).strip()
        self._text.clear()
        parent = self._names[-1] if self._names else ""
        self._ended(local, parent, text, self._attributes.pop())

    def _characters(self, text: str) -> None:
        if self._length < MAX_TEXT:
            self._text.append(text)
            self._length += len(text)


def _doctype(_name: str, system: str | None, public: str | None, _internal: bool) -> None:
    if system or public:
        raise ParseError("xml", "names an external DTD")


def _entity(*_: object) -> None:
    raise ParseError("xml", "declares an entity")


def _external(*_: object) -> int:
    raise ParseError("xml", "refers to an external entity")
