"""The parse processes: pages go out in batches, extracts come back, poison stays alone.

One page a task would cost 117 µs of the loop's CPU, eight a task 24 (measured). A batch is what
waits when a process is free: one page when idle, up to a megabyte under load (decision 0086).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final, Self, TypeAlias

from crawler.config.model import ParseConfig
from crawler.errors import FatalError, InternalError, ParseError
from crawler.parse.workers import worker_tasks
from crawler.parse.workers.countdown import Countdown
from crawler.parse.workers.cpu_clock import CpuClock
from crawler.parse.workers.forkserver import OneProcess, fork_server, main_hidden
from crawler.parse.workers.reader_settings import ReaderSettings, Result, Task
from crawler.policy.internal_errors import machine_fault
from crawler.records import Page, ParsedPage, WarcRecord

log = logging.getLogger(__name__)

SLACK: Final = 5.0
"""Seconds that a batch may take beyond all its pages' deadlines before its processes are killed."""

WORTH: Final = 16
"""Pages that are worth a hand-over while every process has a batch. Fewer wait for the first that
is done: until then nobody could read them, and others may join them."""

SHARE: Final = 8
"""Pages that are worth a hand-over of their own where a process has nothing to do."""

STARTS: Final = 5
"""Tries to start a process, until it is not by chance that there is none."""

PROOF: Final = 2
"""Processes that a page must end, alone, to be found guilty: one may be killed from outside."""

Waiting: TypeAlias = tuple[Page, bool, asyncio.Future[ParsedPage]]
"""A page, whether it is to be read, and who waits for the result."""


class ParsePool:
    """Implements `protocols.Parser`. Cancelling a `read` wastes its page's work, nothing more.

    Each process has an executor of its own, so that its death takes only its own batches along.
    """

    def __init__(self, rules: ReaderSettings, config: ParseConfig) -> None:
        self.width = config.processes or usable_cpus()
        self._rules = rules
        self._config = config
        self._waiting: deque[Waiting] = deque()
        self._suspects: deque[Waiting] = deque()
        self._crew: list[_Process] = []
        self._retired: set[_Process] = set()
        self._detective: asyncio.Task[None] | None = None
        self._recruits: set[_Process] = set()  # they are starting
        self._called = False  # the pump is, at the end of this round of the loop
        self._broken: Exception | None = None  # a bug, or no process can be started
        self._closed = False
        self._adopted: list[str] = []
        self._cpu = CpuClock()

    async def __aenter__(self) -> Self:
        """Starts one process; the others come with the work. Raises FatalError when it cannot."""
        self._loop = asyncio.get_running_loop()
        for tries in range(1, STARTS + 1):
            self._crew = [start(self._rules)]
            try:
                await self._crew[0].ready()
                break
            except BrokenProcessPool as error:
                await self._crew[0].close()
                if tries == STARTS:
                    raise FatalError("a parse process ends as soon as it starts") from error
            except BaseException:
                await self.__aexit__()
                raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        if self._detective is not None:
            self._detective.cancel()
            await asyncio.wait([self._detective])
        for process in [*self._crew, *self._retired, *self._recruits]:
            await process.close()
        for waiting in [*self._waiting, *self._suspects]:
            waiting[2].cancel()

    async def read(self, page: Page) -> ParsedPage:
        """What stands on the page. Raises ParseError for this page alone."""
        return await self._result(page, reading=True)

    async def keep(self, page: Page) -> WarcRecord | None:
        """An answer that is not read, as the archive wants it; None: there is no archive.

        Raises ParseError when it cannot be had.
        """
        return (await self._result(page, reading=False)).kept

    async def _result(self, page: Page, *, reading: bool) -> ParsedPage:
        if self._broken is not None:
            raise self._broken
        answer: asyncio.Future[ParsedPage] = self._loop.create_future()
        self._waiting.append((page, reading, answer))
        if not self._called:
            self._called = True
            self._loop.call_soon(self._safely, (), self._pump)
        return await answer

    def adopt(self, url: str) -> None:
        """What is read from now on is judged with one seed more; see `scope.Scope.adopt`."""
        self._adopted.append(url)

    def cpu_seconds(self) -> float:
        """CPU that the parse processes have used for pages: reading, texts, archives, and what
        passing all that on costs. 0.0 where the system does not tell.
        """
        return self._cpu.look(pid for one in self._crew for pid in one.pids)

    @property
    def backlog(self) -> int:
        """Pages waiting for a process."""
        return len(self._waiting) + len(self._suspects)

    # ── batches ──────────────────────────────────────────────────────────────────────────────

    def _pump(self) -> None:
        """Send what waits to processes with room: one batch at work, one more to keep it busy."""
        self._called = False
        while self._waiting and self._crew and not self._closed:
            process = min(self._crew, key=lambda one: one.in_flight)
            if process.in_flight:
                self._enlarge()
                if process.in_flight > 1 or len(self._waiting) < WORTH:
                    return
            batch = self._batch(WORTH if process.in_flight else SHARE)
            if not batch:
                return
            self._send(process, batch)

    def _enlarge(self) -> None:
        """Start one more process, unless there are enough; it gets no page before it is there."""
        if len(self._crew) + len(self._recruits) >= self.width:
            return
        try:
            recruit = start(self._rules)
        except FatalError as error:
            self.width = len(self._crew) + len(self._recruits)
            log.warning("%s; pages are read in %d", error, self.width)
            return
        self._recruits.add(recruit)
        recruit.sign.add_done_callback(lambda _: self._from_thread((), self._join, recruit))

    def _join(self, recruit: _Process) -> None:
        """A process has started; or ended as it did, which the first batch for it finds out."""
        if not self._closed:
            self._recruits.discard(recruit)
            self._crew.append(recruit)
            self._pump()

    def _batch(self, least: int) -> list[Waiting]:
        """What waits, shared out so that no process idles while another has more than `least`."""
        share = max(least, -(-len(self._waiting) // (self.width + 1)))
        most = min(self._config.batch_pages, share)
        batch: list[Waiting] = []
        size = 0
        while self._waiting and len(batch) < most and size < self._config.batch_bytes:
            page, _, answer = waiting = self._waiting.popleft()
            if not answer.done():  # else cancelled
                batch.append(waiting)
                size += page.bytes_wire
        return batch

    def _send(self, process: _Process, batch: list[Waiting]) -> None:
        patience = len(batch) * self._config.deadline + SLACK
        clock = Countdown(self._loop, patience, process.kill)
        try:
            process.submit(batch, self._adopted).add_done_callback(
                lambda done: self._from_thread(batch, self._landed, process, batch, clock, done)
            )
        except BrokenProcessPool:  # it died while it had nothing to do
            clock.cancel()
            self._waiting.extendleft(reversed(batch))
            self._replace(process)
            return
        if self._config.recycle_pages and process.pages >= self._config.recycle_pages:
            self._replace(process)

    def _from_thread(
        self, batch: Sequence[Waiting], act: Callable[..., None], *args: object
    ) -> None:
        """Act in the loop, from an executor's thread; a closed loop has nobody who waits."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._safely, batch, act, *args)

    def _safely(self, batch: Sequence[Waiting], act: Callable[..., None], *args: object) -> None:
        """Act as the loop's callback, whose errors nobody would hear of: all who wait do, those
        of `batch` too.
        """
        try:
            act(*args)
        except Exception as error:  # noqa: BLE001 - raised again in everybody who waits
            self._break(error, batch)

    def _break(self, error: Exception, batch: Sequence[Waiting] = ()) -> None:
        """End the pool: everybody who waits, and whoever comes, is told why. It is no page's
        fault, so the crawl ends.
        """
        if (said := machine_fault(error)) is not None:  # no more processes, files or memory
            error = FatalError(f"a parse process cannot be started: {said}")
        elif not isinstance(error, FatalError):
            bug = InternalError(f"the parse pool broke: {error!r}")
            bug.__cause__ = error
            error = bug
        self._broken = self._broken or error
        waiting = [*batch, *self._waiting, *self._suspects]
        self._waiting.clear()
        self._suspects.clear()
        for _, _, answer in waiting:
            if not answer.done():
                answer.set_exception(self._broken)

    def _landed(
        self,
        process: _Process,
        batch: list[Waiting],
        clock: Countdown,
        done: Future[list[Result]],
    ) -> None:
        clock.cancel()
        process.in_flight -= 1
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or isinstance(error, BrokenProcessPool):
            # The process died with these pages: each is a suspect.
            process.bury()
            self._suspects.extend(batch)
            self._replace(process)
            self._investigate()
        elif error is not None:
            for _, _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
        else:
            for waiting, result in zip(batch, done.result(), strict=True):
                if isinstance(result, ParseError) and result.reason == "deadline":
                    self._suspects.append(waiting)  # the machine's doing, perhaps: once more, alone
                else:
                    _give(waiting[2], result)
            self._investigate()
        if process in self._retired and not process.in_flight:
            self._retired.discard(process)
            process.retire()
        self._pump()

    def _replace(self, process: _Process) -> None:
        """A new process in its place; what it has in hand it may finish."""
        if process not in self._crew or self._closed:
            return
        self._crew.remove(process)
        try:
            self._crew.append(start(self._rules))
        except FatalError as error:
            if not self._crew and not self._recruits:
                self._break(error)
        if process.in_flight:
            self._retired.add(process)
        else:
            process.retire()

    # ── poison ───────────────────────────────────────────────────────────────────────────────

    def _investigate(self) -> None:
        if self._detective is None and self._suspects and not self._closed:
            self._detective = self._loop.create_task(self._try_one_by_one(), name="parse suspects")
            self._detective.add_done_callback(self._case_closed)

    def _case_closed(self, detective: asyncio.Task[None]) -> None:
        self._detective = None
        if not detective.cancelled() and isinstance(error := detective.exception(), Exception):
            self._break(error)
        self._investigate()  # others may have come while the last cell was being closed

    async def _try_one_by_one(self) -> None:
        """Read the suspects again, each alone in a process: only the guilty one fails."""
        cell: _Process | None = None
        deaths = 0  # of processes that read the first suspect alone
        try:
            while self._suspects:
                page, _, answer = suspect = self._suspects[0]
                cell = cell or start(self._rules)
                began = time.monotonic()
                clock = Countdown(self._loop, self._config.deadline + SLACK, cell.kill)
                try:
                    if not answer.done():
                        (result,) = await asyncio.wrap_future(cell.submit([suspect], self._adopted))
                        _give(answer, result)
                except BrokenProcessPool:
                    deaths += 1
                    await cell.close()
                    cell = None
                    if deaths < PROOF:
                        continue
                    late = clock.expired or time.monotonic() - began >= self._config.deadline
                    log.warning("%s ends the process that reads it", page.link.url)
                    _give(answer, ParseError("deadline" if late else "crash"))
                finally:
                    clock.cancel()
                deaths = 0
                self._suspects.popleft()
        finally:
            if cell is not None:
                await cell.close()

    def __repr__(self) -> str:
        return f"<ParsePool {self.width} processes, {self.backlog} waiting>"


class _Process:
    """A `ProcessPoolExecutor` of one, and what is known of it."""

    def __init__(self, rules: ReaderSettings) -> None:
        self.in_flight = 0  # batches
        self.pages = 0
        self._told = 0  # adopted seeds
        self._processes: list[BaseProcess] = []
        with fork_server(), main_hidden():
            self._executor = ProcessPoolExecutor(
                1,
                mp_context=OneProcess(),
                initializer=worker_tasks.start,
                initargs=(rules,),
            )
            try:
                # Here, where an exception is noticed: the executor's thread would end of it.
                self._executor._call_queue._start_thread()  # type: ignore[attr-defined]  # noqa: SLF001
                self.sign = self._executor.submit(worker_tasks.ready)  # starts the process
            except BaseException:
                self._executor._call_queue.close()  # type: ignore[attr-defined]  # noqa: SLF001
                self.kill()
                raise
        # The executor's own records are gone once it is shut down.
        self._results = self._executor._result_queue._reader  # type: ignore[attr-defined]  # noqa: SLF001
        self._processes = list((self._executor._processes or {}).values())  # noqa: SLF001
        # The executor keeps the writing end of the result pipe open in this process. Were that
        # so, a child that dies in the middle of a long result would leave the executor's thread
        # reading for ever; with it closed, the pipe ends and the executor knows.
        self._executor._result_queue._writer.close()  # type: ignore[attr-defined]  # noqa: SLF001

    @property
    def pids(self) -> list[int]:
        return [one.pid for one in self._processes if one.pid is not None]

    async def ready(self) -> None:
        """Raises BrokenProcessPool when the process ends as soon as it starts."""
        await asyncio.wrap_future(self.sign)

    def submit(self, batch: list[Waiting], adopted: list[str]) -> Future[list[Result]]:
        tasks: list[Task] = [(page, reading) for page, reading, _ in batch]
        future = self._executor.submit(worker_tasks.read_batch, tasks, adopted[self._told :])
        self._told = len(adopted)
        self.in_flight += 1
        self.pages += len(batch)
        return future

    def kill(self) -> None:
        """End the process, whatever it does: the executor breaks, its pages are suspects."""
        for process in self._processes or (self._executor._processes or {}).values():  # noqa: SLF001
            process.kill()

    def bury(self) -> None:
        """See to it that what is taken for dead dies, once the executor is broken.

        When the fork server is killed, its processes seem dead and may live. One that is writing a
        result, which nobody reads any more, would never read on; the executor would wait for ever
        to send it the next batch, and the crawl's exit for the executor. A closed pipe ends it.
        """
        with contextlib.suppress(OSError):
            self._results.close()

    def retire(self) -> None:
        """Let the idle process go; returns at once."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def close(self) -> None:
        """End the process: gently when idle, at once when not."""
        if self.in_flight:
            self.kill()
        self._executor.shutdown(wait=False, cancel_futures=True)
        try:
            async with asyncio.timeout(SLACK):
                await asyncio.to_thread(self._executor.shutdown, wait=True)
        except TimeoutError:
            self.kill()


def start(rules: ReaderSettings) -> _Process:
    """A process more. Raises FatalError when there can be none.

    The fork server may be killed at any moment of it; the next try starts another.
    """
    for tries in range(1, STARTS + 1):
        try:
            return _Process(rules)
        except (OSError, EOFError, RuntimeError) as error:  # no thread is a RuntimeError
            if tries == STARTS:
                said = machine_fault(error) or f"{type(error).__name__}: {error}"
                raise FatalError(f"no parse process can be started: {said}") from error
    raise AssertionError("not reached")


def _give(answer: asyncio.Future[ParsedPage], result: Result) -> None:
    if answer.done():
        return
    if isinstance(result, ParseError):
        answer.set_exception(result)
    else:
        answer.set_result(result)


def usable_cpus() -> int:
    """CPUs that this process may use: its affinity, and what its container allows (cgroup v2)."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
        if quota != "max":
            cpus = min(cpus, max(1, round(int(quota) / int(period))))
    return cpus
