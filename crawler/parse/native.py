"""The loops over all of a page's characters: in C where that could be compiled, else in Python.

`_native.c` is compiled when the package is installed, if there is a compiler (docs/decisions/0078).
It gives what simhash.py and spaces.py give, to the bit, for a fifth of the time;
those are its reference, and what runs without it. Which of the two runs is chosen here, once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Final

from crawler.parse import simhash as fingerprints
from crawler.parse import whitespace

PURE: Final = "CRAWLER_PURE"
"""Set in the environment, what was compiled is left alone: to compare, or to rule it out."""

EDITION: Final = 2
"""Raised with every change of what a loop gives, here and in `_native.c`."""

MADE_FOR: Final = (EDITION, fingerprints.MOST, fingerprints.KEPT)


def _compiled() -> ModuleType | None:
    """None also for what an older source tree left behind: it might read pages differently."""
    if os.environ.get(PURE):
        return None
    try:
        from crawler.parse import _native  # noqa: PLC0415 - it may not be there
    except ImportError:
        return None
    return _native if _native.MADE_FOR == MADE_FOR else None


simhash: Callable[[str], int | None] = fingerprints.simhash
joined: Callable[[Iterable[str]], str] = whitespace.joined

_native = _compiled()
COMPILED: Final = _native is not None
if _native is not None:
    simhash, joined = _native.simhash, _native.joined
