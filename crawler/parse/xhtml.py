"""XHTML made readable for a parser of HTML: elements that XML knows to be empty get an end tag.

To HTML `<script src="a.js"/>` is a start tag, and the rest of the page a script. A strict parser of
XML would stop at the first entity it was not told of, or at the first stray `&`, of which pages
that are sent as XHTML have many; so only what makes a difference is changed. Pure.
"""

from __future__ import annotations

import re
from typing import Final

_EMPTY: Final = re.compile(
    r"<([a-zA-Z][\w:.-]*+)"
    r"((?:\s++[^\s\"'<>/=]++(?:\s*+=\s*+(?:\"[^\"]*+\"|'[^']*+'))?+)*+)\s*+/>"
)
_VOID: Final = frozenset(
    {
        "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param",
        "source", "track", "wbr",
    }
)  # fmt: skip
_ROOT: Final = re.compile(rb"<html\s[^>]*?xmlns\s*=\s*[\"']http://www\.w3\.org/1999/xhtml[\"']")

HEAD: Final = 2048
"""Bytes in which a document's root element is looked for."""


def is_xhtml(body: bytes) -> bool:
    """Whether a document sent as plain XML is a page: browsers go by the namespace."""
    return _ROOT.search(body, 0, HEAD) is not None


def as_html(text: str) -> str:
    """`<a id="x"/>` as `<a id="x"></a>`; void elements stay as they are."""
    return _EMPTY.sub(_closed, text) if "/>" in text else text


def _closed(match: re.Match[str]) -> str:
    name, attributes = match.groups()
    return match[0] if name in _VOID else f"<{name}{attributes}></{name}>"
