"""Resources that the jobs of one process share: connections, host throttle, address guard."""

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
    """A semaphore for `number` connections: a free one goes to the job that has the fewest."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.used = 0
        self._waiting_shares: list[SemaphoreShare] = []

    def share(self, most: int) -> SemaphoreShare:
        """One job's share: at most `most` connections at a time."""
        return SemaphoreShare(self, min(most, self.number))

    def acquire(self, share: SemaphoreShare) -> asyncio.Future[None] | None:
        """Take one connection. None: granted at once; otherwise wait for the future."""
        if self.used < self.number and share.used < share.most and not share.waiting:
            self._grant(share)
            return None
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        share.waiting.append(granted)
        if share not in self._waiting_shares:
            self._waiting_shares.append(share)
        return granted

    def release(self, share: SemaphoreShare) -> None:
        """Give one connection back, to the waiting share that has the fewest."""
        self.used -= 1
        share.used -= 1
        self._grant_free()

    def _grant(self, share: SemaphoreShare) -> None:
        self.used += 1
        share.used += 1

    def _grant_free(self) -> None:
        while self.used < self.number:
            for share in self._waiting_shares:
                while share.waiting and share.waiting[0].done():  # cancelled
                    share.waiting.popleft()
            self._waiting_shares = [share for share in self._waiting_shares if share.waiting]
            below_limit = [share for share in self._waiting_shares if share.used < share.most]
            if not below_limit:
                return
            share = min(below_limit, key=lambda share: share.used)
            self._waiting_shares.remove(share)  # to the end: equal shares alternate
            self._waiting_shares.append(share)
            self._grant(share)
            share.waiting.popleft().set_result(None)


class SemaphoreShare:
    """One job's share of a FairSemaphore; used as a semaphore: `async with share`."""

    def __init__(self, semaphore: FairSemaphore, most: int) -> None:
        self.most = most
        self.used = 0
        self.waiting: deque[asyncio.Future[None]] = deque()
        self._semaphore = semaphore

    async def __aenter__(self) -> None:
        granted = self._semaphore.acquire(self)
        if granted is None:
            return
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._semaphore.release(self)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._semaphore.release(self)


class ServiceResources:
    """Implements `SharedResources` for the jobs of a service: all together have `connections`."""

    def __init__(self, *, connections: int, guard: AddressGuard) -> None:
        self.host_throttle = HostThrottle()
        self.semaphore = FairSemaphore(connections)
        self._guard = guard

    @asynccontextmanager
    async def frontier(self, own: Frontier, pace: PaceConfig) -> AsyncIterator[Frontier]:
        """The frontier of a job, throttled together with the others unless `pace.fast`."""
        if pace.fast:
            yield own
            return
        shared = ThrottledFrontier(cast("PacedFrontier", own), self.host_throttle, pace)
        try:
            yield cast("Frontier", shared)  # other methods are forwarded to the inner one
        finally:
            shared.close()

    def connections(self, most: int) -> SemaphoreShare:
        return self.semaphore.share(most)

    def guard(self) -> AddressGuard:
        return self._guard


class WorkerResources:
    """Implements `SharedResources`: the jobs of one worker share its connections.

    The Redis server throttles hosts, for all jobs and workers together.
    """

    def __init__(self, connections: int, guard: AddressGuard) -> None:
        self._semaphore = FairSemaphore(connections)
        self._guard = guard

    @asynccontextmanager
    async def frontier(self, own: Frontier, pace: PaceConfig) -> AsyncIterator[Frontier]:  # noqa: ARG002 - as the protocol has it
        yield own

    def connections(self, most: int) -> SemaphoreShare:
        return self._semaphore.share(most)

    def guard(self) -> AddressGuard:
        return self._guard
