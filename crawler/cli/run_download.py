"""A download as a person, or a program, follows it: lines, the summary, the exit code; bars.py.

Looks at the desk four times a second (once for programs); the transfers know nothing of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from crawler.bootstrap.download_progress import DownloadProgress, ProgressWatcher
from crawler.cli.download_text import line
from crawler.cli.exits import Exit, download_code
from crawler.cli.formatting import amount, counted, duration, plain, size
from crawler.cli.run_crawl import Signals, calm, loop_factory, raise_file_limit
from crawler.cli.screen import Screen, out
from crawler.config.model import Config
from crawler.downloads.download_request import DownloadRequest, DownloadResult
from crawler.policy.waits import wait_sentence

if TYPE_CHECKING:
    from crawler.bootstrap.download_setup import DownloadSession

JSON_EVERY: Final = 1.0
LINE: Final = 10.0
"""Seconds between two looks: of a program, a log."""

LISTED: Final = 20
"""Failures that the summary names one by one."""


class DownloadDisplay:
    """What can be seen of a running download; `tell` hears of files that are final."""

    def __init__(self, screen: Screen) -> None:
        self.depot: DownloadSession | None = None
        self.watcher = ProgressWatcher()
        self.reasons: list[str] = []
        self.failed: list[DownloadResult] = []
        self._screen = screen
        self._task: asyncio.Task[None] | None = None

    async def tell(self, file: DownloadResult) -> None:
        self.watcher.tell(file)
        if file.status == "failed":
            self.reasons.append(file.reason)
            if len(self.failed) < LISTED:
                self.failed.append(file)
        if self._screen.as_json:
            _emit("file", file)

    async def __aenter__(self) -> Self:
        draw = None
        if self._screen.as_json:
            draw = self._json()
        elif not self._screen.silent:
            draw = self._live() if self._screen.moves else self._lines()
        if draw is not None:
            self._task = asyncio.create_task(draw, name="display")
        return self

    async def __aexit__(self, *_: object) -> None:
        """A display that broke is let go of: it must not be what ends a download."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            if not self._task.cancelled() and (error := self._task.exception()) is not None:
                self._screen.say(f"the display broke: {error!r}")

    # ── what is shown ────────────────────────────────────────────────────────────────────────

    def state(self) -> DownloadProgress:
        """Everything at this moment."""
        assert self.depot is not None
        return self.watcher.look(self.depot)

    async def _json(self) -> None:
        while True:
            await asyncio.sleep(JSON_EVERY)
            _emit("progress", self.state())

    async def _lines(self) -> None:
        while True:
            await asyncio.sleep(LINE)
            self._screen.say(line(self.state()))

    async def _live(self) -> None:
        from crawler.cli.download_bars import live  # noqa: PLC0415 - rich: for terminals only

        assert self.depot is not None
        await live(self._screen.console, self.state, self.depot.crawl.frontier.waits)


def _emit(event: str, what: Any, **more: Any) -> None:
    line = {"event": event, **msgspec.structs.asdict(what), **more}
    out(msgspec.json.encode(line, enc_hook=str).decode())  # a Path is its text


# ── the run ──────────────────────────────────────────────────────────────────────────────────


def run(
    config: Config, orders: Sequence[DownloadRequest], folder: Path, screen: Screen, *, again: str
) -> Exit:
    """Download to the end. Raises what ends it; what is there is gone on with by the next run."""
    screen.listen()
    import crawler.bootstrap.download_setup  # noqa: F401, PLC0415 - aiohttp: before the loop runs

    raise_file_limit()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_download(config, orders, folder, screen, again))


async def _download(
    config: Config, orders: Sequence[DownloadRequest], folder: Path, screen: Screen, again: str
) -> Exit:
    from crawler.bootstrap.download_setup import open_depot  # noqa: PLC0415

    board = DownloadDisplay(screen)
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
            waits = await depot.crawl.frontier.waits() if state.waiting else []
    reason = depot.crawl.finish_reason
    code = download_code(reason, board.reasons)
    if screen.as_json:
        _emit("summary", state, reason=reason, exit=int(code))
    elif not screen.silent:
        _summary(board, state, reason, screen)
        for wait in waits:
            screen.say(plain(wait_sentence(wait, time.time()), 300))
    if screen.silent:
        for file in board.failed:
            screen.say(f"crawler: error: {plain(file.url, 500)}: {file.reason}")
    return code


def _summary(board: DownloadDisplay, state: DownloadProgress, reason: str, screen: Screen) -> None:
    for file in board.failed:
        aside = f" (kept as {file.aside})" if file.aside is not None else ""
        screen.say(f"failed: {plain(file.url, 500)}: {file.reason}{aside}")
    more = board.watcher.files["failed"] - len(board.failed)
    if more > 0:
        screen.say(f"… and {amount(more)} more failed")
    elapsed = max(state.elapsed, 0.001)
    here = f", {counted(state.here, 'was there', 'were there')}" if state.here else ""
    left = f", {amount(state.waiting)} left" if state.waiting else ""
    screen.say(
        f"{reason}: {counted(state.done, 'file')}{here}, {amount(state.failed)} failed{left}; "
        f"{size(state.bytes)} in {duration(elapsed)} ({size(state.bytes / elapsed)}/s)"
    )
