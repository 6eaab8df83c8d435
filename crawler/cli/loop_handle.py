"""Start a loop's process, send it its settings, and read its result (`crawler crawl --loops`)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterable
from typing import Final

import msgspec

from crawler.cli.loop_process import LoopFailed, LoopResult, LoopSettings
from crawler.utils.parent_death import safe_path

PROGRAM: Final = "crawler.cli.loop_process"


class LoopEnded(msgspec.Struct, frozen=True):
    """How it ended. `told` None: it died, and could say nothing."""

    told: LoopResult | LoopFailed | None
    code: int  # of the process; of a signal that ended it, negative

    @property
    def why(self) -> str:
        """What it died of, for a person."""
        return signal.Signals(-self.code).name if self.code < 0 else f"exit code {self.code}"


class LoopProcess:
    """`run` once. It holds `lock`, a file descriptor, as long as it lives."""

    def __init__(self, orders: LoopSettings, lock: int) -> None:
        self._orders = orders
        self._lock = lock
        self._child: asyncio.subprocess.Process | None = None

    async def run(self, signals: Iterable[int]) -> LoopEnded:
        """To its end, which a cancelled caller hastens. `signals` came before it was there."""
        self._child = child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", PROGRAM,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            pass_fds=(self._lock,), env={**os.environ, **safe_path()},
            process_group=0,  # Ctrl-C comes to us alone, and is passed on once
        )  # fmt: skip
        try:
            for one in signals:
                child.send_signal(one)
            assert child.stdin is not None
            assert child.stdout is not None
            with contextlib.suppress(ConnectionError):  # how it ended tells
                child.stdin.write(msgspec.json.encode(self._orders) + b"\n")
                await child.stdin.drain()
            said = await child.stdout.read()
            code = await child.wait()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        try:
            return LoopEnded(msgspec.json.decode(said, type=LoopResult | LoopFailed), code)
        except msgspec.DecodeError:
            return LoopEnded(None, code)

    def signal(self, number: int) -> None:
        """Pass a signal on; one that has ended, or is not there yet, gets none."""
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(number)
