"""Lease links for the waiting workers of one process, several in one call.

One task asks for all (`pump`): as many links as there are waiters and free connections, at once
when somebody rings, else when the server said that it is worth it.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec

from crawler.frontier.redis.codec import link_of
from crawler.frontier.redis.lease import HeldLease, moment
from crawler.frontier.redis.lease_table import OFTEN, SELDOM, LeaseTable
from crawler.frontier.redis.shards import Shards
from crawler.records import CrawlUrl, Kind

SOME: int = 64
"""Links leased in one step of the server. `benchmarks.worker_steps` measures others."""


class LeaseQuery(msgspec.Struct, frozen=True):
    """What is asked with every `lease`. `quota`: pages of the whole job, -1: any number."""

    terms: bytes
    concurrency: int
    quota: int
    robots: bool
    crashes: int


class LeaseDispatcher:
    """First come, first served; None for all when nothing can come any more."""

    def __init__(
        self, shards: Shards, leases: LeaseTable, bell: asyncio.Event, wants: LeaseQuery
    ) -> None:
        self.over = False
        self._shards = shards
        self._leases = leases
        self._bell = bell
        self._wants = wants
        self._waiters: deque[asyncio.Future[CrawlUrl | None]] = deque()
        self._stopped = False
        self._broken: Exception | None = None
        self._number = 0
        self._level = 0
        self._first_shard = 0
        self._asking: tuple[int, str] | None = None  # shard and token of a question under way

    @property
    def exhausted(self) -> bool:
        return 0 <= self._wants.quota <= self._shards.sum.pages

    @property
    def stranded(self) -> bool:
        stats = self._shards.sum
        return 0 < stats.stranded == stats.open

    async def lease(self) -> CrawlUrl | None:
        if self._broken is not None:
            raise self._broken
        if self._stopped:
            return None
        waiter: asyncio.Future[CrawlUrl | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._bell.set()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                link = waiter.result()
                if link is not None:
                    self._leases.forgo(link)
            raise

    def stop(self) -> None:
        self._stopped = True
        self._answer_all(None)
        self._bell.set()

    def look_again(self) -> None:
        """Links came in: it is not over."""
        self.over = False
        self._bell.set()

    async def give_up(self) -> None:
        """After the pump's end: what came to a question that nobody waited for goes back at once.
        Raises FrontierError when the server is away.
        """
        if self._asking is not None:
            await self._shards.wire.quiet()
            await self._unask(*self._asking)
            self._asking = None

    async def _unask(self, shard: int, token: str) -> None:
        """Give back what a question got whose answer nobody read. Twice: the question may still be
        on its way on another connection, and is read before the second at the latest.
        """
        for _ in range(2):
            await self._shards.wire.call("disown", shard, self._shards.job, f"{token}:", 0)

    async def guard(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run it; what goes wrong in it is raised in everybody who waits, now and later."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - raised again in everybody who waits
            self._broken = error
            while self._waiters:
                waiter = self._waiters.popleft()
                if not waiter.done():
                    waiter.set_exception(error)

    async def pump(self) -> None:
        """Ask for links while somebody waits for one."""
        wait = SELDOM
        while True:
            try:
                async with asyncio.timeout(wait if self._waiters else None):
                    await self._bell.wait()
            except TimeoutError:
                pass
            self._bell.clear()
            await self._leases.flush()
            wait = await self._serve(wait)

    async def _serve(self, waited: float) -> float:
        """Give waiting workers what may go; seconds until it is worth asking again."""
        while self._waiters and self._waiters[0].done():
            self._waiters.popleft()
        if not self._waiters:
            return SELDOM
        if self.over:
            self._answer_all(None)
            return SELDOM
        free = min(len(self._waiters), self._wants.concurrency - self._leases.abroad)
        if free <= 0:
            return SELDOM  # a release rings
        need = min(free, SOME)
        shards = len(self._shards)
        came = 0
        for step in range(shards):
            shard = (self._first_shard + step) % shards
            came += await self._take(shard, need - came)
            if came >= need:
                break
        self._first_shard = (self._first_shard + 1) % shards
        if came:
            return OFTEN if came < need or need == free else 0.0  # … or there may be more
        if await self._ended():
            self.over = True
            self._answer_all(None)
            return SELDOM
        due = self._shards.sum.wait / 1000
        return min(SELDOM, max(due, OFTEN) if due >= 0 else max(2 * waited, OFTEN))

    async def _take(self, shard: int, need: int) -> int:
        wants, shards = self._wants, self._shards
        level = self._level if shards.by_depth and len(shards) > 1 else -1
        asked, token = moment(), self._leases.token()
        self._asking = shard, token
        taken, stats = await shards.wire.call(
            "lease", shard, shards.job, need, self._leases.length_ms, token, level,
            wants.quota, int(wants.robots), wants.crashes, wants.terms, random.random(),
            undo=lambda: self._unask(shard, token),
        )  # fmt: skip
        self._asking = None
        shards.heard(shard, stats)
        for name, token, host, written, home in taken:
            held = HeldLease(shard, name, token, asked)
            where = host.decode("utf-8", "surrogatepass")
            if name[:1] == b"r" and not written:
                link = CrawlUrl(f"{home.decode()}/robots.txt", where, kind=Kind.ROBOTS)
            else:
                self._number += 1
                link = link_of(written, where, self._number)
            self._leases.take(link, held)
            self._hand(link)
        return len(taken)

    def _hand(self, link: CrawlUrl) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(link)
                return
        self._leases.forgo(link)  # its waiter was cancelled meanwhile

    async def _ended(self) -> bool:
        """Whether there is no more work anywhere.

        Shards are looked at one after the other, so a link could move behind our back. Two looks
        with nothing open and nothing added between them mean that between the two there was a
        moment when nothing was open anywhere: then nothing can come any more.
        """
        shards = self._shards
        first = dict(shards.stats)
        stats = shards.sum
        if shards.by_depth and len(shards) > 1 and stats.open:
            self._level = max(stats.least, 0)
        if self.exhausted:
            return True
        if stats.open and not (stats.leased + stats.asking == 0 and stats.stranded == stats.open):
            return False
        await shards.look()
        if len(shards) > 1:
            first, _ = dict(shards.stats), await shards.look()
        same = all(first[shard].ops == one.ops for shard, one in shards.stats.items())
        return same and (shards.sum.open == 0 or self.stranded)

    def _answer_all(self, answer: CrawlUrl | None) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(answer)
