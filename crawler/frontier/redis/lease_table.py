"""The leases of one worker, and what the server has still to be told of them.

A lease is kept up until its link is settled or given up, and looked at before anything is sent
(`owns`); a connection that came back is told with the next flush, so that many cost one call.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from crawler.frontier.redis.codec import lesson_row, pace_of
from crawler.frontier.redis.lease import HeldLease, lapsed, moment, token_of
from crawler.frontier.redis.redis_client import PREFIX
from crawler.frontier.redis.shards import Shards
from crawler.policy.autothrottle import HostPace, ResponseSample, robots_lesson
from crawler.policy.waits import NOTABLE, Wait, reason_of, wait_of
from crawler.records import CrawlResult, CrawlUrl, Kind

LOOKS: Final = 8
"""Looks in the length of a lease for exchanges that outlive it; each ends one look early."""

OFTEN, SELDOM = 0.005, 0.2
"""Seconds between two questions of a worker who waits. Nobody rings across machines: a message can
be lost, and five questions a second and worker cost the server a thousandth of its time."""

SHOWN: Final = 1000  # hosts whose pace is remembered for the display

Handle = int | str


class SentRequest(NamedTuple):
    """A request that was written, and when: monotonic seconds."""

    held: HeldLease
    at: float


class ReturnedSlot(NamedTuple):
    """A connection that is free again: whether the host was asked, its rest, what was learnt."""

    held: HeldLease
    asked: bool
    rest: float
    lesson: ResponseSample | None


class LeaseTable:
    """A worker's own. `length` in seconds; `bell` is rung when a place became free, or there is
    something to tell. `pause`: seconds, the shortest that begins when a request is written; 0: none
    does, as hosts are asked without pauses, or one thing at a time.
    """

    def __init__(
        self,
        shards: Shards,
        terms: bytes,
        bell: asyncio.Event,
        *,
        length: float,
        pause: float,
        worker: str,
    ) -> None:
        self.length = length
        self.length_ms = max(1, int(length * 1000))
        self.abroad = 0  # connections in use
        self._shards = shards
        self._terms = terms
        self._bell = bell
        self._pause = pause
        self._worker = worker
        self._held: dict[Handle, HeldLease] = {}
        self._settled = 0
        self._sents: list[SentRequest] = []
        self._ringer: asyncio.TimerHandle | None = None  # for what was sent; a flush stops it
        self._backs: list[ReturnedSlot] = []
        self._given_up: list[HeldLease] = []
        self._asking: set[asyncio.Future[int]] = set()  # for turns that nobody waits for any more
        self._telling = asyncio.Lock()  # what was said first arrives first
        self._paces: OrderedDict[str, HostPace] = OrderedDict()
        self._rests: dict[str, tuple[float, str, str]] = {}  # host → until when, why, for what URL

    def __len__(self) -> int:
        return len(self._held)

    def token(self) -> str:
        """For what is asked for next."""
        return token_of(self._worker)

    # ── taken and given back ─────────────────────────────────────────────────────────────────

    def of(self, link: CrawlUrl) -> HeldLease | None:
        return self._held.get(link.id or link.url)

    def take(self, link: CrawlUrl, held: HeldLease) -> None:
        self._held[link.id or link.url] = held
        self.abroad += 1

    def settled(self, link: CrawlUrl) -> None:
        """The server knows how it ended."""
        held = self._held.pop(link.id or link.url, None)
        if held is not None:
            self.abroad -= held.away
            self._settled += 1

    def release(
        self,
        link: CrawlUrl,
        *,
        asked: bool = True,
        rest: float = 0.0,
        why: str = "",
        lesson: ResponseSample | None = None,
    ) -> None:
        self._rested(link, rest, why)
        held = self.of(link)
        if held is None or not held.away:
            return
        held.away = False
        self.abroad -= 1
        self._backs.append(ReturnedSlot(held, asked, rest, lesson))
        if link.id is not None and link.id < 0:
            del self._held[link.id]  # a turn: nothing is settled
        self._bell.set()

    async def turn(self, link: CrawlUrl) -> None:
        name = f"t{os.urandom(8).hex()}".encode()
        held = HeldLease(self._shards.of(link.host), name, self.token().encode(), moment())
        while True:
            held.since = moment()
            wait = await self._turn(held, link.host)
            if wait < 0:
                break
            await asyncio.sleep(min(max(wait / 1000, OFTEN), SELDOM))
        self.take(link, held)

    async def _turn(self, held: HeldLease, host: str) -> int:
        """Ask once. What comes when the caller was cancelled goes back as soon as it is there."""
        words = host, held.id, held.token, self.length_ms, self._terms, random.random()
        asking = asyncio.ensure_future(
            self._shards.wire.call("turn", held.shard, self._shards.job, *words)
        )
        try:
            return int(await asyncio.shield(asking))
        except asyncio.CancelledError:
            self._asking.add(asking)
            asking.add_done_callback(partial(self._unwanted, held))
            raise

    def _unwanted(self, held: HeldLease, asking: asyncio.Future[int]) -> None:
        self._asking.discard(asking)
        if not asking.cancelled() and asking.exception() is None and asking.result() < 0:
            self._given_up.append(held)
            self._bell.set()

    def forgo(self, link: CrawlUrl) -> None:
        held = self._held.pop(link.id or link.url, None)
        if held is not None:
            self.abroad -= held.away
            self._given_up.append(held)
            self._bell.set()

    async def give_up(self) -> None:
        """Everything, and tell the server. Raises FrontierError when it is away."""
        if self._asking:
            await asyncio.wait(self._asking)
        self._given_up += self._held.values()
        self._held.clear()
        await self.flush()

    # ── ours or another's ────────────────────────────────────────────────────────────────────

    def owns(self, link: CrawlUrl) -> bool:
        """Whether the link is ours for sure; on one machine everything always is."""
        held = self.of(link)
        return held is not None and held.sure(self.length, moment())

    def sent(self, link: CrawlUrl) -> bool:
        """Told within half of the pause, with how long ago it was: many cost one call, and nobody
        could have asked the host in the meantime.
        """
        if not self.owns(link):
            return False
        held = self.of(link)
        if self._pause and held is not None and held.away:
            self._sents.append(SentRequest(held, time.monotonic()))
            if self._ringer is None:
                loop = asyncio.get_running_loop()
                self._ringer = loop.call_later(self._pause / 2, self._bell.set)
        return True

    async def renew(self, link: CrawlUrl) -> bool:
        """Waits for a server that is away. False: the link is forgotten here, another has it."""
        held = self.of(link)
        if held is None:
            return False
        (mine,) = await self.extend([held])
        if not mine and self.of(link) is held:
            del self._held[link.id or link.url]
            self.abroad -= held.away
            held.away = False
            self._bell.set()
        return mine

    def watch(self, link: CrawlUrl, exchange: asyncio.Timeout | None) -> None:
        """An exchange begins, or is over."""
        held = self.of(link)
        if held is not None:
            held.exchange = exchange

    async def extend(self, leases: Sequence[HeldLease | None]) -> list[bool]:
        """Renew; whether each is still ours."""
        kept = [False] * len(leases)
        by_shard: dict[int, list[tuple[int, HeldLease]]] = {}
        for number, held in enumerate(leases):
            if held is not None:
                by_shard.setdefault(held.shard, []).append((number, held))
        for shard, some in by_shard.items():
            words = [word for _, held in some for word in (held.id, held.token)]
            asked = moment()
            answers = await self._shards.wire.call(
                "extend", shard, self._shards.job, self.length_ms, *words
            )
            for (number, held), mine in zip(some, answers, strict=True):
                kept[number] = bool(mine)
                if mine:
                    held.since = asked
        return kept

    # ── said to the server ───────────────────────────────────────────────────────────────────

    async def flush(self, settling: Sequence[CrawlResult] = ()) -> None:
        """Tell the server which requests were written, which connections are back, and which
        leases; and, of visits that are about to be settled, what their robots.txt files taught.
        """
        robots = [self._robots_back(one) for one in settling if one.link.kind is Kind.ROBOTS]
        for visit in settling:
            self._rested(visit.link, visit.rest, visit.rest_why)
        async with self._telling:
            await self._tell([one for one in robots if one is not None])

    def _robots_back(self, visit: CrawlResult) -> ReturnedSlot | None:
        held = self._held.get(visit.link.url)
        if held is None or not held.away:
            return None
        held.away = False
        self.abroad -= 1
        return ReturnedSlot(held, True, 0.0, robots_lesson(visit))

    async def _tell(self, more: Sequence[ReturnedSlot]) -> None:
        sents, self._sents = self._sents, []
        if self._ringer is not None:
            self._ringer.cancel()
            self._ringer = None
        backs, self._backs = self._backs, []
        backs += more
        given_up, self._given_up = self._given_up, []
        now = time.monotonic()
        gone = [(held, int((now - at) * 1000)) for held, at in sents]
        for shard, some in _by_shard(gone):
            await self._shards.wire.call("sent", shard, self._shards.job, *some)
        came = [
            (held, int(asked), int(rest * 1000), lesson_row(lesson))
            for held, asked, rest, lesson in backs
        ]
        for shard, some in _by_shard(came):
            for row in await self._shards.wire.call("back", shard, self._shards.job, *some):
                pace = pace_of(row)
                self._paces[pace.name] = pace
                self._paces.move_to_end(pace.name)
                if len(self._paces) > SHOWN:
                    self._paces.popitem(last=False)
        for shard, some in _by_shard((held,) for held in given_up):
            await self._shards.wire.call("forgo", shard, self._shards.job, *some)

    def paces(self, most: int) -> list[HostPace]:
        """Of hosts that this worker asked, as of then."""
        ranked = sorted(
            self._paces.values(), key=lambda p: (p.parked, p.crawl_delay or 0.0, p.queued)
        )
        return ranked[-most:][::-1]

    def _rested(self, link: CrawlUrl, rest: float, why: str) -> None:
        until = time.monotonic() + rest
        if rest >= NOTABLE and until > self._rests.get(link.host, (0.0,))[0]:
            self._rests[link.host] = until, why, link.url

    def waits(self) -> list[Wait | None]:
        """Hosts that answers to this worker told to rest, or that it saw parked."""
        now = time.monotonic()
        self._rests = {name: rest for name, rest in self._rests.items() if rest[0] > now}
        found = []
        for name, (until, why, url) in self._rests.items():
            pace = self._paces.get(name)
            found.append(Wait(name, until - now, reason_of(why, url), pace.queued if pace else 0))
        parked = (one for name, one in self._paces.items() if name not in self._rests)
        return [*found, *(wait_of(pace) for pace in parked)]

    # ── as long as the worker lives ──────────────────────────────────────────────────────────

    async def keep_up(self) -> None:
        """Leases last as long as their worker: each is renewed three times before it ends."""
        while True:
            said = {"leased": len(self._held), "done": self._settled, "at": time.time()}
            await self._shards.wire.plain(
                "SET", f"{PREFIX}worker:{self._shards.job}:{self._worker}",
                msgspec.json.encode(said), "PX", 3 * self.length_ms,
            )  # fmt: skip
            await asyncio.sleep(self.length / 3)
            await self.extend(list(self._held.values()))

    async def break_off(self) -> None:
        """End exchanges whose leases ended: their hosts may be asked by others by now."""
        while True:
            await asyncio.sleep(self.length / LOOKS)
            for held in lapsed(self._held.values(), self.length * (1 - 1 / LOOKS), moment()):
                assert held.exchange is not None
                held.exchange.reschedule(0.0)
                held.exchange = None


def _by_shard(items: Iterable[tuple[Any, ...]]) -> Iterable[tuple[int, list[Any]]]:
    """What is said of leases, as the server's functions read it: (lease, words …) → shard, and
    id, token, words … of each.
    """
    words: dict[int, list[Any]] = {}
    for held, *more in items:
        words.setdefault(held.shard, []).extend((held.id, held.token, *more))
    return words.items()
