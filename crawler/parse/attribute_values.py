"""What is inside the values of attributes and headers: srcset, refresh, charset. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

SPACE: Final = "\t\n\f\r "
"""ASCII white space, as HTML has it."""

_REFRESH: Final = re.compile(
    r"[\t\n\f\r ]*+(?:[0-9]++[0-9.]*+|(?=\.)[0-9.]++)(?:[\t\n\f\r ]*+[;,]|[\t\n\f\r ])"
    r"[\t\n\f\r ]*+(?:url[\t\n\f\r ]*+=[\t\n\f\r ]*+)?(?:(?P<q>['\"])(?P<quoted>.*)|(?P<url>.*))",
    re.IGNORECASE | re.DOTALL,
)


_CHARSET: Final = re.compile(
    r"charset[\t\n\f\r ]*+=[\t\n\f\r ]*+"
    r"(?:\"([^\"]*+)\"|'([^']*+)'|([^\t\n\f\r ;\"'][^\t\n\f\r ;]*+))",
    re.IGNORECASE,
)


def content_charset(value: str) -> str:
    """The charset in a `<meta http-equiv=content-type content=…>`; "" for none.

    WHATWG HTML, "extracting a character encoding from a meta element".
    """
    match = _CHARSET.search(value)
    return "" if match is None else next((one for one in match.groups() if one), "")


def refresh_url(value: str) -> str:
    """Where a `<meta http-equiv=refresh>` or a Refresh header leads; "" where it only reloads.

    WHATWG HTML, "shared declarative refresh steps". What stands behind a quote that is not closed
    counts, as there.
    """
    match = _REFRESH.match(value)
    if match is None:
        return ""
    url = match["url"] if match["q"] is None else match["quoted"].partition(match["q"])[0]
    return url.strip(SPACE)


def parse_srcset(srcset: str) -> Iterator[str]:
    """The URLs of a srcset attribute (WHATWG HTML, "parse a srcset attribute")."""
    position, end = 0, len(srcset)
    while position < end:
        while position < end and srcset[position] in SPACE + ",":
            position += 1
        start = position
        while position < end and srcset[position] not in SPACE:
            position += 1
        url = srcset[start:position]
        if not url:
            return
        if url.endswith(","):
            yield url.rstrip(",")
            continue
        yield url
        depth = 0
        while position < end and (depth or srcset[position] != ","):
            depth += {"(": 1, ")": -1}.get(srcset[position], 0)
            depth = max(depth, 0)
            position += 1
