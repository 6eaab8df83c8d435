"""Markup cut down to what a parser has memory for: tags and attributes. Pure.

turbohtml needs time that grows with the page alone and no stack for depth (a million nested `div`
0.3 s, 92 MB), but memory for each element, attribute and character (20 bytes). Each bound here
costs as much as the plain text of a page of ten megabytes, some 200 MB, and is ten times what real
pages have: the largest of 40,000 pages of documentation, 6 MB, has 106,000 elements, 103,000
attributes and 28,000 links. A page on which one bites is recorded as not read whole, with the
bound's reason (docs/decisions/0107).
"""

from __future__ import annotations

import re
from typing import Final

MAX_TAGS: Final = 2_000_000
"""Start tags and comments of a page; each costs 96 bytes (measured), end tags cost nothing."""

MAX_ATTRIBUTES: Final = 1_000_000
"""Of all tags of a page together; each costs 150 bytes (measured)."""

MAX_NULS: Final = 1_000
"""NUL characters left to the parser, which ignores them at 48 bytes each."""

LARGE: Final = 2 * MAX_ATTRIBUTES
"""Characters below which no page can be out of bounds: nobody looks."""

TOO_MANY_TAGS: Final = "tooManyTags"
TOO_MANY_ATTRIBUTES: Final = "tooManyAttributes"

_BEGINS: Final = re.compile(r"<(?:(!--)|([a-zA-Z][^\s/>]*+))")
_ATTRIBUTE: Final = re.compile(
    r"[\s/]*+(?:([^\s/>][^\s/>=]*+)(?:\s*+=\s*+(?:\"[^\"]*+\"?|'[^']*+'?|[^\s>]*+))?+)?+"
)
_RAW: Final = frozenset({"script", "style", "textarea", "title", "xmp", "noembed", "noframes"})
_SEPARATORS: Final = " \n\t\r\f/\"'"
"""One of them stands before every attribute."""


def within_bounds(text: str, problems: list[str], reasons: list[str]) -> str:
    """The text, or the part of it that is within bounds.

    `problems` then gets a sentence on what was left out, `reasons` the word for it.
    """
    if len(text) <= LARGE:
        return text
    nuls = text.count("\0")
    if nuls > MAX_NULS:
        text = text.replace("\0", "")
        problems.append(f"{nuls} NUL characters left out")
    if text.count("<") > MAX_TAGS or sum(map(text.count, _SEPARATORS)) > MAX_ATTRIBUTES:
        return _counted(text, problems, reasons)
    return text


def _counted(text: str, problems: list[str], reasons: list[str]) -> str:
    """Up to the tag that is one too many, or whose attributes are; what a tokenizer would not take
    for tags (in scripts, in comments) is none here either.
    """
    tags = attributes = position = 0
    while (begins := _BEGINS.search(text, position)) is not None:
        tags += 1
        if tags > MAX_TAGS:
            problems.append(f"more than {MAX_TAGS} tags, the rest is not read")
            reasons.append(TOO_MANY_TAGS)
            return text[: begins.start()]
        position = begins.end()
        if begins[1]:
            position = _after(text, "-->", position)
            continue
        while (attribute := _ATTRIBUTE.match(text, position)) is not None and attribute[1]:
            position = attribute.end()
            attributes += 1
            if attributes > MAX_ATTRIBUTES:
                problems.append(f"more than {MAX_ATTRIBUTES} attributes, the rest is not read")
                reasons.append(TOO_MANY_ATTRIBUTES)
                return text[: begins.start()]
        name = begins[2].lower()
        if name in _RAW:
            end = re.compile(rf"</{name}[\s/>]", re.IGNORECASE).search(text, position)
            position = len(text) if end is None else end.start()
    return text


def _after(text: str, end: str, position: int) -> int:
    at = text.find(end, position)
    return len(text) if at < 0 else at + len(end)
