"""A running download on a terminal: a bar for each file, the total, what is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from crawler.bootstrap.download_progress import DownloadProgress
from crawler.cli.download_text import line
from crawler.cli.formatting import duration, plain, size
from crawler.policy.waits import Wait, wait_sentence

FRAME: Final = 0.25
"""Seconds between two looks."""

BARS: Final = 8

ASK: Final = 4
"""Frames from one question who waits for what to the next: it may be a look into a file."""

WAITS: Final = 3
"""Waits that are shown, the longest."""


async def live(
    console: Console,
    look: Callable[[], DownloadProgress],
    ask: Callable[[], Awaitable[Sequence[Wait]]],
) -> None:
    """Draw until cancelled, or until the terminal has gone. `ask` tells who waits for what."""
    frames, waits = count(), []
    drawing = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
    with contextlib.suppress(OSError, ValueError), drawing:  # the terminal has gone
        while True:
            if next(frames) % ASK == 0:
                waits = [wait_sentence(one, time.time()) for one in (await ask())[:WAITS]]
            drawing.update(panel(look(), waits), refresh=True)
            await asyncio.sleep(FRAME)


def panel(state: DownloadProgress, waits: Sequence[str] = ()) -> Group:
    """A bar for each file that runs, the total, and what is waited for."""
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=36)
    table.add_column(width=24)
    table.add_column(justify="right", no_wrap=True)
    largest = sorted(state.running, key=lambda one: -(one.size or 0))
    for one in largest[:BARS]:
        eta = f"  {duration(one.eta)}" if one.eta is not None else ""
        lines = f"  ×{one.connections}" if one.connections > 1 else ""
        total = size(one.size) if one.size else "?"
        table.add_row(
            Text(plain(one.name or one.url, 60)),
            ProgressBar(total=one.size or None, completed=one.received, width=24,
                        pulse=not one.size),
            Text(f"{size(one.received)} of {total}  {size(one.rate)}/s{lines}{eta}"),
        )  # fmt: skip
    rows: list[Any] = [table] if largest else []
    if len(largest) > BARS:
        rows.append(Text(f"… and {len(largest) - BARS} more", "dim"))
    rows.append(Text(line(state), "bold green"))
    rows += [Text(plain(one, 200), "dim") for one in waits]
    return Group(*rows)
