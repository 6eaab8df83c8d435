"""What the person sees while it runs: a panel on a terminal, a line every 10 s elsewhere."""

from __future__ import annotations

import asyncio
import sys
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from crawler.cli.words import amount, duration, share, size
from crawler.config import Config
from crawler.tally import Snapshot, Tally

FRAME = 0.25
LINE = 10.0
"""Seconds between frames on a terminal and between lines elsewhere (Crawlee's interval)."""


class Display:
    """Shows a tally while its block runs. Reads snapshots only; the crawl knows nothing of it."""

    def __init__(
        self,
        tally: Tally,
        config: Config,
        *,
        silent: bool,
        no_color: bool = False,
        as_json: bool = False,  # noqa: ARG002 - the screen's settings come as one
        stream: TextIO | None = None,
    ) -> None:
        self._tally = tally
        self._config = config
        self._silent = silent
        self._console = Console(file=stream or sys.stderr, no_color=no_color, highlight=False)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if not self._silent:
            draw = self._live if self._console.is_terminal else self._lines
            self._task = asyncio.create_task(draw(), name="display")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _live(self) -> None:
        with Live(
            panel(self._tally.snapshot(), self._config),
            console=self._console,
            auto_refresh=False,
            transient=True,
        ) as live:
            while True:
                await asyncio.sleep(FRAME)
                live.update(panel(self._tally.snapshot(), self._config), refresh=True)

    async def _lines(self) -> None:
        while True:
            await asyncio.sleep(LINE)
            shot = self._tally.snapshot()
            self._console.print(Text(line(shot, self._config)), soft_wrap=True)


def line(shot: Snapshot, config: Config) -> str:
    """The state of things in one plain line."""
    gauges = shot.gauges
    eta = time_left(shot, config)
    return (
        f"[{duration(shot.elapsed)}] {amount(shot.pages)} pages "
        f"({shot.recent_per_second:.1f}/s), {amount(gauges.queued)} queued, "
        f"{gauges.in_flight} in flight, {size(shot.bytes_wire)}, "
        f"{amount(shot.outcomes.get('failed', 0))} failed, {amount(shot.retries)} retries, "
        f"lag {gauges.lag_ms:.0f} ms" + (f", {duration(eta)} left" if eta is not None else "")
    )


def panel(shot: Snapshot, config: Config) -> Table:
    """The live display: a few rows that do not jump."""
    gauges = shot.gauges
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", justify="right")
    table.add_column()
    eta = time_left(shot, config)
    table.add_row(
        "pages",
        Text.assemble(
            (amount(shot.pages), "bold green"),
            f"   {shot.recent_per_second:.1f}/s   {size(shot.bytes_wire)}   ",
            f"{duration(shot.elapsed)}",
            f"   about {duration(eta)} left" if eta is not None else "",
        ),
    )
    table.add_row(
        "queue",
        f"{amount(gauges.queued)} to visit   {gauges.in_flight}/{gauges.slots} in flight   "
        f"{gauges.parsing} to parse",
    )
    statuses = "   ".join(f"{status}: {amount(n)}" for status, n in shot.statuses.items())
    table.add_row("status", statuses or "–")
    wrong = [f"{reason}: {amount(n)}" for reason, n in list(shot.reasons.items())[:6]]
    table.add_row("errors", "   ".join(wrong) or "none")
    cpu = gauges.loop_cpu / max(shot.elapsed, 0.001)
    parse = gauges.child_cpu / max(shot.elapsed * max(gauges.processes, 1), 0.001)
    table.add_row(
        "loop",
        f"lag {gauges.lag_ms:.0f} ms (max {gauges.lag_max_ms:.0f})   "
        f"CPU {share(cpu)}   parsing {share(parse)} of {gauges.processes}",
    )
    return table


def time_left(shot: Snapshot, config: Config) -> float | None:
    """Seconds to max_pages at the present speed. None: the end cannot be known."""
    speed = shot.recent_per_second
    if config.limits.max_pages is None or speed <= 0 or shot.elapsed < 2:
        return None
    return max(0.0, (config.limits.max_pages - shot.pages) / speed)
