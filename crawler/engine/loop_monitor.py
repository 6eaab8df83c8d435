"""The loop watches itself: once a second, how late it woke and what is under way."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from types import TracebackType

from crawler.engine.stats import Gauges, StatsCollector
from crawler.utils.background import BackgroundTask

log = logging.getLogger(__name__)

PERIOD = 0.25
"""Seconds between looks: the display's four a second."""

LATE = 0.1
"""Seconds of lag that are worth a line in the log: something burned the loop's CPU."""


class LoopMonitor(BackgroundTask):
    """Owns a task that keeps `tally.gauges` true. `look` fills in what the rooms know."""

    def __init__(self, tally: StatsCollector, look: Callable[[Gauges], None]) -> None:
        self._tally = tally
        self._look = look

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Raises what went wrong in the watch."""
        await super().__aexit__(kind, error, trace)
        self._note(0.0)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + PERIOD
            await asyncio.sleep(PERIOD)
            lag = max(0.0, loop.time() - due)
            if lag > LATE:
                log.debug("the event loop woke %.0f ms late", lag * 1000)
            self._note(lag)

    def _note(self, lag: float) -> None:
        gauges = self._tally.gauges
        gauges.lag_ms = lag * 1000
        gauges.loop_cpu = time.process_time() - self._tally.cpu_before
        gauges.child_cpu = self._tally.parse.sum / 1000
        self._look(gauges)
        self._tally.sample()
