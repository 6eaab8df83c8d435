"""Read malformed XML as far as its meaning is clear. Never fails.

A bare `&` or `<` is a character, HTML's entities are known (none is declared, so none expands),
attributes need no quotes. Linear in time; memory holds a tag, or what comes between two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from html.entities import html5
from typing import Final, NamedTuple

MAX_TAG: Final = 64 * 1024
"""Characters of one tag; a longer one is text."""

_NAME: Final = r"([^\W\d][\w:.\-]*+)"
_TAG: Final = re.compile(rf"""<(/?){_NAME}((?:[^<>"']++|"[^"<]*+"|'[^'<]*+')*+)>""")
_TAG_WITH_OPEN_QUOTE: Final = re.compile(rf"<(/?){_NAME}([^<>]*+)>")
_PLAIN: Final = re.compile(r"(?:[^<]++|<(?=[^\w/!?:]|\d))++")
_ATTRIBUTE: Final = re.compile(
    r"""([^\s=<>"'/]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'<>]++)))?|.""", re.DOTALL
)
_REFERENCE: Final = re.compile(r"&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([A-Za-z]\w{1,31}));")
_LONGEST_REFERENCE: Final = 34
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")

_ASIDE: Final = re.compile(r"<(?:!--|!\[CDATA\[|!|\?)")
_ENDS: Final = {"<!--": "-->", "<![CDATA[": "]]>", "<?": "?>", "<!": ">"}
"""What begins with this ends with that; of all but CDATA nothing is told."""

_LONGEST_START: Final = 9


class TokenKind(Enum):
    """What a token is."""

    START = "start"
    END = "end"
    TEXT = "text"


class XmlToken(NamedTuple):
    """A tag with its name, or a piece of text; `empty` is a start tag that ends its element."""

    what: TokenKind
    value: str
    attributes: Mapping[str, str] = {}
    empty: bool = False


class XmlScanner:
    """Tells the tags and texts of markup that is fed to it in pieces."""

    def __init__(self) -> None:
        self._rest = ""
        self._until = ""  # what ends the comment, CDATA section … that is open

    def feed(self, piece: str, *, last: bool = False) -> Iterator[XmlToken]:
        """What is certain by now; with `last`, all."""
        text = self._rest + piece
        at = 0
        while at < len(text):
            if self._until:
                start, at, closed = at, *self._aside(text, at, last=last)
                if self._until == "]]>" and at > start:
                    yield _text(text[start:at])
                if not closed:
                    break
                at += len(self._until)
                self._until = ""
            elif match := _TAG.match(text, at):
                yield _tag(match)
                at = match.end()
            elif match := _PLAIN.match(text, at):
                whole = last or match.end() < len(text)
                end = match.end() if whole else _before_reference(text, at)
                if end == at:
                    break
                yield _text(_resolved(text[at:end]))
                at = end
            elif not last and len(text) - at < _LONGEST_START:
                break
            elif match := _ASIDE.match(text, at):
                at = match.end()
                self._until = _ENDS[match[0]]
            elif match := _TAG_WITH_OPEN_QUOTE.match(text, at):
                yield _tag(match)
                at = match.end()
            elif not last and text.find("<", at + 1) < 0 and len(text) - at < MAX_TAG:
                break  # its end is still to come
            else:
                yield _text("<")
                at += 1
        self._rest = text[at:]

    def _aside(self, text: str, at: int, *, last: bool) -> tuple[int, bool]:
        """How far what is open goes, and whether it ends there."""
        end = text.find(self._until, at)
        if end >= 0:
            return end, True
        return (len(text) if last else max(at, len(text) - len(self._until) + 1)), False


def _tag(match: re.Match[str]) -> XmlToken:
    slash, name, written = match.groups()
    if slash:
        return XmlToken(TokenKind.END, name)
    if not written:
        return XmlToken(TokenKind.START, name)
    attributes: dict[str, str] = {}
    for key, double, single, bare in _ATTRIBUTE.findall(written):
        if key:
            attributes.setdefault(key, _CONTROL.sub("", _resolved(double or single or bare)))
    return XmlToken(TokenKind.START, name, attributes, empty=written.endswith("/"))


def _text(text: str) -> XmlToken:
    return XmlToken(TokenKind.TEXT, _CONTROL.sub("", text) if _CONTROL.search(text) else text)


def _before_reference(text: str, at: int) -> int:
    """Where the text is whole: not within a reference that goes on in the next piece."""
    mark = text.rfind("&", max(at, len(text) - _LONGEST_REFERENCE))
    return len(text) if mark < 0 or ";" in text[mark:] else mark


def _resolved(text: str) -> str:
    return _REFERENCE.sub(_meant, text) if "&" in text else text


def _meant(match: re.Match[str]) -> str:
    decimal, hexadecimal, name = match.groups()
    if name:
        return html5.get(f"{name};", match[0])
    number = int(decimal) if decimal else int(hexadecimal, 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"
