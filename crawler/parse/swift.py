"""The loops over all of a page's characters: in C where that could be compiled, else in Python.

`_swift.c` is compiled when the package is installed, if there is a compiler (docs/decisions/0078).
It gives what simhash.py, spaces.py and bounds.py give, to the bit, for a fifth of the time;
those are its reference, and what runs without it. Which of the two runs is chosen here, once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Final

from crawler.parse import bounds, spaces
from crawler.parse import simhash as fingerprints

PURE: Final = "CRAWLER_PURE"
"""Set in the environment, what was compiled is left alone: to compare, or to rule it out."""

EDITION: Final = 1
"""Raised with every change of what a loop gives, here and in `_swift.c`."""

MADE_FOR: Final = (
    EDITION, fingerprints.MOST, fingerprints.KEPT, bounds.MAX_TAGS, bounds.LOOK, bounds.MAX_DEPTH,
    bounds.LONG_TAG, bounds.MAX_NULS, bounds.LARGE, bounds.MOST_ATTRIBUTES, bounds.MAX_CHARACTERS,
)  # fmt: skip


def _compiled() -> ModuleType | None:
    """None also for what an older source tree left behind: it might read pages differently."""
    if os.environ.get(PURE):
        return None
    try:
        from crawler.parse import _swift  # noqa: PLC0415 - it may not be there
    except ImportError:
        return None
    return _swift if _swift.MADE_FOR == MADE_FOR else None


def _quickly(within: Callable[[str], bool]) -> Callable[[str, list[str]], str]:
    """Most pages are within bounds, and one look says so."""

    def within_bounds(text: str, problems: list[str]) -> str:
        return text if within(text) else bounds.within_bounds(text, problems)

    return within_bounds


simhash: Callable[[str], int | None] = fingerprints.simhash
joined: Callable[[Iterable[str]], str] = spaces.joined
within_bounds: Callable[[str, list[str]], str] = bounds.within_bounds

_swift = _compiled()
COMPILED: Final = _swift is not None
if _swift is not None:
    simhash, joined = _swift.simhash, _swift.joined
    within_bounds = _quickly(_swift.within)
