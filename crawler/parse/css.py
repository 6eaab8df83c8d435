"""The URLs in a style sheet, with their places: `url(…)`, `@import "…"`, `image-set("…" 2x)`.

A lexer of the five tokens that matter (CSS Syntax Level 3, §4), because the places are needed to
replace a URL and leave every other byte alone; tinycss2, which has no end positions and needs
twenty times as long, is the oracle in the tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

_STRING: Final = r"""(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
_TOKEN: Final = re.compile(
    rf"""
      /\*.*?(?:\*/|\Z)
    | @namespace\b[^;{{}}]*
    | @import(?:\s|(?>/\*.*?\*/))*+(?P<imported>{_STRING})
    | (?<![\w\-\\\u0080-\uffff])url\(\s*(?:(?P<quoted>{_STRING})
        | (?P<bare>(?:[^\s"'()\\\x00-\x08\x0b\x0e-\x1f\x7f]
            |\\[0-9a-fA-F]{{1,6}}+\s?+|\\[^\n])*+)(?=\s*(?:\)|\Z)))
    | {_STRING}
    | "(?:[^"\\\n]|\\.)*
    | '(?:[^'\\\n]|\\.)*
    | \\.(?:[\w\-\u0080-\uffff]|\\.)*
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_SET: Final = re.compile(
    rf"""
      (?P<set>(?<![\w\-\\])(?:-webkit-)?image-set\(\s*)
    | (?P<open>\(\s*) | (?P<close>\)) | (?P<string>{_STRING})
    | {_TOKEN.pattern}
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
"""As `_TOKEN`, and parentheses: of the strings in an image set only those outside of further
functions (`type("image/png")`) are URLs (CSS Images Level 4, §2.4).
"""

_ESCAPE: Final = re.compile(r"\\(?:([0-9a-fA-F]{1,6})(?:\r\n|\s)?|(\r\n|\n)|(.))", re.DOTALL)


def css_urls(css: str) -> Iterator[str]:
    """The URLs as meant, escapes undone, in order; empty ones and fragments are left out."""
    for _, _, url in _places(css):
        if url and url[0] != "#":
            yield url


def replace_urls(css: str, replace: Callable[[str], str]) -> str:
    """The style sheet with each URL put through `replace`; what it returns unchanged stays."""
    out = []
    last = 0
    for start, end, url in _places(css):
        new = replace(url) if url and url[0] != "#" else url
        if new != url:
            out += [css[last:start], _written(new)]
            last = end
    return "".join([*out, css[last:]])


def _places(css: str) -> Iterator[tuple[int, int, str]]:
    """Start and end of each URL without its quotes, and what it means."""
    sets = "image-set(" in css or "IMAGE-SET(" in css.upper()
    if not sets and "url(" not in css and "@" not in css and "URL(" not in css.upper():
        return
    for match, name in _in_sets(css) if sets else _tokens(css):
        start, end = match.span(name)
        if name != "bare":
            start, end = start + 1, end - 1
        yield start, end, _unescaped(css[start:end]).strip("\t\n\f\r ")


def _tokens(css: str) -> Iterator[tuple[re.Match[str], str]]:
    """Tokens that name a URL, and the group that holds it."""
    for match in _TOKEN.finditer(css):
        if match.lastgroup is not None:
            yield match, match.lastgroup


def _in_sets(css: str) -> Iterator[tuple[re.Match[str], str]]:
    """The same where there are image sets, with their strings."""
    within: list[bool] = []  # of each parenthesis that is open: is it an image set's
    for match in _SET.finditer(css):
        name = match.lastgroup
        if name in {"set", "open"}:
            within.append(name == "set")
        elif name == "close":
            if within:
                within.pop()
        elif name == "string":
            if within and within[-1]:
                yield match, name
        elif name is not None:
            if name != "imported":
                within.append(False)  # what closes `url(` is still to come
            yield match, name


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_meant, text) if "\\" in text else text


def _meant(match: re.Match[str]) -> str:
    digits, newline, other = match.groups()
    if digits:
        number = int(digits, 16)
        bad = number == 0 or number > 0x10FFFF or 0xD800 <= number <= 0xDFFF
        return "\N{REPLACEMENT CHARACTER}" if bad else chr(number)
    return "" if newline else str(other)


def _written(url: str) -> str:
    """A URL that needs no escapes, inside quotes or bare."""
    return (
        url.replace("\\", "%5C")
        .replace('"', "%22")
        .replace("'", "%27")
        .replace("(", "%28")
        .replace(")", "%29")
        .replace(" ", "%20")
    )
