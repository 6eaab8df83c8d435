"""A page's strings as one line of text, every run of white space as one space. Pure.

The reference of the compiled loop (crawler/parse/native.py), and what runs where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

HUGE: Final = 100_000
"""Characters of text beyond which memory matters more than speed."""

BLANKS: Final = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
    "\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""What `str.isspace` calls so, beside the space; nine of them are ASCII."""

_RUN: Final = re.compile(" {2,}")


def joined(strings: Iterable[str]) -> str:
    """As `" ".join(" ".join(strings).split())`."""
    return one_spaced(" ".join(strings))


def one_spaced(text: str) -> str:
    """Runs of white space as one space; a huge text piecewise, its words are ten times its size."""
    if len(text) <= HUGE:
        # As `" ".join(text.split())`, for two thirds of it: few kinds are there, few runs are long.
        for one in BLANKS[:9] if text.isascii() else BLANKS:
            if one in text:
                text = text.replace(one, " ")
        if "  " in text:
            text = _RUN.sub(" ", text)
        return text.strip(" ")
    pieces = []
    for start in range(0, len(text), HUGE):
        piece = text[start : start + HUGE]
        before, after = (" " if piece[at].isspace() else "" for at in (0, -1))
        pieces.append(before + " ".join(piece.split()) + after)
    text = "".join(pieces)
    pieces.clear()
    return re.sub(" {2,}", " ", text).strip() if "  " in text else text.strip()
