"""Whose turn it is at a host that several crawls of one process visit: the host sees one visitor.

Each crawl's frontier keeps the pace of its own links. Beyond that, a link that a frontier leases
waits here for its turn at the host, first come, first served, so the pauses between requests and
the number at a time hold for all crawls together, and a Retry-After that one was given is heeded
by the others. A crawl that is `fast` (its owner's own servers) takes no turns.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from crawler.config.model import PaceConfig
from crawler.interfaces import Frontier
from crawler.records import CrawlResult, CrawlUrl

LONGEST: Final = 120.0
"""Seconds that a worker waits for a turn. A host that rests longer gives its link back instead, so
that one resting host holds no worker; twice the longest Crawl-delay keeps its order of arrival.
"""

IDLE_HOSTS: Final = 10_000
"""Hosts remembered before those that owe nothing are forgotten."""


class HostState(msgspec.Struct):
    """A host as all crawls together treat it. `due`: monotonic time of the next request."""

    due: float = 0.0
    granted: float = 0.0  # `due` as the last turn left it
    visiting: int = 0
    unsent: int = 0  # of these, how many have a pause to keep that has not begun
    waiting: deque[tuple[int, float, asyncio.Future[bool]]] = msgspec.field(default_factory=deque)
    timer: asyncio.TimerHandle | None = None


class HostThrottle:
    """One for the process. Lives in the event loop; every call returns at once or awaits a turn."""

    def __init__(self) -> None:
        self._hosts: dict[str, HostState] = {}
        self._most = IDLE_HOSTS

    def rest_of(self, host: str) -> float:
        """Seconds until the host may be asked, as far as is known."""
        stay = self._hosts.get(host)
        return 0.0 if stay is None else max(0.0, stay.due - time.monotonic())

    def ask(self, host: str, width: int, delay: float) -> asyncio.Future[bool]:
        """Our turn, sooner or later: True when it has come; `leave` must follow then.

        `sent` once for a `delay`. Who gives up waiting sets False or cancels.
        """
        stay = self._stay(host)
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        stay.waiting.append((width, delay, turn))
        self._call(host, stay)
        return turn

    def sent(self, host: str, delay: float, *, again: bool = False) -> None:
        """The request is being written: the pause begins, and others may go after it. `again`: it
        was before, on a connection that broke.
        """
        stay = self._stay(host)
        stay.unsent -= not again
        stay.due = max(stay.due, time.monotonic() + delay)
        self._call(host, stay)

    def leave(
        self, host: str, *, asked: bool = True, unsent: bool = False, pause: float = 0.0
    ) -> None:
        """The request is over, or, `unsent`, was never written. `pause`: seconds, from now, before
        anybody's next.
        """
        stay = self._stay(host)
        stay.visiting = max(0, stay.visiting - 1)
        stay.unsent -= unsent
        now = time.monotonic()
        if not asked and not stay.visiting and stay.due == stay.granted:
            stay.due = min(stay.due, now)  # nobody called or asked for rest: no pause is owed
        stay.due = max(stay.due, now + pause)
        self._call(host, stay)

    def _stay(self, host: str) -> HostState:
        stay = self._hosts.get(host)
        if stay is None:
            if len(self._hosts) >= self._most:
                now = time.monotonic()
                self._hosts = {
                    name: one
                    for name, one in self._hosts.items()
                    if one.visiting or one.waiting or one.due > now
                }
                self._most = max(IDLE_HOSTS, 2 * len(self._hosts))
            stay = self._hosts[host] = HostState()
        return stay

    def _call(self, host: str, stay: HostState) -> None:
        """Let those go in whose turn it is."""
        if stay.timer is not None:
            stay.timer.cancel()
            stay.timer = None
        while stay.waiting:
            width, delay, turn = stay.waiting[0]
            if turn.done():  # given up
                stay.waiting.popleft()
                continue
            now = time.monotonic()
            if stay.visiting >= width or stay.unsent:
                return  # leave() or sent() calls again
            if stay.due > now:
                loop = asyncio.get_running_loop()
                stay.timer = loop.call_later(stay.due - now, self._call, host, stay)
                return
            stay.waiting.popleft()
            stay.visiting += 1
            stay.unsent += bool(delay)
            stay.due = stay.granted = now + delay
            turn.set_result(True)


class PacedFrontier(Frontier, Protocol):
    """A frontier that keeps its hosts' pace by itself, as that of one machine does."""

    def delay_of(self, host: str) -> float:
        """Seconds between two requests to a host that has a link on lease."""
        ...


class _Out(msgspec.Struct):
    """A link on the way, its turn taken."""

    host: str
    delay: float
    unsent: bool


class ThrottledFrontier:
    """A `protocols.Frontier` over another one: every lease also waits for its turn."""

    def __init__(self, inner: PacedFrontier, turns: HostThrottle, pace: PaceConfig) -> None:
        self._inner = inner
        self._turns = turns
        self._pace = pace
        self._out: dict[int | str, _Out] = {}  # links on the way
        self._waiting: set[asyncio.Future[bool]] = set()

    async def lease(self) -> CrawlUrl | None:
        while (link := await self._inner.lease()) is not None:
            rest = self._turns.rest_of(link.host)
            if rest > LONGEST:
                # Told to rest, the frontier does not offer this host again before its time.
                self._inner.release(link, asked=False, rest=rest)
                self._inner.forgo(link)
                continue
            if await self._turn(link):
                return link
            self._inner.forgo(link)
            return None
        return None

    async def turn(self, link: CrawlUrl) -> None:
        """For a request that no queue holds: another part of a file, a redirect's other host."""
        await self._inner.turn(link)
        try:
            await self._turn(link)  # False, as we were stopped: what is in hand may still end
        except asyncio.CancelledError:
            self._inner.release(link, asked=False)
            raise

    async def _turn(self, link: CrawlUrl) -> bool:
        """Wait for the turn; False: we were stopped meanwhile."""
        delay = self._inner.delay_of(link.host)
        width = 1 if delay > self._pace.delay else self._pace.per_host
        turn = self._turns.ask(link.host, width, delay)
        if not turn.done():
            self._waiting.add(turn)
        try:
            granted = await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self._turns.leave(link.host, asked=False, unsent=bool(delay))
            raise
        finally:
            self._waiting.discard(turn)
        if granted:
            self._out[link.id or link.url] = _Out(link.host, delay, unsent=bool(delay))
        return granted

    def sent(self, link: CrawlUrl) -> bool:
        out = self._out.get(link.id or link.url)
        if out is not None and out.delay:
            self._turns.sent(out.host, out.delay, again=not out.unsent)
            out.unsent = False
        return self._inner.sent(link)

    def release(
        self, link: CrawlUrl, *, asked: bool = True, rest: float = 0.0, **lesson: Any
    ) -> None:
        self._leave(link, asked=asked, rest=rest)
        self._inner.release(link, asked=asked, rest=rest, **lesson)

    def _leave(self, link: CrawlUrl, *, asked: bool = True, rest: float = 0.0) -> None:
        out = self._out.pop(link.id or link.url, None)
        if out is None:
            return
        delay = self._inner.delay_of(link.host)
        alone = self._pace.per_host == 1 or delay > self._pace.delay
        # Visited alone, a host has its pause from the end of the answer on, as in the schedule.
        pause = max(rest, delay if alone and asked else 0)
        self._turns.leave(out.host, asked=asked, unsent=out.unsent, pause=pause)

    async def settle(self, visits: Sequence[CrawlResult], marks: Mapping[str, int]) -> None:
        for visit in visits:
            self._leave(visit.link, rest=visit.rest)
        await self._inner.settle(visits, marks)

    def forgo(self, link: CrawlUrl) -> None:
        self._leave(link, asked=False)
        self._inner.forgo(link)

    def stop(self) -> None:
        self._inner.stop()
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(False)

    def close(self) -> None:
        """Give back the turns of visits that were dropped."""
        while self._out:
            _, out = self._out.popitem()
            self._turns.leave(out.host, unsent=out.unsent, pause=self._inner.delay_of(out.host))

    def __getattr__(self, name: str) -> Any:
        """Whatever else a frontier can do is the inner one's business."""
        return getattr(self._inner, name)
