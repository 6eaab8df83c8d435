"""The frontier on one SQLite file: the schedule decides in memory, the store remembers on disk.

Leases live in memory only, because one process owns the file: what was on lease when the process
died is simply still queued. One thread owns the connection; the loop waits for it, never blocks.

What changes the queue changes store and schedule under one lock (`_step`), so that the schedule's
counts, buffers and leases agree with the store whenever nobody holds it. Where they contradict each
other all the same, or nothing could ever happen again, the crawl ends with an InternalError.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

import msgspec

from crawler.config.model import PaceConfig, ScopeConfig
from crawler.errors import InternalError
from crawler.frontier.scheduling.host_cache import KEPT
from crawler.frontier.scheduling.scheduler import Scheduler
from crawler.frontier.scheduling.slot import HostQueue, SlotState
from crawler.frontier.scheduling.slot_settings import terms
from crawler.frontier.sqlite import download_rows
from crawler.frontier.sqlite.content_dedup import digest_of
from crawler.frontier.sqlite.corruption import NONSENSE, CorruptFrontier, frontier_error
from crawler.frontier.sqlite.crash_suspects import CrashSuspects
from crawler.frontier.sqlite.crawl_lock import claim
from crawler.frontier.sqlite.statements import ENDED_RUN
from crawler.frontier.sqlite.store import HostPolicy, QueueDelta, Store
from crawler.policy.autothrottle import HostPace, ResponseSample, robots_lesson
from crawler.policy.internal_errors import is_our_bug
from crawler.policy.scope import Scope
from crawler.policy.waits import EARLIER, Wait, longest, wait_of
from crawler.records import (
    Counts,
    CrawlResult,
    CrawlUrl,
    Kind,
    Outcome,
    Outlink,
    Refusal,
    RobotsRecord,
)

AFTER_PARKING = 1.0
"""Seconds that the retries of a parked host stay behind its other links, when it is tried again."""

DEATHS = "deaths"
"""The fact about the crawl that says how often it died with which links in hand, as JSON."""

LOOK = 60.0
"""Seconds after which it is looked again what is due, at the latest: while a machine sleeps, the
loop's clock stands still, and retries are due by the wall clock."""

BUFFER = 256
"""Links of one host read from disk at a time: 100 µs a read, 0.3 µs a link."""

log = logging.getLogger(__name__)

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
        traps: ScopeConfig | None = None,
        scope: Scope | None = None,
        refusals: bool = False,
        kept: int = KEPT,
    ) -> None:
        """`kept`: hosts remembered at least."""
        self._path = path
        self._pace = pace
        self._by_depth = by_depth
        self._store = Store(
            path, durable=durable, by_depth=by_depth, traps=traps, scope=scope, refusals=refusals
        )
        self._schedule = Scheduler(
            terms(pace, concurrency),
            robots=robots,
            max_pages=max_pages,
            by_depth=by_depth,
            slots=concurrency,
            rate=pace.limit_rate,
            grouping=pace.group,
            kept=kept,
        )
        self.run = 1  # which is under way: 1, and one more with each recrawl
        self._known = 0  # hosts up to this id may have been asked by an earlier run
        self._opened = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="frontier")
        self._waiters: deque[asyncio.Future[CrawlUrl | None]] = deque()
        self._turns: list[tuple[CrawlUrl, asyncio.Future[None]]] = []
        self._hungry = asyncio.Event()  # the feeder has something to fetch from the store
        self._timer: asyncio.TimerHandle | None = None
        self._retry_at: float | None = None  # Unix time of the first resting link
        self._stopped = False
        self._broken: Exception | None = None  # what ended the feeder; raised in all who wait
        self._feeding = False  # the feeder has been called and is not done
        self._step = asyncio.Lock()  # held from a change of the store until it is counted
        self._feeder: asyncio.Task[None] | None = None
        self._lock: int | None = None
        self._hand: CrashSuspects | None = None  # none in memory only
        self._deaths: dict[int, int] = {}  # of runs, with these links in hand; see `in_hand`
        self._trials = 0  # links that will still be visited alone

    # ── life ─────────────────────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> Self:
        """Raises FolderLocked when another process has the file, FrontierError when it is
        unusable.
        """
        self._loop = asyncio.get_running_loop()
        if str(self._path) != ":memory:":
            self._lock = claim(Path(self._path))
        try:
            await self._run(self._store.open)
            await self._recall()
        except BaseException:
            if self._hand is not None:
                self._hand.close(bug=False)
            self._unlock()
            self._thread.shutdown(wait=False)
            raise
        self._feeder = asyncio.create_task(self._feed(), name="frontier feeder")
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: object
    ) -> None:
        self.stop()
        if self._feeder is not None:
            self._feeder.cancel()
            await asyncio.wait([self._feeder])
        if self._hand is not None:
            self._hand.close(bug=isinstance(error, Exception) and is_our_bug(error))
        try:
            if error is None:
                await self._run(self._store.look)
        finally:
            await self._end()

    async def _end(self) -> None:
        try:
            await self._run(self._store.close)
        finally:
            self._thread.shutdown(wait=False)
            self._unlock()

    async def _recall(self) -> None:
        """Bring the hosts with queued links back; each may have been asked a moment ago."""
        self._opened = time.monotonic()
        self._known = await self._run(self._store.newest_host)
        self.run = await self._run(self._store.newest_run)
        waiting = await self._run(self._store.waiting)
        await self._meet({name: QueueDelta(number, links) for name, number, links, _ in waiting})
        for name, _, links, resting in waiting:
            host = self._schedule.hosts[name]
            self._schedule.queue(host, links)
            self._schedule.recall_resting(host, resting)
        self._schedule.recall(
            pages=await self._run(self._store.pages), depths=await self._run(self._store.depths)
        )
        self._retry_at = await self._run(self._store.next_due)
        if self._lock is not None:
            self._hand = CrashSuspects(Path(self._path))
            await self._accuse(self._hand.suspects)

    async def _accuse(self, suspects: Sequence[int]) -> None:
        """Links that the last run died with are visited one at a time, with nothing beside them:
        the next death shows which it was.
        """
        noted = str((await self.notes()).get(DEATHS, "{}"))
        self._deaths = {int(number): deaths for number, deaths in json.loads(noted).items()}
        if suspects:
            alone = len(suspects) == 1  # only then it was this one
            for number in suspects:
                self._deaths[number] = self._deaths.get(number, 0) + 1 if alone else 1
            await self.note(**{DEATHS: json.dumps(self._deaths)})
            log.warning("the last run died with %d links in hand: one at a time now", len(suspects))
        self._trials = 2 * len(self._deaths)
        self._schedule.alone = bool(self._deaths)

    # ── the queue ────────────────────────────────────────────────────────────────────────────

    async def add(self, found: Sequence[Outlink], *, depth: int = 0) -> int:
        async with self._step:
            news = await self._run(self._store.add, found, depth)
            await self._meet(news)
            self._queue(news)
        self._serve()
        return sum(entry.links for entry in news.values())

    async def torn(self) -> bool:
        """Whether the run that is under way was stopped before its end, and goes on."""
        notes = await self.notes()
        return bool(self.pending) and notes.get(ENDED_RUN) != self.run

    async def revisit(self, *, only_due: bool = False) -> int:
        """Begin a new run over what was visited, before the first lease.

        Its number, 0 when nothing is due. With `only_due` pages visited less than their revisit
        interval ago are left alone. What was leased and what waits is not touched.
        """
        async with self._step:
            number, news = await self._run(self._store.revisit, time.time(), only_due=only_due)
            await self._meet(news)
            self._queue(news)
            self._schedule.pages = await self._run(self._store.pages)
            self.run = number or self.run
        self._serve()
        return number

    async def lease(self) -> CrawlUrl | None:
        if self._broken is not None:
            raise self._broken
        if self._stopped:
            return None
        if not self._waiters:
            link = self._take()
            if link is not None:
                return link
        waiter: asyncio.Future[CrawlUrl | None] = self._loop.create_future()
        self._waiters.append(waiter)
        self._serve()
        try:
            return await waiter
        except asyncio.CancelledError:
            came = waiter.done() and not waiter.cancelled() and waiter.exception() is None
            if came and (link := waiter.result()) is not None:
                self.forgo(link)
            raise

    def _take(self) -> CrawlUrl | None:
        link = self._schedule.take(time.monotonic())
        if link is not None and self._hand is not None:
            number = self._number(link)
            self._hand.take(number)
            if self._deaths:
                self._trials -= 1
                self._schedule.alone = self._trials > 0
                deaths = self._deaths.get(number, 0)
                return msgspec.structs.replace(link, deaths=deaths) if deaths else link
        return link

    def _number(self, link: CrawlUrl) -> int:
        return -self._schedule.hosts[link.host].number if link.id is None else link.id

    def _lay_down(self, link: CrawlUrl) -> bool:
        """The link is not in hand any more. True: it was a suspect, and nobody died."""
        if self._hand is None:
            return False
        number = self._number(link)
        self._hand.drop(number)
        return self._deaths.pop(number, None) is not None

    def release(
        self,
        link: CrawlUrl,
        *,
        asked: bool = True,
        rest: float = 0.0,
        why: str = "",
        lesson: ResponseSample | None = None,
    ) -> None:
        if not self._schedule.release(
            link, time.monotonic(), asked=asked, rest=rest, why=why, lesson=lesson
        ):
            return
        if self._schedule.groups.recovered:
            self._hungry.set()
        self._serve()

    def sent(self, link: CrawlUrl) -> bool:
        if self._schedule.sent(link, time.monotonic()):
            self._serve()
        return True

    async def turn(self, link: CrawlUrl) -> None:
        if link.host not in self._schedule.hosts:
            number = await self._run(self._store.meet, link.host)
            await self._meet({link.host: QueueDelta(number)})
        if self._broken is not None:
            raise self._broken
        turn: asyncio.Future[None] = self._loop.create_future()
        self._turns.append((link, turn))
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.release(link, asked=False)
            raise

    def forgo(self, link: CrawlUrl) -> None:
        if self._hand is not None:
            self._hand.drop(self._number(link))
        self._schedule.forgo(link, time.monotonic())
        self._serve()

    async def recognise(self, visits: Sequence[CrawlResult]) -> Sequence[CrawlResult]:
        if not any(map(digest_of, visits)):  # downloads, errors: nothing to compare
            return visits
        return await self._run(self._store.recognise, visits)

    async def settle(self, visits: Sequence[CrawlResult], marks: Mapping[str, int]) -> None:
        now = time.monotonic()
        for visit in visits:
            if visit.link.kind is Kind.ROBOTS:
                self._schedule.release(visit.link, now, lesson=robots_lesson(visit))
        visits = [self._patient(visit, now) for visit in visits]
        async with self._step:
            learnt = self._learnt(now)
            leased = {*self._schedule.leased} if self._by_depth else ()
            news = await self._run(self._store.settle, visits, marks, time.time(), *learnt, leased)
            await self._meet(news)
            # From here to the end nothing is awaited: children are counted in before their parents
            # are counted out, so "nothing is left" is never true by accident.
            self._queue(news)
            now = time.monotonic()
            cleared = [visit for visit in visits if self._lay_down(visit.link)]
            for visit in visits:
                self._close(visit, now)
            if cleared:
                self._schedule.alone = bool(self._deaths) and self._trials > 0
        self._serve()
        if cleared:
            await self.note(**{DEATHS: json.dumps(self._deaths)})

    def stop(self) -> None:
        self._stopped = True
        self._answer_all(None)

    # ── what is known ────────────────────────────────────────────────────────────────────────

    async def counts(self) -> Counts:
        counts = await self._run(self._store.counts)
        queued, leased = self._schedule.queued, len(self._schedule.leased)
        return msgspec.structs.replace(counts, queued=queued, leased=leased)

    async def rules(self, origin: str) -> RobotsRecord | None:
        return await self._run(self._store.rules, origin)

    async def refusals(self, limit: int) -> list[Refusal]:
        """The next refusals for skipped.jsonl; they are settled with its mark."""
        return await self._run(self._store.refusals, limit)

    @property
    def stranded(self) -> bool:
        return bool(self.pending) and self._schedule.finished

    def paces(self, most: int = 10) -> list[HostPace]:
        return self._schedule.groups.shown(time.monotonic(), most)

    async def waits(self, most: int = 10) -> list[Wait]:
        hosts = [wait_of(pace) for pace in self._schedule.groups.waiting(time.monotonic())]
        if not self._schedule.resting:
            return longest(hosts, most)
        return longest([*hosts, *await self._run(self._store.retries, time.time(), most)], most)

    async def marks(self) -> dict[str, int]:
        """The length each sink's file had at the last commit."""
        return await self._run(self._store.marks)

    async def notes(self) -> dict[str, str | float]:
        """Facts about the crawl as a whole, as kept by `note`."""
        return await self._run(self._store.notes)

    async def note(self, **values: str | float) -> None:
        await self._run(self._store.note, **values)

    async def adopted(self) -> dict[str, str]:
        """What seeds redirected to, with the kind of address that each may have."""
        return await self._run(self._store.adopted)

    async def files(self) -> list[download_rows.Row]:
        """Every download that is known, with what there is of it."""
        return await self._run(self._store.files)

    async def keep_files(self, rows: Sequence[download_rows.Row]) -> None:
        """Write what there is of downloads: one transaction."""
        await self._run(self._store.keep_files, rows)

    def delay_of(self, host: str) -> float:
        """Seconds between two requests to a host that has a link on lease."""
        return self._schedule.hosts[host].budget.delay

    def waiting(self, host: str) -> int:
        """Links of a host that wait for their turn."""
        known = self._schedule.hosts.get(host)
        return known.pending if known is not None else 0

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
        self._take_turns()
        while self._waiters:
            waiter = self._waiters[0]
            if waiter.done():  # cancelled
                self._waiters.popleft()
                continue
            link = self._take()
            if link is None:
                break
            self._waiters.popleft()
            waiter.set_result(link)
        if schedule.has_thirsty:
            self._hungry.set()
        if self._waiters and (schedule.exhausted or schedule.finished):
            self._answer_all(None)
        if self._waiters or self._turns:
            self._arm()

    def _take_turns(self) -> None:
        """Those who wait for a host's turn go before its queue: a robots.txt depends on them."""
        now = time.monotonic()
        for link, turn in list(self._turns):
            if turn.done():  # cancelled
                self._turns.remove((link, turn))
            elif self._schedule.borrow(self._schedule.hosts[link.host], link, now):
                self._turns.remove((link, turn))
                turn.set_result(None)

    def _arm(self) -> None:
        """Ring when the next host or the next resting link is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waits = []
        # What may be leased later is of use to those who wait for it only.
        if self._waiters and (due := self._schedule.next_due()) is not None:
            waits.append(due - time.monotonic())
        if self._waiters and self._retry_at is not None:
            wait = self._retry_at - time.time()
            if wait > 0:
                waits.append(wait)
            else:  # for the feeder, which serves when it is done: a timer would only spin
                self._hungry.set()
        for link, _ in self._turns:
            budget = self._schedule.hosts[link.host].budget
            if budget.has_room:  # else a release rings, or that another was sent
                waits.append(budget.due - time.monotonic())
        if waits:
            self._timer = self._loop.call_later(max(0.0, min(*waits, LOOK)), self._ring)
        elif not (self._schedule.is_busy or self._hungry.is_set() or self._works):
            self._break(InternalError(f"nothing can happen any more: {self._schedule.standing()}"))

    @property
    def _works(self) -> bool:
        """The feeder reads, or what a change of the store brought is not counted yet."""
        return self._feeding or self._step.locked()

    def _ring(self) -> None:
        self._timer = None
        try:
            self._serve()
        except Exception as error:  # noqa: BLE001 - raised again in everybody who waits
            self._break(error)

    def _break(self, error: Exception) -> None:
        """The frontier cannot go on: raise it in everybody who waits, now and later."""
        self._broken = self._broken or error
        waiting: list[asyncio.Future[Any]] = [*self._waiters, *(turn for _, turn in self._turns)]
        self._waiters.clear()
        self._turns.clear()
        for one in waiting:
            if not one.done():
                one.set_exception(error)

    def _answer_all(self, answer: CrawlUrl | None) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(answer)

    async def _feed(self) -> None:
        """Keep the schedule's buffers filled from the store, and its hosts few."""
        try:
            while True:
                await self._hungry.wait()
                self._hungry.clear()
                self._feeding = True
                async with self._step:
                    await self._wake()
                for host in self._schedule.thirsty():
                    async with self._step:
                        await self._fill(host)
                self._feeding = False
                self._serve()
                self._schedule.forget(time.monotonic(), (link.host for link, _ in self._turns))
        except Exception as error:  # noqa: BLE001 - raised again in everybody who waits
            self._break(error)

    async def _fill(self, host: HostQueue) -> None:
        """Read more of a host's queue; what has become a trap's is parked."""
        out = self._schedule.out(host)
        links, parked = await self._run(self._store.head, host.number, BUFFER, out)
        if parked:
            self._schedule.park(host, parked)
        if parked and not links:  # there may be more behind them
            self._schedule.reread(host)
        else:
            self._schedule.fill(host, links)

    async def _wake(self) -> None:
        """Queue again what rested long enough, and what a host that recovered has resting."""
        if recovered := self._schedule.groups.recovered:
            self._schedule.groups.recovered = set()
            await self._run(self._store.hasten, recovered, time.time() + AFTER_PARKING)
            self._retry_at = await self._run(self._store.next_due)
        if self._retry_at is None or self._retry_at > time.time():
            return
        news = await self._run(self._store.wake, time.time())
        self._retry_at = await self._run(self._store.next_due)
        await self._meet(news)
        for name, entry in news.items():
            self._schedule.wake(self._schedule.hosts[name], entry.links)

    async def _meet(self, news: Mapping[str, QueueDelta]) -> None:
        """Make hosts that the schedule does not know, with what the store knows of them."""
        hosts, key_of = self._schedule.hosts, self._schedule.groups.key_of
        # Some may be forgotten while others are looked up; with the last look nothing is awaited.
        while strangers := {e.number: n for n, e in news.items() if n not in hosts}:
            manners = await self._run(self._store.manners, list(strangers))
            keys = {key_of(strangers[n], known.address) for n, known in manners.items()}
            paces = await self._run(self._store.paces, keys)
            taught = {kept.key: kept for kept in paces}
            for number, known in manners.items():
                if strangers[number] not in hosts:
                    self._admit(strangers[number], number, known, taught)

    def _admit(
        self, name: str, number: int, known: HostPolicy, taught: dict[str, SlotState]
    ) -> None:
        """A host comes with all that is known of it at once, so that it is asked no sooner."""
        host = self._schedule.host(name, number, known.address)
        now, wall = time.monotonic(), time.time()
        kept = taught.get(host.budget.key)
        if kept is not None and len(host.budget.members) == 1:
            until = now + kept.parked_until - wall
            host.budget.recall(kept._replace(parked_until=until))
        if known.rest_until > wall:
            until, why = now + known.rest_until - wall, known.why or EARLIER
            self._schedule.rest(host, until, why, known.url)
        for origin, expires_at, delay in known.robots:
            self._open(host, origin, now + expires_at - wall, delay, fresh=False)
        if number <= self._known:  # it may have been asked a moment before this run
            self._schedule.rest(host, self._opened + host.budget.delay)

    def _queue(self, news: Mapping[str, QueueDelta]) -> None:
        for name, entry in news.items():
            host = self._schedule.hosts[name]
            self._schedule.queue(host, entry.links, entry.depths.items())
            if entry.stale:
                self._schedule.reread(host)

    def _close(self, visit: CrawlResult, now: float) -> None:
        link = visit.link
        host = self._schedule.hosts[link.host]
        self._schedule.release(link, now)
        if visit.rest:
            self._schedule.rest(host, now + visit.rest, visit.rest_why, link.url)
        again = visit.outcome is Outcome.RETRY
        if link.kind is Kind.ROBOTS:
            if visit.rules is not None:
                rules = visit.rules
                until = now + rules.expires_at - time.time()
                self._open(host, rules.origin, until, rules.delay)
            else:
                self._schedule.reask(host, now + (visit.retry_in or 0.0), visit.rest_why, link.url)
            return
        page = visit.outcome in {Outcome.DONE, Outcome.UNCHANGED} and link.kind is Kind.PAGE
        self._schedule.finish(link, page=page, again=again)
        if again:
            due = time.time() + (visit.retry_in or 0.0)
            self._retry_at = due if self._retry_at is None else min(due, self._retry_at)

    def _open(
        self, host: HostQueue, origin: str, until: float, asked: float | None, *, fresh: bool = True
    ) -> None:
        if asked is None or self._pace.fast:
            self._schedule.open(host, origin, until, None, fresh=fresh)
            return
        delay = min(asked, self._pace.max_crawl_delay)
        if delay < asked and host.budget.asked is None:
            log.warning("%s asks for %g s between requests; %g s are kept", host.name, asked, delay)
        self._schedule.open(host, origin, until, delay, asked, fresh=fresh)

    def _learnt(self, now: float) -> tuple[list[SlotState], dict[int, str]]:
        """What hosts taught since the last commit, ready for the store."""
        ahead = time.time() - now
        taught = [
            kept._replace(parked_until=kept.parked_until + ahead if kept.parks else 0.0)
            for kept in self._schedule.groups.taught()
        ]
        met, self._schedule.groups.met = self._schedule.groups.met, {}
        return taught, met

    def _patient(self, visit: CrawlResult, now: float) -> CrawlResult:
        """A retry on a parked host waits until others have shown whether it is back."""
        if visit.outcome is not Outcome.RETRY:
            return visit
        parked = self._schedule.hosts[visit.link.host].budget.parked_until
        if parked <= now:
            return visit
        wait = max(visit.retry_in or 0.0, parked - now + AFTER_PARKING)
        return msgspec.structs.replace(visit, retry_in=wait)

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run on the frontier's thread; SQLite's errors become ours, and a damaged file's."""
        try:
            return await self._loop.run_in_executor(self._thread, lambda: work(*args, **kwargs))
        except sqlite3.Error as error:
            raise frontier_error(self._path, error) from error
        except NONSENSE as error:
            wrong = await self._loop.run_in_executor(self._thread, self._store.damage)
            if wrong:
                raise frontier_error(self._path, CorruptFrontier(wrong)) from error
            raise

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __repr__(self) -> str:
        return f"<SqliteFrontier {self._path}: {self._schedule!r}, {len(self._waiters)} waiting>"
