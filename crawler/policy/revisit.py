"""How soon a page is worth another visit: oftener while it changes, more rarely while it does not.

Nutch's adaptive schedule: the interval grows by 0.4 of itself when nothing changed and shrinks by
0.2 when something did, within bounds. Pure.
"""

from __future__ import annotations

from typing import Final

GROW: Final = 1.4
SHRINK: Final = 0.8

FIRST: Final = 86_400.0
"""Seconds until the first revisit: a day."""

SHORTEST: Final = 3600.0
LONGEST: Final = 90 * 86_400.0


def next_interval(before: float | None, *, changed: bool) -> float:
    """The interval in seconds after a revisit; `before` None: it was the first one."""
    interval = (FIRST if before is None else before) * (SHRINK if changed else GROW)
    return min(max(interval, SHORTEST), LONGEST)
