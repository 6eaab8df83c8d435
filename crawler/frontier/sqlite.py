"""The frontier on one SQLite file: the schedule decides in memory, the store remembers on disk.

Leases live in memory only, because one process owns the file: what was on lease when the process
died is simply still queued. One thread owns the connection; the loop waits for it, never blocks.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

from crawler.config import PaceConfig
from crawler.errors import FrontierError, Occupied
from crawler.frontier.schedule import Host, Schedule
from crawler.frontier.store import News, Store
from crawler.model import Counts, Found, Kind, Link, Outcome, Rules, Visit

BUFFER = 256
"""Links of one host read from disk at a time: 100 µs a read, 0.3 µs a link."""

P = ParamSpec("P")
T = TypeVar("T")


class SqliteFrontier:
    """Implements `protocols.Frontier`. `path` may be ":memory:" (tests, benchmarks)."""

    def __init__(
        self,
        path: Path | str,
        pace: PaceConfig,
        *,
        concurrency: int = 64,
        max_pages: int | None = None,
        by_depth: bool = False,
        robots: bool = True,
        durable: str = "process",
    ) -> None:
        self._path = path
        self._pace = pace
        self._store = Store(path, durable=durable, by_depth=by_depth)
        self._schedule = Schedule(
            width=concurrency if pace.fast else pace.per_host,
            delay=0.0 if pace.fast else pace.delay,
            robots=robots,
            max_pages=max_pages,
            by_depth=by_depth,
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="frontier")
        self._waiters: deque[asyncio.Future[Link | None]] = deque()
        self._hungry = asyncio.Event()  # the feeder has something to fetch from the store
        self._timer: asyncio.TimerHandle | None = None
        self._retry_at: float | None = None  # Unix time of the first resting link
        self._stopped = False
        self._feeder: asyncio.Task[None] | None = None
        self._lock: int | None = None

    # ── life ─────────────────────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> Self:
        """Raises Occupied when another process has the file, FrontierError when it is unusable."""
        self._loop = asyncio.get_running_loop()
        if str(self._path) != ":memory:":
            self._lock = _lock(Path(self._path))
        try:
            await self._run(self._store.open)
            await self._recall()
        except BaseException:
            self._unlock()
            self._thread.shutdown(wait=False)
            raise
        self._feeder = asyncio.create_task(self._feed(), name="frontier feeder")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        if self._feeder is not None:
            self._feeder.cancel()
            await asyncio.wait([self._feeder])
        try:
            await self._run(self._store.close)
        finally:
            self._thread.shutdown(wait=False)
            self._unlock()

    async def _recall(self) -> None:
        """Bring the hosts with queued links back; each may have been asked a moment ago."""
        waiting = await self._run(self._store.waiting)
        await self._meet({name: News(number, links) for name, number, links in waiting})
        now = time.monotonic()
        for name, number, links in waiting:
            host = self._schedule.host(name, number)
            self._schedule.rest(host, now + host.delay)
            self._schedule.queue(host, links)
        self._schedule.recall(
            pages=await self._run(self._store.pages),
            resting=(await self._run(self._store.counts)).resting,
            depths=await self._run(self._store.depths),
        )
        self._retry_at = await self._run(self._store.next_due)

    # ── the queue ────────────────────────────────────────────────────────────────────────────

    async def add(self, found: Sequence[Found], *, depth: int = 0) -> int:
        news = await self._run(self._store.add, found, depth)
        await self._meet(news)
        self._queue(news)
        self._serve()
        return sum(entry.links for entry in news.values())

    async def revisit(self, *, only_due: bool = False) -> int:
        """Begin a new run over what was visited, before the first lease.

        Its number, 0 when nothing is due. With `only_due` pages visited less than their revisit
        interval ago are left alone. What was leased and what waits is not touched.
        """
        number = await self._run(self._store.revisit, time.time(), only_due=only_due)
        if number:
            await self._recall()
        return number

    async def lease(self) -> Link | None:
        if self._stopped:
            return None
        if not self._waiters:
            link = self._schedule.take(time.monotonic())
            if link is not None:
                return link
        waiter: asyncio.Future[Link | None] = self._loop.create_future()
        self._waiters.append(waiter)
        self._serve()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and (link := waiter.result()) is not None:
                self.forgo(link)
            raise

    def release(self, link: Link, *, asked: bool = True, rest: float = 0.0) -> None:
        self._schedule.release(link, time.monotonic(), asked=asked, rest=rest)
        self._serve()

    def forgo(self, link: Link) -> None:
        self._schedule.forgo(link, time.monotonic())
        self._serve()

    async def settle(self, visits: Sequence[Visit], marks: Mapping[str, int]) -> None:
        news = await self._run(self._store.settle, visits, marks, time.time())
        await self._meet(news)
        # From here to the end nothing is awaited: children are counted in before their parents
        # are counted out, so "nothing is left" is never true by accident.
        self._queue(news)
        now = time.monotonic()
        for visit in visits:
            self._close(visit, now)
        self._serve()

    def stop(self) -> None:
        self._stopped = True
        self._answer_all(None)

    # ── what is known ────────────────────────────────────────────────────────────────────────

    async def counts(self) -> Counts:
        counts = await self._run(self._store.counts)
        return Counts(
            queued=self._schedule.queued,
            resting=counts.resting,
            leased=len(self._schedule.leased),
            done=counts.done,
            moved=counts.moved,
            unchanged=counts.unchanged,
            refused=counts.refused,
            failed=counts.failed,
            hosts=counts.hosts,
        )

    async def rules(self, origin: str) -> Rules | None:
        return await self._run(self._store.rules, origin)

    async def marks(self) -> dict[str, int]:
        """The length each sink's file had at the last commit."""
        return await self._run(self._store.marks)

    async def notes(self) -> dict[str, str | float]:
        """Facts about the crawl as a whole, as kept by `note`."""
        return await self._run(self._store.notes)

    async def note(self, **values: str | float) -> None:
        await self._run(self._store.note, **values)

    @property
    def pending(self) -> int:
        """Links that will still be visited, as the schedule counts them: costs nothing."""
        schedule = self._schedule
        return schedule.queued + schedule.resting + len(schedule.leased)

    @property
    def exhausted(self) -> bool:
        """As many pages as were asked for are done."""
        return self._schedule.exhausted

    # ── inside ───────────────────────────────────────────────────────────────────────────────

    def _serve(self) -> None:
        """Give waiting workers what may go now; otherwise see to it that somebody rings later."""
        schedule = self._schedule
        while self._waiters:
            waiter = self._waiters[0]
            if waiter.done():  # cancelled
                self._waiters.popleft()
                continue
            link = schedule.take(time.monotonic())
            if link is None:
                break
            self._waiters.popleft()
            waiter.set_result(link)
        if schedule.has_thirsty:
            self._hungry.set()
        if not self._waiters:
            return
        if schedule.exhausted or schedule.finished:
            self._answer_all(None)
        else:
            self._arm()

    def _arm(self) -> None:
        """Ring when the next host or the next resting link is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waits = []
        if (due := self._schedule.next_due()) is not None:
            waits.append(due - time.monotonic())
        if self._retry_at is not None:
            waits.append(self._retry_at - time.time())
        if waits:
            self._timer = self._loop.call_later(max(0.0, min(waits)), self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._retry_at is not None and self._retry_at <= time.time():
            self._hungry.set()
        self._serve()

    def _answer_all(self, answer: Link | None) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(answer)

    async def _feed(self) -> None:
        """Keep the schedule's buffers filled from the store."""
        try:
            while True:
                await self._hungry.wait()
                self._hungry.clear()
                if self._retry_at is not None and self._retry_at <= time.time():
                    await self._wake()
                for host in self._schedule.thirsty():
                    out = self._schedule.out(host)
                    links = await self._run(self._store.head, host.number, BUFFER, out)
                    self._schedule.fill(host, links)
                self._serve()
        except FrontierError as error:
            while self._waiters:
                waiter = self._waiters.popleft()
                if not waiter.done():
                    waiter.set_exception(error)
            raise

    async def _wake(self) -> None:
        news = await self._run(self._store.wake, time.time())
        self._retry_at = await self._run(self._store.next_due)
        await self._meet(news)
        for name, entry in news.items():
            self._schedule.wake(self._schedule.hosts[name], entry.links)

    async def _meet(self, news: Mapping[str, News]) -> None:
        """Make hosts that the schedule does not know, with what the store knows of them."""
        strangers = {e.number: n for n, e in news.items() if n not in self._schedule.hosts}
        if not strangers:
            return
        manners = await self._run(self._store.manners, list(strangers))
        now, wall = time.monotonic(), time.time()
        for number, known in manners.items():
            host = self._schedule.host(strangers[number], number)
            if known.rest_until > wall:
                self._schedule.rest(host, now + known.rest_until - wall)
            for origin, expires_at, delay in known.robots:
                self._open(host, origin, now + expires_at - wall, delay)

    def _queue(self, news: Mapping[str, News]) -> None:
        for name, entry in news.items():
            host = self._schedule.hosts[name]
            self._schedule.queue(host, entry.links, entry.depths.items())

    def _close(self, visit: Visit, now: float) -> None:
        link = visit.link
        host = self._schedule.hosts[link.host]
        self._schedule.release(link, now)
        if visit.rest:
            self._schedule.rest(host, now + visit.rest)
        again = visit.outcome is Outcome.RETRY
        if link.kind is Kind.ROBOTS:
            if visit.rules is not None:
                rules = visit.rules
                until = now + rules.expires_at - time.time()
                self._open(host, rules.origin, until, rules.delay)
            else:
                self._schedule.reask(host, now + (visit.retry_in or 0.0))
            return
        page = visit.outcome in {Outcome.DONE, Outcome.UNCHANGED} and link.kind is Kind.PAGE
        self._schedule.finish(link, page=page, again=again)
        if again:
            due = time.time() + (visit.retry_in or 0.0)
            self._retry_at = due if self._retry_at is None else min(due, self._retry_at)

    def _open(self, host: Host, origin: str, until: float, delay: float | None) -> None:
        if delay is not None:
            delay = None if self._pace.fast else min(delay, self._pace.max_crawl_delay)
        self._schedule.open(host, origin, until, delay, width=1)

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run on the frontier's thread; SQLite's errors become ours."""
        try:
            return await self._loop.run_in_executor(self._thread, lambda: work(*args, **kwargs))
        except sqlite3.Error as error:
            raise FrontierError(f"{self._path}: {error}") from error

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __repr__(self) -> str:
        return f"<SqliteFrontier {self._path}: {self._schedule!r}, {len(self._waiters)} waiting>"


def _lock(path: Path) -> int:
    """Claim the crawl for this process; the claim dies with the process, however it dies."""
    try:
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise FrontierError(f"{path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise Occupied(f"{path.parent}: another process is crawling into this folder") from error
    return lock
