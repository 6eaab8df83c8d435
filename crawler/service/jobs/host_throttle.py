"""One request rate per host for all crawls of a process.

Each crawl's frontier keeps the delays of its own links. With several crawls, a leased link also
waits here for a slot of its host, first come, first served: the delay between requests and the
number of concurrent requests hold for all crawls together, and a Retry-After that one crawl got
applies to the others. Crawls with `pace.fast` (of the owner's own servers) do not wait here.
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

MAX_SLOT_WAIT_S: Final = 120.0
"""Seconds that a worker waits for a slot. Links of a host with a longer cooldown are given back, so
that one host does not block a worker; twice the longest Crawl-delay keeps the order of arrival.
"""

IDLE_HOSTS_MAX: Final = 10_000
"""Hosts in memory before those without requests and cooldown are removed."""


class HostState(msgspec.Struct):
    """A host, as all crawls together use it. `next_at`: monotonic time of the next request.

    A waiting request is (number of concurrent requests allowed, delay in seconds, future).
    """

    next_at: float = 0.0
    next_at_granted: float = 0.0  # `next_at` as the last granted slot set it
    in_flight: int = 0
    unsent: int = 0  # of `in_flight`: not written yet, and a delay starts when they are
    waiting: deque[tuple[int, float, asyncio.Future[bool]]] = msgspec.field(default_factory=deque)
    timer: asyncio.TimerHandle | None = None


class HostThrottle:
    """Slots of all hosts. One per process, used in the event loop only; no method blocks."""

    def __init__(self) -> None:
        self._hosts: dict[str, HostState] = {}
        self._cleanup_size = IDLE_HOSTS_MAX

    def cooldown_of(self, host: str) -> float:
        """Seconds until the host may get a request, as far as is known now."""
        state = self._hosts.get(host)
        return 0.0 if state is None else max(0.0, state.next_at - time.monotonic())

    def acquire(self, host: str, width: int, delay: float) -> asyncio.Future[bool]:
        """Wait for a slot: at most `width` requests at a time, `delay` seconds between them.

        True: the slot is granted, and `release` must follow; for a `delay`, also `sent` before it.
        A caller that gives up sets the future to False or cancels it.
        """
        state = self._state_of(host)
        granted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        state.waiting.append((width, delay, granted))
        self._grant_waiting(host, state)
        return granted

    def sent(self, host: str, delay: float, *, again: bool = False) -> None:
        """The request is being written: its delay starts, and others may follow after it.

        `again`: the same request was written before, on a connection that broke.
        """
        state = self._state_of(host)
        state.unsent -= not again
        state.next_at = max(state.next_at, time.monotonic() + delay)
        self._grant_waiting(host, state)

    def release(
        self, host: str, *, asked: bool = True, unsent: bool = False, pause: float = 0.0
    ) -> None:
        """Give a slot back. `asked` False: the host got no request; `unsent`: `sent` was not
        called. `pause`: seconds from now before the next request of any crawl.
        """
        state = self._state_of(host)
        state.in_flight = max(0, state.in_flight - 1)
        state.unsent -= unsent
        now = time.monotonic()
        if not asked and not state.in_flight and state.next_at == state.next_at_granted:
            # No request was sent and nothing else set a cooldown: the slot's delay is dropped.
            state.next_at = min(state.next_at, now)
        state.next_at = max(state.next_at, now + pause)
        self._grant_waiting(host, state)

    def _state_of(self, host: str) -> HostState:
        state = self._hosts.get(host)
        if state is None:
            if len(self._hosts) >= self._cleanup_size:
                self._remove_idle()
            state = self._hosts[host] = HostState()
        return state

    def _remove_idle(self) -> None:
        now = time.monotonic()
        self._hosts = {
            host: state
            for host, state in self._hosts.items()
            if state.in_flight or state.waiting or state.next_at > now
        }
        self._cleanup_size = max(IDLE_HOSTS_MAX, 2 * len(self._hosts))

    def _grant_waiting(self, host: str, state: HostState) -> None:
        """Grant slots to waiting requests, in order, as far as is allowed now."""
        if state.timer is not None:
            state.timer.cancel()
            state.timer = None
        while state.waiting:
            width, delay, granted = state.waiting[0]
            if granted.done():  # its caller gave up
                state.waiting.popleft()
                continue
            now = time.monotonic()
            if state.in_flight >= width or state.unsent:
                return  # `release` or `sent` tries again
            if state.next_at > now:
                loop = asyncio.get_running_loop()
                wait = state.next_at - now
                state.timer = loop.call_later(wait, self._grant_waiting, host, state)
                return
            state.waiting.popleft()
            state.in_flight += 1
            state.unsent += bool(delay)
            state.next_at = state.next_at_granted = now + delay
            granted.set_result(True)


class PacedFrontier(Frontier, Protocol):
    """A frontier that keeps the delays of its hosts itself, as that of one machine does."""

    def delay_of(self, host: str) -> float:
        """Seconds between two requests to a host that has a link on lease."""
        ...


class _GrantedSlot(msgspec.Struct):
    """The slot of a leased link. `delay` in seconds; `unsent`: its delay has not started."""

    host: str
    delay: float
    unsent: bool


class ThrottledFrontier:
    """An `interfaces.Frontier` around another one: each leased link also waits for a slot."""

    def __init__(self, inner: PacedFrontier, throttle: HostThrottle, pace: PaceConfig) -> None:
        self._inner = inner
        self._throttle = throttle
        self._pace = pace
        self._slots: dict[int | str, _GrantedSlot] = {}  # by the link's id or URL
        self._waiting: set[asyncio.Future[bool]] = set()

    async def lease(self) -> CrawlUrl | None:
        while (link := await self._inner.lease()) is not None:
            cooldown = self._throttle.cooldown_of(link.host)
            if cooldown > MAX_SLOT_WAIT_S:
                # With this cooldown the frontier does not offer the host again before its end.
                self._inner.release(link, asked=False, rest=cooldown)
                self._inner.forgo(link)
                continue
            if await self._acquire(link):
                return link
            self._inner.forgo(link)
            return None
        return None

    async def turn(self, link: CrawlUrl) -> None:
        """Wait for a slot outside of the queue: a file's next segment, a redirect's other host."""
        await self._inner.turn(link)
        try:
            await self._acquire(link)  # False after `stop`: what is in progress may still end
        except asyncio.CancelledError:
            self._inner.release(link, asked=False)
            raise

    async def _acquire(self, link: CrawlUrl) -> bool:
        """Wait for a slot; False: the frontier was stopped meanwhile."""
        delay = self._inner.delay_of(link.host)
        width = 1 if delay > self._pace.delay else self._pace.per_host
        slot = self._throttle.acquire(link.host, width, delay)
        if not slot.done():
            self._waiting.add(slot)
        try:
            granted = await slot
        except asyncio.CancelledError:
            if slot.done() and not slot.cancelled() and slot.result():
                self._throttle.release(link.host, asked=False, unsent=bool(delay))
            raise
        finally:
            self._waiting.discard(slot)
        if granted:
            self._slots[link.id or link.url] = _GrantedSlot(link.host, delay, unsent=bool(delay))
        return granted

    def sent(self, link: CrawlUrl) -> bool:
        slot = self._slots.get(link.id or link.url)
        if slot is not None and slot.delay:
            self._throttle.sent(slot.host, slot.delay, again=not slot.unsent)
            slot.unsent = False
        return self._inner.sent(link)

    def release(
        self, link: CrawlUrl, *, asked: bool = True, rest: float = 0.0, **lesson: Any
    ) -> None:
        self._release_slot(link, asked=asked, cooldown=rest)
        self._inner.release(link, asked=asked, rest=rest, **lesson)

    def _release_slot(self, link: CrawlUrl, *, asked: bool = True, cooldown: float = 0.0) -> None:
        slot = self._slots.pop(link.id or link.url, None)
        if slot is None:
            return
        delay = self._inner.delay_of(link.host)
        one_at_a_time = self._pace.per_host == 1 or delay > self._pace.delay
        # With one request at a time the delay starts at the response's end, as in the scheduler.
        pause = max(cooldown, delay if one_at_a_time and asked else 0)
        self._throttle.release(slot.host, asked=asked, unsent=slot.unsent, pause=pause)

    async def settle(self, visits: Sequence[CrawlResult], marks: Mapping[str, int]) -> None:
        for visit in visits:
            self._release_slot(visit.link, cooldown=visit.rest)
        await self._inner.settle(visits, marks)

    def forgo(self, link: CrawlUrl) -> None:
        self._release_slot(link, asked=False)
        self._inner.forgo(link)

    def stop(self) -> None:
        self._inner.stop()
        for slot in self._waiting:
            if not slot.done():
                slot.set_result(False)

    def close(self) -> None:
        """Give back the slots of links that were dropped."""
        while self._slots:
            _, slot = self._slots.popitem()
            pause = self._inner.delay_of(slot.host)
            self._throttle.release(slot.host, unsent=slot.unsent, pause=pause)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the inner frontier's."""
        return getattr(self._inner, name)
