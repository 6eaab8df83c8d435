"""Markup cut down to what a parser can take: characters, tags, depth, attributes. Pure.

turbohtml needs time that grows with the page alone, but memory for each character and tag: a third
of a gigabyte for ten megabytes of `<b>`. lexbor, measured before it, took quadratic time as well
(100 000 nested `div` 9 s, 100 000 attributes 15 s), and BeautifulSoup, which plugins may ask for,
recurses with the depth. Real pages are far below these bounds; below `LOOK` tags nobody looks.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Final

MAX_TAGS: Final = 150_000
"""Tags read of a page, end tags included."""

LOOK: Final = 10_000
"""Below so many tags no depth can hurt: linear time here, 80 ms in lexbor (measured)."""

MAX_DEPTH: Final = 2_000
"""Elements open at a time; browsers stop at 512."""

LONG_TAG: Final = 4_096
"""Characters without a `>` after which somebody looks whether it is a tag with a lot in it."""

MAX_CHARACTERS: Final = 4_000_000
"""Of a page; each takes up to 20 bytes while it is parsed (measured)."""

MAX_NULS: Final = 1_000
"""NUL characters left to the parser, which ignores them at 35 bytes each."""

LARGE: Final = 1_000_000
"""Characters of a page above which all its attributes are counted; each costs 240 bytes."""

MOST_ATTRIBUTES: Final = 150_000
"""Of all tags of a page together."""

MAX_ATTRIBUTES: Final = 1_000
"""Attributes of one tag; a tag that has more is left out."""

KNOWN_TAGS: Final = 1_000

_NAMES: Final = re.compile(r"<(/?[a-zA-Z][a-zA-Z0-9-]*)")
_TAG: Final = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9-]*)")
_START: Final = re.compile(r"<[a-zA-Z]")
_NAME: Final = re.compile(r"[^\s=]+")
_QUOTED: Final = re.compile(r"\"[^\"]*\"|'[^']*'")

_NO_DEPTH: Final = frozenset(
    {
        # void elements
        "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param",
        "source", "track", "wbr",
        # their end tag may be left out, so that they do not nest by themselves
        "p", "li", "dt", "dd", "tr", "td", "th", "option", "optgroup", "thead", "tbody", "tfoot",
        "colgroup", "rt", "rp", "body", "head", "html",
    }
)  # fmt: skip


class _Steps(dict[str, int]):
    """What a tag (`div`, `/div`) does to the depth; remembers the usual ones."""

    def __missing__(self, tag: str) -> int:
        name = tag.removeprefix("/").lower()
        step = 0 if name in _NO_DEPTH else 1 if name == tag.lower() else -1
        if len(self) < KNOWN_TAGS:
            self[tag] = step
        return step


_STEPS: Final = _Steps()


def within_bounds(text: str, problems: list[str]) -> str:
    """The text, or the part of it that is within bounds; `problems` then says so."""
    if len(text) > MAX_CHARACTERS:
        problems.append(f"{len(text)} characters, the first {MAX_CHARACTERS} read")
        text = text[:MAX_CHARACTERS]
    nuls = text.count("\0")
    if nuls > MAX_NULS:
        text = text.replace("\0", "")
        problems.append(f"{nuls} NUL characters left out")
    text = _without_long_tags(text, problems)
    tags = text.count("<")
    if tags > MAX_TAGS:
        text = text[: _nth(text, MAX_TAGS)]
        problems.append(f"{tags} tags, the first {MAX_TAGS} read")
    if len(text) > LARGE:
        text = _few_attributes(text, problems)
    return text if tags <= LOOK else _shallow(text, problems)


def _nth(text: str, number: int) -> int:
    position = -1
    for _ in range(number):
        position = text.index("<", position + 1)
    return position


def _few_attributes(text: str, problems: list[str]) -> str:
    """Up to the tag whose attributes would be too many in all."""
    count = position = 0
    while (start := _START.search(text, position)) is not None:
        close = text.find(">", start.end())
        close = len(text) if close < 0 else close
        count += len(text[start.end() : close].split()) - 1
        if count > MOST_ATTRIBUTES:
            problems.append(f"more than {MOST_ATTRIBUTES} attributes, the rest is not read")
            return text[: start.start()]
        position = close
    return text


def _shallow(text: str, problems: list[str]) -> str:
    """Up to the first element that would be open below `MAX_DEPTH` others."""
    # How far the sum of all steps ever rises above its lowest is as deep as it can get: ten times
    # quicker than to follow it, and enough for all but made pages.
    sums = list(accumulate(map(_STEPS.__getitem__, _NAMES.findall(text)), initial=0))
    if max(sums) - min(sums) <= MAX_DEPTH:
        return text
    depth = 0
    for match in _TAG.finditer(text):
        if match[2].lower() in _NO_DEPTH:
            continue
        depth = max(0, depth - 1) if match[1] else depth + 1
        if depth > MAX_DEPTH:
            problems.append(f"elements nest deeper than {MAX_DEPTH}, the rest is not read")
            return text[: match.start()]
    return text


def _without_long_tags(text: str, problems: list[str]) -> str:
    """Leave out tags with too many attributes; looks only where no `>` stands for long."""
    pieces: list[str] = []
    kept = position = 0
    end = len(text)
    while end - position > LONG_TAG:
        near = text.rfind(">", position, position + LONG_TAG)
        if near >= 0:
            position = near + 1
            continue
        close = text.find(">", position + LONG_TAG)
        close = end - 1 if close < 0 else close
        start = _START.search(text, position, close)
        if start is not None and close - start.start() > LONG_TAG:
            inside = _QUOTED.sub(" x", text[start.start() : close])
            if any(number > MAX_ATTRIBUTES for number, _ in enumerate(_NAME.finditer(inside))):
                pieces.append(text[kept : start.start()])
                kept = close + 1
        position = close + 1
    if not pieces:
        return text
    problems.append(f"{len(pieces)} tags with more than {MAX_ATTRIBUTES} attributes left out")
    return "".join([*pieces, text[kept:]])
