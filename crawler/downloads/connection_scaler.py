"""Decide whether another connection makes a download faster. Pure; time and bytes are arguments.

The number of connections is doubled as long as that helps: after each step the rate is measured
again, and when it has not grown by a tenth, the network, the server or the local CPU is saturated
and no connection is added for this file.
"""

from __future__ import annotations

from typing import Final

MEASURE_WINDOW_S: Final = 0.3
"""Seconds over which a rate is measured. Growth from TCP slow start looks like a gain; that does no
harm."""

MIN_RATE_GAIN: Final = 1.1
"""Factor by which the rate must grow for more connections to count as a gain."""

MAX_WINDOWS_WITHOUT_GAIN: Final = 2
"""Windows without gain after which the connection is saturated; servers that shape traffic send in
bursts, so one window is not enough."""

MIN_SEGMENT_BYTES: Final = 8 * 1024 * 1024
"""For fewer bytes, setting up a connection takes longer than it saves."""


class ConnectionScaler:
    """Called periodically by the download of one file; `saturated` once more connections do not
    help.
    """

    def __init__(self, max_connections: int) -> None:
        self.saturated = False
        self._max_connections = max_connections
        self._window_start: float | None = None
        self._window_start_bytes = 0
        self._previous_rate = 0.0  # bytes a second with fewer connections
        self._windows_without_gain = 0  # windows in a row that brought no gain

    def connections_to_add(self, now: float, received: int, connections: int) -> int:
        """The number of connections to add. `now` is in seconds (monotonic), `received` is the
        number of bytes of the file received so far.
        """
        if self.saturated or connections >= self._max_connections:
            return 0
        if self._window_start is None:
            self._window_start, self._window_start_bytes = now, received
            return 0
        if now - self._window_start < MEASURE_WINDOW_S:
            return 0
        rate = (received - self._window_start_bytes) / (now - self._window_start)
        self._window_start, self._window_start_bytes = now, received
        if self._previous_rate and rate < MIN_RATE_GAIN * self._previous_rate:
            self._windows_without_gain += 1
            self.saturated = self._windows_without_gain >= MAX_WINDOWS_WITHOUT_GAIN
            return 0
        self._previous_rate, self._windows_without_gain = rate, 0
        return min(connections, self._max_connections - connections) if rate > 0 else 0


def split_point(start: int, end: int, min_bytes: int = MIN_SEGMENT_BYTES) -> int | None:
    """The offset at which the remaining bytes from `start` to `end` are split; None: too few to
    split.

    Aligned to a mebibyte, so that pages of the disk cache are written only once.
    """
    if end - start < 2 * min_bytes:
        return None
    middle = (start + end) // 2
    aligned = middle & ~(2**20 - 1)
    return aligned if aligned > start else middle
