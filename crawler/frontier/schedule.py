"""Who may be asked now: the order of hosts and the pace of each, in memory and pure.

The schedule holds a short buffer of links per host and decides; the store holds the rest on disk.
Time is an argument (monotonic seconds), so tests move it by hand. Hosts stand in a heap by the
moment they may next be asked; a host at its full width, empty or waiting for its robots.txt stands
nowhere and costs nothing until the event that brings it back.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterable
from itertools import count

from crawler.model import Kind, Link
from crawler.urls import origin

LOW_WATER = 16  # links in a host's buffer below which it asks for more


class Host:
    """One politeness key: what waits for it, what is on the way, when it may be asked again."""

    __slots__ = (
        "asking", "buffer", "delay", "due", "floor", "in_flight", "listed", "name", "number",
        "open_until", "pending", "width",
    )  # fmt: skip

    def __init__(self, name: str, number: int, width: int, delay: float) -> None:
        self.name = name
        self.number = number  # its id in the store
        self.width = width
        self.floor = delay  # our own delay; a Crawl-delay can only raise it
        self.delay = delay
        self.due = 0.0
        self.in_flight = 0
        self.pending = 0  # queued links, those in the buffer included, leased ones not
        self.buffer: deque[Link] = deque()
        self.open_until: dict[str, float] = {}  # origin → when its robots.txt expires
        self.asking = False  # a robots.txt is on its way: nothing else goes
        self.listed = False  # stands in the heap

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.pending} queued, {self.in_flight}/{self.width} in flight>"


class Schedule:
    """Decides which link goes next. Not thread-safe; every method returns at once."""

    def __init__(
        self,
        *,
        width: int,
        delay: float,
        robots: bool = True,
        max_pages: int | None = None,
        by_depth: bool = False,
    ) -> None:
        self.hosts: dict[str, Host] = {}
        self.pages = 0  # finished pages; with those on lease they count against max_pages
        self.leased: dict[int, Link] = {}  # by link id
        self.queued = 0
        self.resting = 0
        self._width = width
        self._delay = delay
        self._robots = robots
        self._max_pages = max_pages
        self._by_depth = by_depth
        self._open_at: Counter[int] = Counter()  # unfinished links per depth, when by_depth
        self._deep: list[Host] = []  # hosts whose first link lies deeper than others' unfinished
        self._heap: list[tuple[float, int, Host]] = []
        self._turn = count()  # equal due times are served in order of arrival: round robin
        self._thirsty: dict[str, Host] = {}
        self._abroad: dict[int | str, tuple[float, float]] = {}  # departed: due before, due after
        self._asking = 0

    # ── what comes in ────────────────────────────────────────────────────────────────────────

    def host(self, name: str, number: int) -> Host:
        """The host of that name, made when it is new."""
        host = self.hosts.get(name)
        if host is None:
            host = self.hosts[name] = Host(name, number, self._width, self._delay)
        return host

    def queue(self, host: Host, number: int, depths: Iterable[tuple[int, int]] = ()) -> None:
        """`number` more links of a host wait in the store."""
        host.pending += number
        self.queued += number
        if self._by_depth:
            for depth, links in depths:
                self._open_at[depth] += links
        if len(host.buffer) < LOW_WATER:
            self._thirsty[host.name] = host

    def recall(self, *, pages: int, resting: int, depths: Iterable[tuple[int, int]]) -> None:
        """Take up an earlier crawl's sums."""
        self.pages = pages
        self.resting = resting
        if self._by_depth:
            self._open_at = Counter(dict(depths))

    def fill(self, host: Host, links: Iterable[Link]) -> None:
        """Links fetched from the store, in order, none of them in the buffer or on lease."""
        host.buffer.extend(links)
        if host.buffer:
            self._list(host)

    @property
    def has_thirsty(self) -> bool:
        return bool(self._thirsty)

    def thirsty(self) -> list[Host]:
        """Hosts that have more in the store than in their buffer; asking empties the list."""
        hosts = [h for h in self._thirsty.values() if h.pending > len(h.buffer)]
        self._thirsty.clear()
        return hosts

    def out(self, host: Host) -> set[int]:
        """Ids of the host's links that the store still counts as queued but we hold."""
        held = {link.id for link in self.leased.values() if link.host == host.name}
        held.update(link.id for link in host.buffer)
        return {number for number in held if number is not None}

    # ── what goes out ────────────────────────────────────────────────────────────────────────

    def take(self, now: float) -> Link | None:
        """Lease the next link. None: no host may be asked at this moment."""
        while self._heap and self._heap[0][0] <= now:
            if self._budget_is_out():
                return None
            _, _, host = heapq.heappop(self._heap)
            host.listed = False
            link = self._first(host, now)
            if link is not None:
                return link
        return None

    def _first(self, host: Host, now: float) -> Link | None:
        if host.asking or host.in_flight >= host.width:
            return None  # release() lists it again
        if host.due > now:
            self._list(host)
            return None
        if not host.buffer:
            if host.pending:
                self._thirsty[host.name] = host
            return None
        link = host.buffer[0]
        if self._by_depth and link.depth > self._level():
            self._deep.append(host)
            return None
        if self._robots:
            home = origin(link.url)
            if host.open_until.get(home, 0.0) <= now:
                return self._ask_robots(host, home, now)
        host.buffer.popleft()
        host.pending -= 1
        self.queued -= 1
        assert link.id is not None
        self.leased[link.id] = link
        self._depart(host, link, now)
        if len(host.buffer) < LOW_WATER and host.pending > len(host.buffer):
            self._thirsty[host.name] = host
        self._list(host)
        return link

    def _ask_robots(self, host: Host, home: str, now: float) -> Link | None:
        if host.in_flight:
            return None  # the others come home first: robots.txt goes alone
        host.asking = True
        self._asking += 1
        link = Link(url=f"{home}/robots.txt", host=host.name, kind=Kind.ROBOTS)
        self._depart(host, link, now)
        return link

    def _depart(self, host: Host, link: Link, now: float) -> None:
        before = host.due
        host.in_flight += 1
        host.due = max(host.due, now + host.delay)
        self._abroad[link.id or link.url] = (before, host.due)

    def borrow(self, host: Host, link: Link, now: float) -> bool:
        """Ask a host for what is not in its queue, when it may be asked; `release` ends it."""
        if host.due > now or host.in_flight >= host.width:
            return False
        self._depart(host, link, now)
        return True

    # ── what comes back ──────────────────────────────────────────────────────────────────────

    def release(self, link: Link, now: float, *, asked: bool = True, rest: float = 0.0) -> None:
        """The connection is back. A pause counts from here when the host is visited alone."""
        departed = self._abroad.pop(link.id or link.url, None)
        if departed is None:
            return
        before, after = departed
        host = self.hosts[link.host]
        host.in_flight -= 1
        if not asked:
            if host.due == after:  # nobody else has been asked, or asked us to rest, since
                host.due = before
        elif host.width == 1:
            # RFC 9309 leaves Crawl-delay open; from the end of the answer is the reading that
            # no server can call too fast, whatever the connection's set-up cost.
            host.due = max(host.due, now + host.delay)
        host.due = max(host.due, now + rest)
        self._list(host)

    def open(self, host: Host, home: str, until: float, delay: float | None, width: int) -> None:
        """An origin's robots.txt is known: its links may go, at its pace."""
        host.open_until[home] = until
        if delay is not None and delay > host.delay:
            host.delay = delay
            host.width = min(host.width, width)
        if host.asking:
            host.asking = False
            self._asking -= 1
        self._list(host)

    def reask(self, host: Host, due: float) -> None:
        """The robots.txt could not be had: ask again at `due`, nothing else before."""
        if host.asking:
            host.asking = False
            self._asking -= 1
        host.due = max(host.due, due)
        self._list(host)

    def finish(self, link: Link, *, page: bool = False, again: bool = False) -> None:
        """A leased link was settled. `again`: it rests in the store until its next try."""
        assert link.id is not None
        self.leased.pop(link.id, None)
        self.pages += page
        self.resting += again
        if self._by_depth and not again:
            self._open_at[link.depth] -= 1
            self._level_up(link.depth)

    def wake(self, host: Host, number: int) -> None:
        """Resting links of a host are queued again in the store."""
        self.resting -= number
        host.pending += number
        self.queued += number
        # What woke may come before what is buffered: read the head of the queue anew.
        host.buffer.clear()
        self._thirsty[host.name] = host

    def forgo(self, link: Link, now: float) -> None:
        """A leased link comes back unvisited, to the head of its host's queue."""
        self.release(link, now, asked=False)
        host = self.hosts[link.host]
        if link.id is None:  # a robots.txt
            self.reask(host, now)
            return
        if self.leased.pop(link.id, None) is not None:
            host.buffer.appendleft(link)
            host.pending += 1
            self.queued += 1
            self._list(host)

    # ── what it knows ────────────────────────────────────────────────────────────────────────

    @property
    def finished(self) -> bool:
        """Nothing is queued, resting or on lease: there will be no more work."""
        return not (self.queued or self.resting or self.leased or self._asking)

    @property
    def exhausted(self) -> bool:
        """As many pages as were asked for are done."""
        return self._max_pages is not None and self.pages >= self._max_pages

    def next_due(self) -> float | None:
        """When the next host may be asked; None: only an event can change anything."""
        if not self._heap or self._budget_is_out():
            return None
        return self._heap[0][0]

    def rest(self, host: Host, until: float) -> None:
        """The host is not asked anything before `until`."""
        host.due = max(host.due, until)

    def _budget_is_out(self) -> bool:
        return self._max_pages is not None and self.pages + len(self.leased) >= self._max_pages

    def _level(self) -> int:
        return min((depth for depth, links in self._open_at.items() if links > 0), default=0)

    def _level_up(self, depth: int) -> None:
        if self._open_at[depth] <= 0:
            del self._open_at[depth]
            deep, self._deep = self._deep, []
            for host in deep:
                self._list(host)

    def _list(self, host: Host) -> None:
        if host.listed or host.asking or not host.pending or host.in_flight >= host.width:
            return
        host.listed = True
        heapq.heappush(self._heap, (host.due, next(self._turn), host))

    def __repr__(self) -> str:
        return (
            f"<Schedule {self.queued} queued, {self.resting} resting, {len(self.leased)} leased, "
            f"{len(self.hosts)} hosts>"
        )
