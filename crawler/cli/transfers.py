"""A download as a person, or a program, follows it: bars, JSON lines, the summary, the exit code.

Looks at the desk four times a second (once for programs); the transfers know nothing of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import msgspec
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from crawler.cli.exits import Exit, download_code
from crawler.cli.run import Signals, calm, loop_factory, raise_file_limit
from crawler.cli.screen import Screen, out
from crawler.cli.words import amount, duration, plain, size
from crawler.config import Config
from crawler.depot import Depot, open_depot
from crawler.pace import HostPace
from crawler.transfer.order import File, Order

FRAME: Final = 0.25
JSON_EVERY: Final = 1.0
LINE: Final = 10.0
"""Seconds between two looks: of a person, a program, a log."""

WINDOW: Final = 5.0
"""Seconds over which a rate is taken."""

BARS: Final = 8

LISTED: Final = 20
"""Failures that the summary names one by one."""


class Rate:
    """Bytes a second over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, now: float, count: int) -> float:
        self._seen.append((now, count))
        while len(self._seen) > 2 and now - self._seen[1][0] >= WINDOW:
            self._seen.popleft()
        then, before = self._seen[0]
        return (count - before) / (now - then) if now > then else 0.0


class Board:
    """What can be seen of a running download; `tell` hears of files that are final."""

    def __init__(self, screen: Screen) -> None:
        self.depot: Depot | None = None
        self.files: Counter[str] = Counter()  # by status
        self.reasons: list[str] = []
        self.failed: list[File] = []
        self.began = time.monotonic()
        self.finished_bytes = 0
        self._screen = screen
        self._rate = Rate()
        self._rates: dict[str, Rate] = {}
        self._task: asyncio.Task[None] | None = None

    async def tell(self, file: File) -> None:
        self.files[file.status] += 1
        self.finished_bytes += file.size or 0
        if file.status == "failed":
            self.reasons.append(file.reason)
            if len(self.failed) < LISTED:
                self.failed.append(file)
        if self._screen.as_json:
            _emit({"event": "file", **msgspec.structs.asdict(file)})

    async def __aenter__(self) -> Self:
        draw = None
        console = self._screen.console
        if self._screen.as_json:
            draw = self._json()
        elif not self._screen.silent:
            moves = console.is_terminal and not console.is_dumb_terminal
            draw = self._live() if moves else self._lines()
        if draw is not None:
            self._task = asyncio.create_task(draw, name="display")
        return self

    async def __aexit__(self, *_: object) -> None:
        """A display that broke is let go of: it must not be what ends a download."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    # ── what is shown ────────────────────────────────────────────────────────────────────────

    def state(self) -> dict[str, Any]:
        """Everything at this moment; what `--json` prints."""
        assert self.depot is not None
        desk, crawl, now = self.depot.desk, self.depot.crawl, time.monotonic()
        running: list[dict[str, Any]] = []
        for url, one in desk.running.items():
            rate = self._rates.setdefault(url, Rate()).at(now, one.received)
            left = (one.size - one.received) / rate if one.size and rate else None
            running.append({
                "url": url, "name": one.name or None, "size": one.size, "received": one.received,
                "connections": one.connections, "rate": round(rate), "eta": left,
            })  # fmt: skip
        for url in self._rates.keys() - desk.running.keys():
            del self._rates[url]
        rate = self._rate.at(now, desk.wire)
        known = [one for one in running if one["size"]]
        left = sum(one["size"] - one["received"] for one in known)
        waiting = max(0, crawl.frontier.pending - len(running))  # type: ignore[attr-defined]
        eta = left / rate if rate and not waiting and len(known) == len(running) else None
        return {
            "event": "progress", "elapsed": round(now - self.began, 3),
            "done": self.files["done"], "here": self.files["here"],
            "failed": self.files["failed"], "running": running, "waiting": waiting,
            "bytes": desk.wire, "rate": round(rate), "eta": eta,
            "hosts": [_host(one) for one in crawl.frontier.paces() if one.queued],
        }  # fmt: skip

    async def _json(self) -> None:
        while True:
            await asyncio.sleep(JSON_EVERY)
            _emit(self.state())

    async def _lines(self) -> None:
        while True:
            await asyncio.sleep(LINE)
            self._screen.say(line(self.state()))

    async def _live(self) -> None:
        live = Live(console=self._screen.console, auto_refresh=False, transient=True,
                    redirect_stdout=False)  # fmt: skip
        with contextlib.suppress(OSError, ValueError), live:  # the terminal has gone
            while True:
                live.update(panel(self.state()), refresh=True)
                await asyncio.sleep(FRAME)


def _host(pace: HostPace) -> dict[str, Any]:
    return {
        "host": pace.name, "queued": pace.queued, "in_flight": pace.in_flight,
        "width": pace.width, "rest": round(pace.rest, 1), "parked": round(pace.parked, 1),
        "why": why(pace),
    }  # fmt: skip


def why(pace: HostPace) -> str:
    """Why the host's next file waits."""
    if pace.parked:
        return f"it failed {pace.failures} times: tried again in {duration(pace.parked)}"
    if pace.rest > 1:
        return f"it rests for {duration(pace.rest)}"
    if pace.in_flight >= pace.width:
        return f"{pace.in_flight} of {pace.width} connections are in use"
    return "for a free connection"


def line(state: dict[str, Any]) -> str:
    """The state of things in one plain line."""
    eta = f", {duration(state['eta'])} left" if state["eta"] is not None else ""
    return (
        f"[{duration(state['elapsed'])}] {amount(state['done'])} files, {size(state['bytes'])} "
        f"({size(state['rate'])}/s{eta}), {len(state['running'])} running, "
        f"{amount(state['waiting'])} waiting, {amount(state['failed'])} failed"
    )


def panel(state: dict[str, Any]) -> Group:
    """A bar for each file that runs, the total, and what is waited for."""
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=36)
    table.add_column(width=24)
    table.add_column(justify="right", no_wrap=True)
    largest = sorted(state["running"], key=lambda one: -(one["size"] or 0))
    for one in largest[:BARS]:
        eta = f"  {duration(one['eta'])}" if one["eta"] is not None else ""
        lines = f"  ×{one['connections']}" if one["connections"] > 1 else ""
        total = size(one["size"]) if one["size"] else "?"
        table.add_row(
            Text(plain(one["name"] or one["url"], 60)),
            ProgressBar(total=one["size"] or None, completed=one["received"], width=24,
                        pulse=not one["size"]),
            Text(f"{size(one['received'])} of {total}  {size(one['rate'])}/s{lines}{eta}"),
        )  # fmt: skip
    rows: list[Any] = [table] if largest else []
    if len(largest) > BARS:
        rows.append(Text(f"… and {len(largest) - BARS} more", "dim"))
    rows.append(Text(line(state), "bold green"))
    waiting = [one for one in state["hosts"] if one["rest"] > 1 or one["parked"]]
    rows += [
        Text(f"{plain(one['host'], 60)}: {one['queued']} files wait, {one['why']}", "dim")
        for one in waiting[:3]
    ]
    return Group(*rows)


def _emit(event: dict[str, Any]) -> None:
    out(msgspec.json.encode(event, enc_hook=str).decode())  # a Path is its text


# ── the run ──────────────────────────────────────────────────────────────────────────────────


def run(
    config: Config, orders: Sequence[Order], folder: Path, screen: Screen, *, again: str
) -> Exit:
    """Download to the end. Raises what ends it; what is there is gone on with by the next run."""
    screen.listen()
    raise_file_limit()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_download(config, orders, folder, screen, again))


async def _download(
    config: Config, orders: Sequence[Order], folder: Path, screen: Screen, again: str
) -> Exit:
    board = Board(screen)
    signals = Signals(folder, config.limits.grace, screen.say, again=again)
    with signals.caught():
        async with open_depot(config, orders, folder, tell=board.tell) as depot:
            board.depot = depot
            signals.opened(depot.crawl)
            for file in depot.here:
                await board.tell(file)
            async with calm(), board:
                await depot.crawl.run()
            state = board.state()
    reason = depot.crawl.finish_reason
    code = download_code(reason, board.reasons)
    if screen.as_json:
        _emit({**state, "event": "summary", "reason": reason, "exit": int(code)})
    elif not screen.silent:
        _summary(board, state, reason, screen)
    if screen.silent:
        for file in board.failed:
            screen.say(f"crawler: error: {plain(file.url, 500)}: {file.reason}")
    return code


def _summary(board: Board, state: dict[str, Any], reason: str, screen: Screen) -> None:
    for file in board.failed:
        aside = f" (kept as {file.aside})" if file.aside is not None else ""
        screen.say(f"failed: {plain(file.url, 500)}: {file.reason}{aside}")
    more = board.files["failed"] - len(board.failed)
    if more > 0:
        screen.say(f"… and {amount(more)} more failed")
    elapsed = max(state["elapsed"], 0.001)
    here = f", {amount(state['here'])} were there" if state["here"] else ""
    left = f", {amount(state['waiting'])} left" if state["waiting"] else ""
    screen.say(
        f"{reason}: {amount(state['done'])} files{here}, {amount(state['failed'])} failed{left}; "
        f"{size(state['bytes'])} in {duration(elapsed)} ({size(state['bytes'] / elapsed)}/s)"
    )
