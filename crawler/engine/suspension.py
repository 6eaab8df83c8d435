"""Whether this process could run all the time: what timed out while it could not is no failure.

A process that is stopped (SIGSTOP), a machine that sleeps or has no CPU for us: when it goes on,
timeouts are over and connections are dead, whatever the servers did.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from crawler.errors import FetchError, Insecure, LeaseLost, TimedOut, Truncated, Unreachable
from crawler.interfaces import FileFetcher, Receiver
from crawler.records import CrawlUrl, Page
from crawler.utils.background import BackgroundTask

BEAT: Final = 0.5
"""Seconds between two beats."""

STOPPED: Final = 2.5
"""Seconds without a beat after which nothing here ran: far more than the loop is ever late, far
less than any timeout of an exchange."""

TRIES: Final = 10
"""Tries of one link that are forgiven: a machine that is always too busy must come to an end."""


class SuspendDetector(BackgroundTask):
    """Owns a task that beats while the loop runs. A gap is seen at once, beat or no beat."""

    def __init__(self) -> None:
        self._last = _moment()
        self._stopped_until = float("-inf")  # monotonic: when the last gap ended

    def stopped_since(self, began: float) -> bool:
        """Whether there was a gap after `began`, monotonic seconds."""
        self._look()
        return self._stopped_until > began

    async def _work(self) -> None:
        self._last = _moment()
        while True:
            await asyncio.sleep(BEAT)
            self._look()

    def _look(self) -> None:
        now = _moment()
        if max(now[0] - self._last[0], now[1] - self._last[1]) > STOPPED:
            self._stopped_until = now[0]
        self._last = now


class SuspendAwareFetcher:
    """Implements `protocols.FileFetcher` on top of another one."""

    def __init__(self, fetcher: FileFetcher, heartbeat: SuspendDetector) -> None:
        self._fetcher = fetcher
        self._heartbeat = heartbeat

    async def fetch(
        self,
        link: CrawlUrl,
        *,
        headers: Mapping[str, str] | None = None,
        into: Receiver | None = None,
    ) -> Page:
        """As the fetcher's own; but what failed while we could not run raises LeaseLost: the link
        is tried again at once, and its host is not blamed.
        """
        began = time.monotonic()
        try:
            return await self._fetcher.fetch(link, headers=headers, into=into)
        except (TimedOut, Unreachable, Truncated) as error:
            if isinstance(error, Insecure) or link.attempt >= TRIES:
                raise
            if not self._heartbeat.stopped_since(began):
                raise
            page: Page | None = error.take_page()
            if page is not None and isinstance(page.body, Path):
                page.body.unlink(missing_ok=True)  # it comes again, whole
            raise LeaseLost(f"suspended while {_what(error)}") from error


def _moment() -> tuple[float, float]:
    """Now, by a clock that stands still while the machine sleeps, and by one that does not."""
    boot = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.monotonic(), time.clock_gettime(boot)


def _what(error: FetchError) -> str:
    return f"{error.reason} {error.detail}".strip()
