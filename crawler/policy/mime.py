"""Content-Type as browsers read it: header values to a type, and bytes to a type. Pure.

Fetch, "extract a MIME type"; MIME Sniffing, "parse a MIME type" and §7; what the standards leave
without a type is read as Chromium reads it (`text/html charset=utf-8`), so that no page is lost.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

_WORD: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_SPACE: Final = "\t\n\r "
_TYPE: Final = re.compile(rf"({_WORD}/{_WORD})[\t\n\r ]*+(?:;|\Z)")
_PARAMETER: Final = re.compile(
    r"[\t\n\r ]*+([^;=]*+)(?:=(?:\"((?:[^\"\\]|\\.|\\\Z)*+)(?:\"[^;]*+|\Z)|([^;]*+)))?+(?:;|\Z)",
    re.DOTALL,
)
_VALUE: Final = re.compile(r"[\t -~\x80-\xff]*+")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_VALUES: Final = re.compile(r"(?:[^\",]|\"(?:[^\"\\]|\\.|\\\Z)*+(?:\"|\Z))++", re.DOTALL)
"""At commas outside of quotes (Fetch, "get, decode, and split")."""

_LIKE: Final = re.compile(rf"[\t\n\r ]*+({_WORD}/{_WORD})")
_LIKE_CHARSET: Final = re.compile(r"charset[\t ]*+=[\t ]*+[\"']?([\w:.+-]++)", re.IGNORECASE)

UNKNOWN: Final = frozenset({"", "unknown/unknown", "application/unknown", "*/*"})
"""Types that say nothing: the bytes decide (MIME Sniffing §7)."""

_HTML: Final = re.compile(
    rb"\s*+<(?:!--|(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|"
    rb"br|p)[ >])",
    re.IGNORECASE,
)
_XML: Final = re.compile(rb"\s*+<\?xml", re.IGNORECASE)
_BOM: Final = b"\xef\xbb\xbf"

SNIFFED: Final = 1445
"""Bytes that are looked at, as in browsers."""


class Mime(NamedTuple):
    """A type without parameters (`text/html`), and the `charset` parameter; "" for none."""

    essence: str = ""
    charset: str = ""


@lru_cache(64)
def extract_mime(value: str) -> Mime:
    """What a Content-Type says, repeats of the header joined by commas."""
    essence = charset = last = ""
    for one in _VALUES.findall(value):
        mime = parse_mime(one)
        if mime is None or mime.essence == "*/*":
            continue
        essence = mime.essence
        charset = mime.charset or (charset if essence == last else "")
        last = essence
    if essence or not value:
        return Mime(essence, charset)
    like = _LIKE.match(value)
    if like is None or like[1] == "*/*":
        return Mime()
    named = _LIKE_CHARSET.search(value, like.end())
    return Mime(like[1].lower(), named[1] if named else "")


def parse_mime(value: str) -> Mime | None:
    """One type with its parameters; None: it is none."""
    value = value.strip(_SPACE)
    match = _TYPE.match(value)
    if match is None:
        return None
    position = match.end()
    while position < len(value):
        parameter = _PARAMETER.match(value, position)
        if parameter is None:  # cannot be
            break
        position = parameter.end()
        name, quoted, plain = parameter.groups()
        if name.lower() != "charset":
            continue
        said = _ESCAPE.sub(r"\1", quoted) if quoted is not None else (plain or "").rstrip(_SPACE)
        if (said or quoted is not None) and _VALUE.fullmatch(said):
            return Mime(match[1].lower(), said)
    return Mime(match[1].lower())


def sniff_mime(body: bytes) -> str:
    """HTML or XML by the first bytes of a body; "" for all else."""
    head = body[:SNIFFED].removeprefix(_BOM)
    if _HTML.match(head):
        return "text/html"
    return "text/xml" if _XML.match(head) else ""
