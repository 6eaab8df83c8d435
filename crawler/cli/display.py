"""What the person sees while it runs: a panel on a terminal, a line every 10 s elsewhere.

Reads snapshots only; the crawl knows nothing of it. A frame costs 0.4 ms (measured), so
four a second are a fifth of a percent of a core.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, Self

from crawler.cli.formatting import amount, counted, duration, plain, share, size
from crawler.cli.screen import Screen
from crawler.config.model import Config
from crawler.engine.stats import StatsCollector, StatsSnapshot
from crawler.errors import CrawlerError
from crawler.policy.waits import Wait, wait_sentence

if TYPE_CHECKING:
    from rich.text import Text

WAITS: Final = 2.0
"""Seconds between two questions who waits for what, which may cost a look into the queue's file."""

SHOWN: Final = 3
"""Of those who wait, how many are named."""

FRAME: Final = 0.25
LINE: Final = 10.0
"""Seconds between frames on a terminal and between lines elsewhere (Crawlee's interval)."""

TREND: Final = 30.0
"""Seconds over which a queue must not have grown before its end is foretold."""


class Forecast:
    """When it will be over, where that can be known: towards max_pages, or as the queue shrinks."""

    def __init__(self, max_pages: int | None, before: int = 0) -> None:
        self._left = None if max_pages is None else max(0, max_pages - before)
        self._seen: deque[tuple[float, int]] = deque()

    def left(self, shot: StatsSnapshot) -> float | None:
        """Seconds; None: nobody knows."""
        now, queued = shot.elapsed, shot.gauges.queued
        if not self._seen or now - self._seen[-1][0] >= 1.0:
            self._seen.append((now, queued))
        while len(self._seen) > 1 and now - self._seen[1][0] >= TREND:
            self._seen.popleft()
        guesses = []
        if self._left is not None and shot.recent_per_second > 0 and now >= 2:
            guesses.append(max(0, self._left - shot.pages) / shot.recent_per_second)
        then, before = self._seen[0]
        if now - then >= TREND / 2 and queued < before:  # links go faster than they come
            guesses.append(queued * (now - then) / (before - queued))
        return min(guesses, default=None)


class Display:
    """Shows a tally while its block runs. `before`: pages done by earlier runs of this crawl.
    `waits` tells who waits for what; None: nobody is asked.
    """

    def __init__(
        self,
        tally: StatsCollector,
        config: Config,
        screen: Screen,
        *,
        before: int = 0,
        waits: Callable[[], Awaitable[Sequence[Wait]]] | None = None,
        frame: float = FRAME,
        line: float = LINE,
    ) -> None:
        self._tally = tally
        self._screen = screen
        self._forecast = Forecast(config.limits.max_pages, before)
        self._waits = waits
        self._waiting: Sequence[Wait] = ()
        self._asked = float("-inf")  # when, monotonic
        self._frame = frame
        self._line = line
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if not self._screen.silent:
            draw = self._live if self._screen.moves else self._lines
            self._task = asyncio.create_task(draw(), name="display")
        return self

    async def __aexit__(self, *_: object) -> None:
        """A display that broke is let go of: it must not be what ends a crawl."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            if not self._task.cancelled() and (error := self._task.exception()) is not None:
                self._screen.say(f"the display broke: {error!r}")

    async def _live(self) -> None:
        from rich.live import Live  # noqa: PLC0415 - see screen.py

        live = Live(
            console=self._screen.console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,  # results are results
        )
        with contextlib.suppress(OSError, ValueError), live:  # the terminal has gone
            while True:
                shot = self._tally.snapshot(hosts=0)
                waiting = await self._who_waits()
                live.update(panel(shot, self._forecast.left(shot), waiting), refresh=True)
                await asyncio.sleep(self._frame)

    async def _lines(self) -> None:
        while True:
            await asyncio.sleep(self._line)
            shot = self._tally.snapshot(hosts=0)
            self._screen.say(line(shot, self._forecast.left(shot), await self._who_waits()))

    async def _who_waits(self) -> str:
        now = time.monotonic()
        if self._waits is not None and now - self._asked >= WAITS:
            with contextlib.suppress(CrawlerError):  # it is the crawl's, which tells it
                self._waiting = await self._waits()
            self._asked = now
        return in_words(self._waiting)


def in_words(waiting: Sequence[Wait]) -> str:
    """Who waits for what, those that wait longest by name; nothing: nobody."""
    now = time.time()
    named = [plain(wait_sentence(wait, now), 200) for wait in waiting[:SHOWN]]
    if len(waiting) > SHOWN:
        named.append("others wait too")
    return "; ".join(named)


def line(shot: StatsSnapshot, left: float | None = None, waiting: str = "") -> str:
    """The state of things in one plain line."""
    gauges = shot.gauges
    return (
        f"[{duration(shot.elapsed)}] {counted(shot.pages, 'page')} "
        f"({shot.recent_per_second:.1f}/s), {amount(gauges.queued)} queued, "
        f"{gauges.in_flight} in flight, {size(shot.bytes_wire)}, "
        f"{amount(shot.outcomes.get('failed', 0))} failed, "
        f"{counted(shot.retries, 'retry', 'retries')}, "
        f"lag {gauges.lag_ms:.0f} ms"
        + (f", {duration(left)} left" if left is not None else "")
        + (f"; {waiting}" if waiting else "")
    )


def panel(shot: StatsSnapshot, left: float | None = None, waiting: str = "") -> Text:
    """The live display: six rows that do not jump."""
    from rich.text import Text  # noqa: PLC0415 - see screen.py

    gauges = shot.gauges
    time = max(shot.elapsed, 0.001)
    about = f"   about {duration(left)} left" if left is not None else ""
    statuses = "   ".join(f"{status}: {amount(n)}" for status, n in list(shot.statuses.items())[:8])
    wrong = "   ".join(
        f"{plain(why, 30)}: {amount(n)}" for why, n in list(shot.reasons.items())[:6]
    )
    parsing = gauges.child_cpu / (time * max(gauges.processes, 1))
    pages = (
        f"{amount(shot.pages)}   {shot.recent_per_second:.1f}/s   "
        f"{size(shot.bytes_wire)}   {duration(shot.elapsed)}{about}"
    )
    queue = (
        f"{amount(gauges.queued)} to visit   {gauges.in_flight}/{gauges.slots} in flight   "
        f"{gauges.parsing} to parse   {counted(shot.retries, 'retry', 'retries')}"
    )
    loop = (
        f"lag {gauges.lag_ms:.0f} ms (max {gauges.lag_max_ms:.0f})   "
        f"CPU {share(gauges.loop_cpu / time)}   parsing {share(parsing)} of {gauges.processes}"
    )
    rows = {
        "pages": pages,
        "queue": queue,
        "status": statuses or "none yet",
        "errors": wrong or "none",
        "waits": waiting or "nobody for long",
        "loop": loop,
    }
    text = Text(no_wrap=True, overflow="ellipsis")
    for number, (name, value) in enumerate(rows.items()):
        text.append(f"{name:>7}  ", "dim")
        text.append(value, "" if number else "bold green")
        text.append("\n" if number < len(rows) - 1 else "")
    return text
