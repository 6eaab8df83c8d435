"""One of several loops of `crawler crawl --loops N`: a process that `crawler/cli/loops.py` starts.

Its settings come in one line on stdin, secrets included, so that nobody sees them in the list of
processes; how it ended goes out on stdout. When stdin ends, whoever started it has died, and it
leaves at once: as safe as kill -9, which loses nothing.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path

import msgspec

from crawler.config.model import Config
from crawler.engine.stats import StatsSnapshot

EARLY: list[int] = []
"""Signals that came before there was anything to stop."""


class LoopSettings(msgspec.Struct, frozen=True):
    """What a loop is told: the crawl's settings with its own folder and queue in them."""

    config: Config
    resume: bool
    silent: bool
    verbose: int


class LoopResult(msgspec.Struct, frozen=True, tag="ended"):
    """What a loop tells at its end."""

    reason: str
    shot: StatsSnapshot
    fates: tuple[str, ...]  # names of `exits.Fate`
    troubles: tuple[tuple[str, str, str], ...]  # seeds that failed: url, reason, target
    moves: tuple[tuple[str, str], ...] = ()  # … that led to another host: url, target


class LoopFailed(msgspec.Struct, frozen=True, tag="failed"):
    """… when an error ended it: what a person is told of it, and the exit code."""

    lines: list[str]
    code: int


def main() -> int:
    """Work until there is no more, or until told to stop."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: EARLY.append(number))
    orders = msgspec.json.decode(_line(), type=LoopSettings)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    from crawler.cli.main import verdict_on  # noqa: PLC0415 - after the signals are ours
    from crawler.cli.run_crawl import loop_factory, raise_file_limit  # noqa: PLC0415
    from crawler.cli.screen import Screen, out  # noqa: PLC0415

    screen = Screen(silent=orders.silent, verbose=orders.verbose)
    screen.listen()
    told: LoopResult | LoopFailed
    try:
        raise_file_limit()
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            told = runner.run(_crawl(orders))
    except Exception as error:  # noqa: BLE001 - the last line before the person
        told = LoopFailed(*verdict_on(error, in_full=orders.verbose > 0))
    out(msgspec.json.encode(told).decode())
    return told.code if isinstance(told, LoopFailed) else 0


async def _crawl(orders: LoopSettings) -> LoopResult:
    from crawler.cli.run_crawl import Signals, calm  # noqa: PLC0415 - after the signals are ours
    from crawler.cli.seed_results import SeedResults  # noqa: PLC0415
    from crawler.parse.workers.forkserver import warm  # noqa: PLC0415

    warm()  # as in `run`: what reads pages is loaded beside what fetches them
    from crawler.bootstrap.crawl_setup import open_crawl  # noqa: PLC0415 - aiohttp

    config, seeds = orders.config, SeedResults()
    folder = Path(config.output.dir)
    signals = Signals(folder, config.limits.grace, lambda _: None)  # the first process says it
    mode = "resume" if orders.resume else "new"
    with signals.caught():
        for _ in EARLY:
            signals.came()
        async with open_crawl(config, dir=folder, mode=mode, sinks=[seeds], join=True) as crawl:  # type: ignore[arg-type]
            signals.opened(crawl)
            async with calm():
                await crawl.run()
    return LoopResult(
        crawl.finish_reason,
        crawl.tally.snapshot(),
        tuple(one.name for one in seeds.fates),
        tuple(seeds.troubles),
        tuple(seeds.moves),
    )


def _line() -> bytes:
    """The first line of stdin, and no byte more: what follows is its end, some day."""
    parts = bytearray()
    while not parts.endswith(b"\n"):
        some = os.read(0, 65_536)
        if not some:
            sys.exit("a loop is started by crawler crawl --loops N")
        parts += some
    return bytes(parts)


def _leave_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
