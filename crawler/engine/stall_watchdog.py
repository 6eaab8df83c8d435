"""Where every link in hand is at this moment, and a watchdog that names the one that is stuck.

Nothing here ends anything: each stage has deadlines of its own. When one of them fails to hold,
this says which URL waits where, in the log, instead of a crawl that stands still for no reason.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from crawler.utils.background import BackgroundTask

log = logging.getLogger(__name__)

LOOKS = 4
"""Looks within the time that a stage may take."""


class StallWatchdog(BackgroundTask):
    """The loop tells it of each step. `most` is in seconds; 0: nothing is watched."""

    def __init__(self, most: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._at: dict[str, tuple[str, float]] = {}  # url → stage, since when
        self._named: set[tuple[str, str]] = set()

    def enter(self, url: str, stage: str) -> None:
        """The link goes into a stage: gate, fetch, read or ledger."""
        self._at[url] = stage, self._clock()

    def leave(self, url: str) -> None:
        """The link's trip is over."""
        self._at.pop(url, None)

    def stuck(self) -> list[tuple[str, str, float]]:
        """URL, stage and seconds of each link that has been in one stage for too long."""
        now = self._clock()
        return [
            (url, stage, now - since)
            for url, (stage, since) in self._at.items()
            if now - since > self._most
        ]

    def look(self) -> None:
        """Name what is stuck, each link once a stage."""
        stuck = self.stuck()
        self._named &= {(url, stage) for url, stage, _ in stuck}
        for url, stage, seconds in stuck:
            if (url, stage) not in self._named:
                self._named.add((url, stage))
                log.warning("stuck: %s has been in stage %s for %.0f s", url, stage, seconds)

    async def _work(self) -> None:
        while self._most:
            await asyncio.sleep(self._most / LOOKS)
            self.look()
