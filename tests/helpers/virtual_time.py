"""An event loop whose clock jumps: it never sleeps, and a wait that nothing can end is an error.

    loop = VirtualLoop(Random(1))
    loop.run(main())        as asyncio.run, in no time; raises Standstill where it would hang

Work for a thread (`run_in_executor`) runs in the loop, in the order in which it was handed over, as
on the frontier's one thread; when it runs and when its result comes is drawn by lot.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = 1_000_000.0
"""Unix time at which the loop's clock is 0."""

MOST = 40_000
"""Rounds of the loop after which it only pretends to get on."""

LAGS = (0.0, 0.0, 0.0, 0.001, 0.02, 0.3)
"""Seconds until a thread comes to a piece of work, and until its result is seen."""


class Standstill(BaseException):
    """Nothing will ever happen again, or the same things for ever; not to be caught by accident."""


class _Jump(selectors.SelectSelector):
    """Waits for no file, and for no time."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        self.loop.wait(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, rng: Random) -> None:
        self.now = 0.0
        self.skew = 0.0  # by which the wall clock was set
        self._rng = rng
        self.rounds = 0
        self._work: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._seen = 0.0  # when the last result comes
        jump = _Jump()
        jump.loop = self
        super().__init__(jump)
        self._clock_resolution = 1e-9  # what is due now is due

    # ── the clock; `time` and `monotonic` as in the module `time` ─────────────────────────────

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return EPOCH + self.now + self.skew

    def wait(self, timeout: float | None) -> None:
        self.rounds += 1
        if timeout is None:
            raise Standstill(f"after {self.now:.0f} s nothing can happen any more")
        if self.rounds > MOST:
            raise Standstill(f"{MOST} rounds in {self.now:.0f} s, and no end")
        if timeout > 0:
            self.now = max(self.now, self._scheduled[0].when())  # type: ignore[attr-defined]

    # ── the one thread ───────────────────────────────────────────────────────────────────────

    def run_in_executor(  # type: ignore[override]
        self, _: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        done: asyncio.Future[T] = self.create_future()
        self._work.append((lambda: func(*args), done))
        if len(self._work) == 1:
            self.call_later(self._rng.choice(LAGS), self._do)
        return done

    def _do(self) -> None:
        work, done = self._work.popleft()
        try:
            tell, what = done.set_result, work()
        except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
            tell, what = done.set_exception, error
        self._seen = max(self._seen, self.now + self._rng.choice(LAGS))
        self.call_at(self._seen, lambda: done.cancelled() or tell(what))
        if self._work:
            self.call_later(self._rng.choice(LAGS), self._do)

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        try:
            return self.run_until_complete(main)
        except Standstill:
            self.rounds = 0
            tasks = asyncio.all_tasks(self)
            for task in tasks:
                task.cancel()
            with contextlib.suppress(Standstill):
                self.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            raise
        finally:
            self.close()


class Clock:
    """Stands for the module `time` where the code under test looks at the clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.monotonic = loop.monotonic
        self.time = loop.wall
