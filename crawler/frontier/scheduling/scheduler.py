"""The scheduler: which host may be asked now, by order and by pace. In memory, pure.

The schedule holds a short buffer of links per host and decides; the store holds the rest on disk.
Time is an argument (monotonic seconds), so tests move it by hand. Budgets stand in a heap by the
moment they may next be asked, and the hosts that share one take turns in its ring; a budget at its
full width, a host that is empty or waits for its robots.txt stand nowhere and cost nothing until
the event that brings them back.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain, count

from crawler.errors import InternalError
from crawler.frontier.scheduling.depth_barrier import DepthBarrier
from crawler.frontier.scheduling.host_cache import KEPT, HostCache
from crawler.frontier.scheduling.slot import HostQueue, Reservation, Slot
from crawler.frontier.scheduling.slot_registry import Grouping, SlotRegistry
from crawler.frontier.scheduling.slot_settings import SlotSettings
from crawler.policy.autothrottle import ResponseSample
from crawler.policy.token_bucket import TokenBucket
from crawler.policy.urls import origin
from crawler.records import CrawlUrl, Kind


class Scheduler:
    """Decides which link goes next. Not thread-safe; every method returns at once.

    `slots`: links under way at most, so that none waits for a connection after its moment has
    come. `rate`: bytes a second of all hosts together. `kept`: hosts remembered at least.
    """

    def __init__(
        self,
        terms: SlotSettings,
        *,
        robots: bool = True,
        max_pages: int | None = None,
        by_depth: bool = False,
        slots: int | None = None,
        rate: int | None = None,
        grouping: Grouping = "host",
        kept: int = KEPT,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self.groups = SlotRegistry(terms, grouping)
        self._roster = HostCache(self.groups, kept)
        self.hosts = self._roster.hosts
        self.pages = 0  # finished pages; with those on lease they count against max_pages
        self.leased: dict[int, CrawlUrl] = {}  # by link id
        self.alone = False  # one link at a time, of all hosts
        self.queued = 0
        self.resting = 0
        self._robots = robots
        self._max_pages = max_pages
        self._levels = DepthBarrier() if by_depth else None
        self._slots = slots
        self._meter = TokenBucket(rate) if rate else None
        self._dice = dice
        self._heap: list[tuple[float, int, Slot]] = []
        self._turn = count(1)  # equal due times are served in order of arrival: round robin
        self._thirsty: dict[str, HostQueue] = {}
        self._abroad: dict[int | str, tuple[Reservation, float]] = {}  # … and bytes reserved of all
        self._unsent: set[int | str] = set()  # of these, those whose pause has not begun
        self._asking = 0

    # ── what comes in ────────────────────────────────────────────────────────────────────────

    def host(self, name: str, number: int, address: str | None = None) -> HostQueue:
        """The host of that name, made when it is new. `address`: as an earlier run learnt it."""
        return self._roster.admit(name, number, address)

    def forget(self, now: float, needed: Iterable[str] = ()) -> None:
        """Let hosts go that have nothing to do, some at a time; `needed` are names that stay.

        Whoever knows hosts by name across an await meets them again afterwards.
        """
        leased = (link.host for link in self.leased.values())
        self._roster.forget(now, chain(leased, needed))

    def queue(self, host: HostQueue, number: int, depths: Iterable[tuple[int, int]] = ()) -> None:
        """`number` more links of a host wait in the store; at a depth there may be fewer, where
        some turned out to be less deep.

        With depth as a barrier, what is buffered stays a beginning of the store's order: buffered
        links that are deeper than a new one are dropped, and read again behind it.
        """
        host.pending += number
        self.queued += number
        if self._levels is not None:
            depths = [*depths]
            self._levels.begin(depths)
            least = min((depth for depth, links in depths if links > 0), default=None)
            if least is not None and host.buffer and host.buffer[0].depth > least:
                host.buffer = [link for link in host.buffer if link.depth <= least]
                if not host.buffer:  # else its next link is the same, and held as before
                    self._levels.unhold(host)
        if host.is_low:
            self._thirsty[host.name] = host

    def recall(self, *, pages: int, depths: Iterable[tuple[int, int]]) -> None:
        """Take up an earlier crawl's sums."""
        self.pages = pages
        if self._levels is not None:
            self._levels.recall(depths)

    def recall_resting(self, host: HostQueue, number: int) -> None:
        """So many links of a host rest in the store from earlier."""
        host.resting += number
        self.resting += number

    def fill(self, host: HostQueue, links: Iterable[CrawlUrl]) -> None:
        """Links fetched from the store, in order, none of them in the buffer or on lease.

        Raises InternalError when there are none though some are counted.
        """
        fresh = [*links]
        if not fresh and host.pending > len(host.buffer):
            missing = host.pending - len(host.buffer)
            raise InternalError(
                f"{host.name} has {missing} links queued that the frontier does not hold ({self})"
            )
        host.buffer[:0] = fresh[::-1]
        if self._levels is not None:
            self._levels.unhold(host)
        if host.buffer:
            self._list(host)

    @property
    def has_thirsty(self) -> bool:
        return bool(self._thirsty)

    def thirsty(self) -> list[HostQueue]:
        """Hosts that have more in the store than in their buffer; asking empties the list."""
        hosts = [h for h in self._thirsty.values() if h.pending > len(h.buffer)]
        self._thirsty.clear()
        return hosts

    def out(self, host: HostQueue) -> set[int]:
        """Ids of the host's links that the store still counts as queued but we hold."""
        held = {link.id for link in self.leased.values() if link.host == host.name}
        held.update(link.id for link in host.buffer)
        return {number for number in held if number is not None}

    # ── what goes out ────────────────────────────────────────────────────────────────────────

    def take(self, now: float) -> CrawlUrl | None:
        """Lease the next link. None: no host may be asked at this moment."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            if self._is_shut() or (self._meter is not None and self._meter.due > now):
                return None
            _, turn, budget = heapq.heappop(heap)
            if budget.listed != turn:
                continue  # it was listed again, for an earlier moment
            budget.listed = 0
            link = None
            if budget.due <= now and budget.has_room:
                link = self._first(budget, now)
            self._stand(budget)
            if link is not None:
                return link
        return None

    def _first(self, budget: Slot, now: float) -> CrawlUrl | None:
        """The first link of the ring that may go; hosts with none leave it."""
        ring = budget.ring
        while ring:
            host = ring.pop(0)
            host.ready = False
            link = self._next(host, now)
            if link is not None:
                if host.pending and not host.asking:
                    host.ready = True
                    ring.append(host)
                return link
        return None

    def _next(self, host: HostQueue, now: float) -> CrawlUrl | None:
        if host.asking:
            return None  # its answer lists it again, as do the other events below
        if not host.buffer:
            if host.pending:
                self._thirsty[host.name] = host
            return None
        link = host.buffer[-1]
        if self._levels is not None and self._levels.hold(host, link.depth):
            return None
        if self._robots:
            home = origin(link.url)
            if host.open_until.get(home, 0.0) <= now and home not in host.unused:
                return self._ask_robots(host, home, now)
            if host.unused:
                host.unused = tuple(one for one in host.unused if one != home)
        host.buffer.pop()
        host.pending -= 1
        self.queued -= 1
        assert link.id is not None
        self.leased[link.id] = link
        self._depart(host, link, now)
        if host.is_low:
            self._thirsty[host.name] = host
        return link

    def _ask_robots(self, host: HostQueue, home: str, now: float) -> CrawlUrl | None:
        if host.in_flight:
            return None  # the others come home first: robots.txt goes alone
        host.asking = True
        self._asking += 1
        link = CrawlUrl(url=f"{home}/robots.txt", host=host.name, kind=Kind.ROBOTS)
        self._depart(host, link, now)
        return link

    def _depart(self, host: HostQueue, link: CrawlUrl, now: float) -> None:
        host.in_flight += 1
        reserved = self._meter.reserve(now) if self._meter is not None else 0.0
        trip = host.budget.depart(now, self._dice)
        self._abroad[link.id or link.url] = trip, reserved
        if trip.waits:
            self._unsent.add(link.id or link.url)

    def borrow(self, host: HostQueue, link: CrawlUrl, now: float) -> bool:
        """Ask a host for what is not in its queue, when it may be asked; `release` ends it."""
        budget = host.budget
        if budget.due > now or not budget.has_room:
            return False
        self._depart(host, link, now)
        return True

    def sent(self, link: CrawlUrl, now: float) -> bool:
        """The link's request is being written: the host's pause begins, if there is one. False:
        nothing has changed.
        """
        key = link.id or link.url
        departed = self._abroad.get(key)
        if departed is None or not departed[0].pause:
            return False
        budget = self.hosts[link.host].budget
        budget.sent(departed[0], now, again=key not in self._unsent)
        self._unsent.discard(key)
        self._stand(budget)
        return True

    # ── what comes back ──────────────────────────────────────────────────────────────────────

    def release(
        self,
        link: CrawlUrl,
        now: float,
        *,
        asked: bool = True,
        rest: float = 0.0,
        why: str = "",
        lesson: ResponseSample | None = None,
    ) -> bool:
        """The connection is back. A pause counts from here when the host is visited alone.

        False: it was back already.
        """
        key = link.id or link.url
        departed = self._abroad.pop(key, None)
        if departed is None:
            return False
        trip, reserved = departed
        host = self.hosts[link.host]
        if key in self._unsent:  # no request was written
            self._unsent.remove(key)
            host.budget.unsent -= 1
        host.in_flight -= 1
        if self._meter is not None:
            number = None if not asked else lesson.bytes if lesson is not None else 0
            self._meter.correct(reserved, number)
        if asked:
            budget = self.groups.back(host, trip, now, lesson)
        else:
            budget = host.budget
            budget.refund(trip)
            budget.listed = 0  # it may go earlier than it stands
        if rest:
            self.groups.rest(host, now + rest, why, link.url)
        self._list(host)
        return True

    def open(
        self,
        host: HostQueue,
        home: str,
        until: float,
        delay: float | None,
        asked: float | None = None,
        fresh: bool = True,
    ) -> None:
        """An origin's robots.txt is known: its links may go, at its pace.

        `delay` is its Crawl-delay as it is honoured, `asked` as it was written; None: none.
        `fresh`: it was fetched just now. Then it holds for one link at least: with a pace slower
        than its age it would else be fetched for ever, and never a link.
        """
        host.open_until[home] = until
        if fresh and home not in host.unused:
            host.unused = (*host.unused, home)
        if delay is not None:
            self.groups.slow(host, delay, asked)
        self._asked(host)

    def reask(self, host: HostQueue, due: float, why: str = "", url: str = "") -> None:
        """The robots.txt could not be had: ask again at `due`, nothing else before."""
        self.groups.rest(host, due, why, url)
        self._asked(host)

    def _asked(self, host: HostQueue) -> None:
        if host.asking:
            host.asking = False
            self._asking -= 1
        self._list(host)

    def finish(self, link: CrawlUrl, *, page: bool = False, again: bool = False) -> None:
        """A leased link was settled. `again`: it rests in the store until its next try."""
        assert link.id is not None
        self.leased.pop(link.id, None)
        self.pages += page
        if again:
            self.recall_resting(self.hosts[link.host], 1)
        elif self._levels is not None:
            for host in self._levels.end(link.depth):
                self._list(host)

    def park(self, host: HostQueue, depths: Counter[int]) -> None:
        """Queued links of a host were parked in the store."""
        number = depths.total()
        host.pending -= number
        self.queued -= number
        if self._levels is not None:
            for depth, links in depths.items():
                for freed in self._levels.end(depth, links):
                    self._list(freed)

    def reread(self, host: HostQueue) -> None:
        """What is buffered may have been judged anew in the store."""
        host.buffer.clear()
        self._thirsty[host.name] = host
        if self._levels is not None:
            self._levels.unhold(host)

    def wake(self, host: HostQueue, number: int) -> None:
        """Resting links of a host are queued again in the store."""
        self.recall_resting(host, -number)
        host.pending += number
        self.queued += number
        # What woke may come before what is buffered: read the head of the queue anew.
        self.reread(host)

    def forgo(self, link: CrawlUrl, now: float) -> None:
        """A leased link comes back unvisited, to the head of its host's queue."""
        self.release(link, now, asked=False)
        host = self.hosts[link.host]
        if link.id is None:  # a robots.txt
            self.reask(host, now)
            return
        if self.leased.pop(link.id, None) is not None:
            host.buffer.append(link)
            if self._levels is not None:  # shallower ones may have come meanwhile
                host.buffer.sort(key=lambda one: one.depth, reverse=True)
                self._levels.unhold(host)
            host.pending += 1
            self.queued += 1
            self._list(host)

    # ── what it knows ────────────────────────────────────────────────────────────────────────

    @property
    def finished(self) -> bool:
        """Nothing is queued, resting or on lease: there will be no more work.

        Links of hosts that were parked too often in a row do not count; they stay queued.
        """
        if self.leased or self._asking:
            return False
        left = self.queued + self.resting
        return not left or (self.groups.some_are_tired and left == self._stranded())

    @property
    def exhausted(self) -> bool:
        """As many pages as were asked for are done."""
        return self._max_pages is not None and self.pages >= self._max_pages

    @property
    def is_busy(self) -> bool:
        """Something is on lease or under way: its end is an event to come."""
        return bool(self.leased or self._abroad or self._asking)

    def standing(self) -> str:
        """What is left, and where the first of it waits: for a message."""
        waiting = [host for host in self.hosts.values() if host.pending or host.resting]
        first = f", the first at {waiting[0].name}" if waiting else ""
        return f"{self.queued} queued and {self.resting} resting at {len(waiting)} hosts{first}"

    def next_due(self) -> float | None:
        """When the next host may be asked; None: only an event can change anything."""
        heap = self._heap
        while heap and heap[0][2].listed != heap[0][1]:
            heapq.heappop(heap)
        if not heap or self._is_shut():
            return None
        return heap[0][0] if self._meter is None else max(heap[0][0], self._meter.due)

    def rest(self, host: HostQueue, until: float, why: str = "", url: str = "") -> None:
        """The host is not asked anything before `until`. `why` and `url`: see `HostPace`."""
        self.groups.rest(host, until, why, url)

    def _stranded(self) -> int:
        """Links of tired hosts, and those that wait for a level which these keep open."""
        held = () if self._levels is None else self._levels.held
        waiting = (host.pending for host in held if not self.groups.is_tired(host))
        return self.groups.stranded() + sum(waiting)

    def _is_shut(self) -> bool:
        """Nobody may go: all slots are taken, or the pages asked for are on their way."""
        if self.alone and (self.leased or self._abroad or self._asking):
            return True
        if self._slots is not None and len(self._abroad) >= self._slots:
            return True
        return self._max_pages is not None and self.pages + len(self.leased) >= self._max_pages

    def _list(self, host: HostQueue) -> None:
        """The host has something to ask for, or its budget is free again."""
        budget = host.budget
        if not host.ready and host.pending and not host.asking:
            host.ready = True
            budget.ring.append(host)
        self._stand(budget)

    def _stand(self, budget: Slot) -> None:
        """See to it that a budget that may be asked stands in the heap, at its moment."""
        if budget.ring and not budget.listed and budget.has_room:
            budget.listed = turn = next(self._turn)
            heapq.heappush(self._heap, (budget.due, turn, budget))

    def __repr__(self) -> str:
        return (
            f"<Schedule {self.queued} queued, {self.resting} resting, {len(self.leased)} leased, "
            f"{len(self.hosts)} hosts>"
        )
