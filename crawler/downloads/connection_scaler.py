"""Whether one more connection to a file pays. Pure; time and bytes are arguments.

Climb while it helps: twice as many connections, then the rate is measured anew; when it has not
grown by a tenth, the line (or the server, or our own CPU) is full: no more for this file.
"""

from __future__ import annotations

from typing import Final

WINDOW: Final = 0.3
"""Seconds over which a rate is measured; what TCP still grows looks like gain, and does no harm."""

GAIN: Final = 1.1

PATIENCE: Final = 2
"""Windows without gain after which the line is full: servers that shape send in bursts."""

MIN_PIECE: Final = 8 * 1024 * 1024
"""Bytes: a connection set up for less takes longer than it saves."""


class ConnectionScaler:
    """Asked again and again by one file's transfer."""

    def __init__(self, most: int) -> None:
        self.full = False
        self._most = most
        self._since: float | None = None
        self._bytes = 0
        self._before = 0.0  # bytes a second with fewer connections
        self._idle = 0  # windows in a row that brought no gain

    def more(self, now: float, received: int, connections: int) -> int:
        """How many connections to add, `received` being the file's bytes up to now."""
        if self.full or connections >= self._most:
            return 0
        if self._since is None:
            self._since, self._bytes = now, received
            return 0
        if now - self._since < WINDOW:
            return 0
        rate = (received - self._bytes) / (now - self._since)
        self._since, self._bytes = now, received
        if self._before and rate < GAIN * self._before:
            self._idle += 1
            self.full = self._idle >= PATIENCE
            return 0
        self._before, self._idle = rate, 0
        return min(connections, self._most - connections) if rate > 0 else 0


def halve(start: int, end: int, least: int = MIN_PIECE) -> int | None:
    """Where to cut what is still to come, from `start` to `end`; None: not worth it.

    On a boundary of a megabyte, so that pages of the disk's cache are written once.
    """
    if end - start < 2 * least:
        return None
    middle = (start + end) // 2
    aligned = middle & ~(2**20 - 1)
    return aligned if aligned > start else middle
