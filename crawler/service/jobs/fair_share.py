"""What the crawls of one process share: connections, the hosts' pace, the guard of addresses."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import cast

from crawler.config.model import PaceConfig
from crawler.fetch.address_guard import AddressGuard
from crawler.interfaces import Frontier
from crawler.service.jobs.host_throttle import HostThrottle, PacedFrontier, ThrottledFrontier


class FairSemaphore:
    """So many connections in all, shared fairly: a free one goes to the crawl that has fewest."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.used = 0
        self._shares: list[SemaphoreShare] = []

    def share(self, most: int) -> SemaphoreShare:
        """A crawl's part; `most` of its own at a time."""
        return SemaphoreShare(self, min(most, self.number))

    def enter(self, share: SemaphoreShare) -> asyncio.Future[None] | None:
        """None: go. Else wait for the future."""
        if self.used < self.number and share.used < share.most and not share.waiting:
            self._grant(share)
            return None
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        share.waiting.append(turn)
        if share not in self._shares:
            self._shares.append(share)
        return turn

    def leave(self, share: SemaphoreShare) -> None:
        self.used -= 1
        share.used -= 1
        self._hand_out()

    def _grant(self, share: SemaphoreShare) -> None:
        self.used += 1
        share.used += 1

    def _hand_out(self) -> None:
        while self.used < self.number:
            for share in self._shares:
                while share.waiting and share.waiting[0].done():  # cancelled
                    share.waiting.popleft()
            self._shares = [share for share in self._shares if share.waiting]
            able = [share for share in self._shares if share.used < share.most]
            if not able:
                return
            share = min(able, key=lambda one: one.used)
            self._shares.remove(share)  # to the end: equals take turns
            self._shares.append(share)
            self._grant(share)
            share.waiting.popleft().set_result(None)


class SemaphoreShare:
    """Stands where a crawl alone has its semaphore: `async with share`."""

    def __init__(self, slots: FairSemaphore, most: int) -> None:
        self.most = most
        self.used = 0
        self.waiting: deque[asyncio.Future[None]] = deque()
        self._slots = slots

    async def __aenter__(self) -> None:
        turn = self._slots.enter(self)
        if turn is None:
            return
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._slots.leave(self)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._slots.leave(self)


class ServiceResources:
    """Implements `fetch.neighbours.Neighbours` for the jobs of a service."""

    def __init__(self, *, connections: int, guard: AddressGuard) -> None:
        self.turns = HostThrottle()
        self.slots = FairSemaphore(connections)
        self._guard = guard

    @asynccontextmanager
    async def frontier(self, own: Frontier, pace: PaceConfig) -> AsyncIterator[Frontier]:
        if pace.fast:
            yield own
            return
        shared = ThrottledFrontier(cast("PacedFrontier", own), self.turns, pace)
        try:
            yield cast("Frontier", shared)  # what it does not do itself, the inner one does
        finally:
            shared.close()

    def connections(self, most: int) -> SemaphoreShare:
        return self.slots.share(most)

    def guard(self) -> AddressGuard:
        return self._guard
