"""Deadlines that count only time in which we could run.

A laptop's lid closes, a terminal stops its job (SIGSTOP), a machine with too much to do lets nobody
run: the monotonic clock goes on, and no page is at fault. So both clocks here look often, and
count of a gap between two looks no more than can have been used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio  # 18 ms, which parse processes do without

PERIOD: Final = 1.0
"""Seconds between two looks of a Countdown."""

GAP: Final = 2.0
"""Seconds counted between two looks of a Countdown at most: a busy machine's delays count, a stop
of the whole process does not."""


class Overdue(BaseException):
    """The page's time is up. It passes every handler on its way, those for strangers' code too:
    not an Exception, so that what only catches these lets it pass by itself.
    """


def used(gap: float, worked: float, kept: float, tick: float) -> float:
    """Seconds to count of a `gap` between two looks that were to be `tick` apart, in which this
    process used `worked` seconds of CPU and for `kept` seconds had to wait for one. Pure.

    Code that computes uses CPU; code that sleeps or waits is woken for each look. What is left of
    a longer gap is time in which the process was stopped. Looks that come in time do not tell
    that CPUs were busy: who is woken runs at once, and between two looks only now and then.
    """
    return min(gap, max(worked, min(tick, gap - kept)))


def kept_waiting() -> float:
    """Seconds in which this thread could have run, had a CPU been free (Linux: sched-stats.rst);
    0.0 where the system does not tell.
    """
    try:
        with open("/proc/thread-self/schedstat", "rb") as file:  # noqa: PTH123 - loads nothing
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


class Countdown:
    """Calls `act` once, after so many seconds in which the event loop ran. `cancel` in time."""

    __slots__ = ("_act", "_at", "_left", "_loop", "_timer", "expired")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, seconds: float, act: Callable[[], None]
    ) -> None:
        self.expired = False
        self._loop = loop
        self._act = act
        self._left = seconds
        self._at = loop.time()
        self._timer = loop.call_later(min(PERIOD, seconds), self._look)

    def cancel(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        self._left -= min(now - self._at, GAP)
        self._at = now
        if self._left > 0:
            self._timer = self._loop.call_later(min(PERIOD, self._left), self._look)
            return
        self.expired = True
        self._act()
