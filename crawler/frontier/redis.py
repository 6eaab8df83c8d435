"""The frontier on Redis or Valkey: the same crawl on as many machines as are started.

Order, dedup, leases and politeness live on the server, in functions that are one atomic step each
(the redis_*.lua files), by the server's clock; nothing here decides who may be asked. A
worker holds what it has on lease, renews it, and knows that it may have lost it: `recognise` asks
before anything is written, and `settle` is refused, link by link, where the token is another's.

Nothing is leased ahead of need, because a pause is owed from the moment of the lease: a link that
lay here would leave later than the server believes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import msgspec

from crawler.config import FrontierConfig, PaceConfig, ScopeConfig
from crawler.errors import ConfigError, FrontierError
from crawler.frontier.redis_lease import Held, lapsed, moment
from crawler.frontier.redis_rows import (
    Stats,
    counts_of,
    items,
    lesson_row,
    link_of,
    pace_of,
    rules_of,
    shard_of,
    stats_of,
    terms_row,
    total,
    visit_row,
    where_to,
)
from crawler.frontier.redis_traps import Traps
from crawler.frontier.redis_wire import PREFIX, Wire
from crawler.frontier.twins import digest_of
from crawler.model import Counts, Found, Kind, Link, Outcome, Refusal, Rules, Visit
from crawler.pace import HostPace, Lesson, robots_lesson

LOST: Final = "lease"
"""The reason of a visit whose link went to another worker: it is neither written nor counted."""

SOME: Final = 64
"""Visits settled in one step: the server is busy for about a millisecond."""

OFTEN, SELDOM = 0.005, 0.2
"""Seconds between two questions of a worker who waits. Nobody rings across machines: a message can
be lost, and five questions a second and worker cost the server a thousandth of its time."""

LOOKS: Final = 8
"""Looks in the length of a lease for exchanges that outlive it; each ends one look early."""

SHOWN: Final = 1000  # hosts whose pace is remembered for the display

log = logging.getLogger(__name__)

Handle = int | str


class RedisFrontier:
    """Implements `protocols.Frontier`. Workers of one job share its name (`settings.job`)."""

    def __init__(
        self,
        settings: FrontierConfig,
        pace: PaceConfig,
        *,
        concurrency: int = 64,
        max_pages: int | None = None,
        by_depth: bool = False,
        robots: bool = True,
        traps: ScopeConfig | None = None,
        worker: str = "",
    ) -> None:
        if settings.url is None:
            raise ConfigError("frontier.url is not set")
        if pace.group != "host":
            raise ConfigError(f"pace.group = {pace.group!r} needs a crawl on one machine")
        self._settings = settings
        self._job = settings.job
        self._wire = Wire(settings.url, shards=settings.shards, patience=settings.patience)
        self._lease_ms = max(1, int(settings.lease * 1000))
        self._concurrency = concurrency
        self._quota = -1 if max_pages is None else max_pages
        self._by_depth = by_depth
        self._robots = robots
        self._terms = terms_row(pace, concurrency)
        self._traps = Traps(traps or ScopeConfig(trap="off"))
        self._worker = worker
        self._held: dict[Handle, Held] = {}
        self._number = 0
        self._abroad = 0
        self._settled = 0
        self._waiters: deque[asyncio.Future[Link | None]] = deque()
        self._backs: list[tuple[Held, bool, float, Lesson | None]] = []
        self._given_up: list[Held] = []
        self._bell = asyncio.Event()
        self._telling = asyncio.Lock()  # what was said first arrives first
        self._stopped = False
        self._over = False
        self._stats: dict[int, Stats] = {}
        self._level = 0
        self._first_shard = 0
        self._paces: OrderedDict[str, HostPace] = OrderedDict()
        self._tasks: list[asyncio.Task[None]] = []
        self._broken: Exception | None = None

    # ── life ─────────────────────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> Self:
        """Raises FrontierError when the server is away or unfit, ConfigError for its address."""
        await self._wire.__aenter__()
        try:
            for health in await self._wire.health():
                for trouble in health.troubles:
                    log.warning("%s: %s", self._wire.name, trouble)
            self._check()
            for shard in range(self._wire.shards):
                key = f"{self._wire.tag(shard)}{self._job}:st"
                await self._wire.plain("HSETNX", key, "born", int(time.time()))
            await self._look()
        except BaseException:
            await self._wire.__aexit__()
            raise
        self._tasks = [
            asyncio.create_task(self._pump(), name="frontier pump"),
            asyncio.create_task(self._renew(), name="frontier renewal"),
            asyncio.create_task(self._break_off(), name="frontier lapses"),
        ]
        return self

    def _check(self) -> None:
        if self._quota >= 0 and self._wire.shards > 1:
            raise ConfigError("limits.max_pages needs a frontier of one shard")

    async def __aexit__(self, *_: object) -> None:
        """Give back what is on lease; where the server is away, its leases expire."""
        self.stop()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._wire.give_up()
        self._given_up += self._held.values()
        self._held.clear()
        try:
            await self._flush()
        except FrontierError as error:
            log.warning("%s; what was on lease is free in %g s", error, self._settings.lease)
        finally:
            await self._wire.__aexit__()

    # ── the queue ────────────────────────────────────────────────────────────────────────────

    async def add(self, found: Sequence[Found], *, depth: int = 0) -> int:
        fresh = 0
        by_shard: dict[int, list[Found]] = {}
        for one in found:
            by_shard.setdefault(self._shard(one[1]), []).append(one)
        for shard, some in by_shard.items():
            for start in range(0, len(some), 1000):
                rows = items(
                    some[start : start + 1000],
                    depth=depth, hops=0, via=None, by_depth=self._by_depth,
                )  # fmt: skip
                fresh += len(await self._add(shard, rows))
        await self._look()
        self._over = False
        self._bell.set()
        return fresh

    async def lease(self) -> Link | None:
        if self._broken is not None:
            raise self._broken
        if self._stopped:
            return None
        waiter: asyncio.Future[Link | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._bell.set()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                link = waiter.result()
                if link is not None:
                    self.forgo(link)
            raise

    def release(
        self, link: Link, *, asked: bool = True, rest: float = 0.0, lesson: Lesson | None = None
    ) -> None:
        held = self._held.get(link.id or link.url)
        if held is None or not held.away:
            return
        held.away = False
        self._abroad -= 1
        self._backs.append((held, asked, rest, lesson))
        if link.id is not None and link.id < 0:
            del self._held[link.id]  # a turn: nothing is settled
        self._bell.set()

    async def turn(self, link: Link) -> None:
        name = f"t{os.urandom(8).hex()}".encode()
        held = Held(self._shard(link.host), name, os.urandom(8), moment())
        while True:
            held.since = moment()
            wait = await self._wire.call(
                "turn", held.shard, self._job, link.host, held.id, held.token, self._lease_ms,
                self._terms, random.random(),
            )  # fmt: skip
            if wait < 0:
                break
            await asyncio.sleep(min(max(wait / 1000, OFTEN), SELDOM))
        self._held[link.id or link.url] = held
        self._abroad += 1

    def forgo(self, link: Link) -> None:
        held = self._held.pop(link.id or link.url, None)
        if held is not None:
            self._abroad -= held.away
            self._given_up.append(held)
            self._bell.set()

    # ── leases (`leased.Leases`) ─────────────────────────────────────────────────────────────

    def owns(self, link: Link) -> bool:
        """Whether the link is ours for sure; on one machine everything always is."""
        held = self._held.get(link.id or link.url)
        return held is not None and held.sure(self._settings.lease, moment())

    async def renew(self, link: Link) -> bool:
        """Waits for a server that is away. False: the link is forgotten here, another has it."""
        held = self._held.get(link.id or link.url)
        if held is None:
            return False
        (mine,) = await self._extend([held])
        if not mine and self._held.get(link.id or link.url) is held:
            del self._held[link.id or link.url]
            self._abroad -= held.away
            held.away = False
            self._bell.set()
        return mine

    def watch(self, link: Link, exchange: asyncio.Timeout | None) -> None:
        """An exchange begins, or is over."""
        held = self._held.get(link.id or link.url)
        if held is not None:
            held.exchange = exchange

    async def recognise(self, visits: Sequence[Visit]) -> Sequence[Visit]:
        """Also where a worker learns that a link is no longer its own: such a visit becomes a
        RETRY with the reason `lease`, which no sink writes.
        """
        await self._flush()
        kept = await self._extend([self._held.get(v.link.id or v.link.url) for v in visits])
        known = [
            visit if mine else Visit(visit.link, Outcome.RETRY, reason=LOST)
            for visit, mine in zip(visits, kept, strict=True)
        ]
        by_shard: dict[int, list[tuple[int, bytes]]] = {}
        for number, visit in enumerate(known):
            if digest := digest_of(visit):
                short = bytes.fromhex(digest.rpartition(":")[2])[:12]
                by_shard.setdefault(short[0] % self._wire.shards, []).append((number, short))
        for shard, some in by_shard.items():
            words = [w for n, short in some for w in (short, known[n].link.url)]
            first = await self._wire.call("twins", shard, self._job, *words)
            for (number, _), url in zip(some, first, strict=True):
                text = url.decode("utf-8", "surrogatepass")
                if text != known[number].link.url:
                    known[number] = msgspec.structs.replace(known[number], duplicate_of=text)
        return known

    async def settle(self, visits: Sequence[Visit], marks: Mapping[str, int]) -> None:
        await self._flush([self._robots_back(v) for v in visits if v.link.kind is Kind.ROBOTS])
        lengths = {f"{self._worker}/{name}": length for name, length in marks.items()}
        by_shard: dict[int, list[Visit]] = {}
        for visit in visits:
            by_shard.setdefault(self._shard(visit.link.host), []).append(visit)
        if self._wire.shards > 1 or not visits:  # first of all: what is written twice is merged
            await self._settle(0, [], lengths)
        for shard, some in by_shard.items():
            for start in range(0, len(some), SOME):
                await self._settle(shard, some[start : start + SOME], lengths)
        for visit in visits:
            held = self._held.pop(visit.link.id or visit.link.url, None)
            if held is not None:
                self._abroad -= held.away
                self._settled += 1
        self._bell.set()

    def stop(self) -> None:
        self._stopped = True
        self._answer_all(None)
        self._bell.set()

    # ── what is known ────────────────────────────────────────────────────────────────────────

    async def counts(self) -> Counts:
        await self._flush()
        return counts_of(await self._look())

    async def rules(self, origin: str) -> Rules | None:
        host = origin.split("/", 3)[2]
        written = await self._wire.call("robots", self._shard(host), self._job, origin)
        return None if written is None else rules_of(written)

    async def refusals(self, limit: int) -> list[Refusal]:  # noqa: ARG002 - see below
        """None: a refused URL is 9 bytes here, not a line."""
        return []

    @property
    def exhausted(self) -> bool:
        return 0 <= self._quota <= self._sum.pages

    @property
    def stranded(self) -> bool:
        stats = self._sum
        return 0 < stats.stranded == stats.open

    @property
    def pending(self) -> int:
        """Links that will still be visited by somebody, as of the last answer."""
        stats = self._sum
        return stats.queued + stats.resting + stats.leased

    @property
    def on_lease(self) -> int:
        """Links that this worker has on lease."""
        return len(self._held)

    def paces(self, most: int = 10) -> list[HostPace]:
        """Of hosts that this worker asked, as of then."""
        ranked = sorted(
            self._paces.values(), key=lambda p: (p.parked, p.crawl_delay or 0.0, p.queued)
        )
        return ranked[-most:][::-1]

    async def marks(self) -> dict[str, int]:
        """The length each of this worker's outputs had at its last commit."""
        written = await self._wire.plain("HGETALL", f"{self._wire.tag(0)}{self._job}:mark")
        pairs = (
            written.items() if isinstance(written, dict) else zip(*[iter(written)] * 2, strict=True)
        )
        mine = f"{self._worker}/"
        return {
            name.decode().removeprefix(mine): int(length)
            for name, length in pairs
            if name.decode().startswith(mine)
        }

    async def notes(self) -> dict[str, str | float]:
        """Facts about the crawl as a whole, as kept by `note`."""
        written = await self._wire.plain("GET", f"{PREFIX}{{0}}:{self._job}:notes")
        return {} if written is None else msgspec.json.decode(written, type=dict[str, str | float])

    async def note(self, **values: str | float) -> None:
        every = {**await self.notes(), **values}
        key = f"{PREFIX}{{0}}:{self._job}:notes"
        await self._wire.plain("SET", key, msgspec.json.encode(every))

    async def pause(self, *, on: bool = True) -> None:
        """No worker leases anything while it is on; what is on lease is finished."""
        for shard in range(self._wire.shards):
            await self._wire.call("pause", shard, self._job, int(on))

    async def block(self, host: str, seconds: float) -> None:
        """No job asks the host anything for so long."""
        await self._wire.call("block", self._shard(host), host, int(seconds * 1000))

    async def retry(self, reason: str = "") -> int:
        """Queue the failed links again whose reason contains this; how many."""
        number = 0
        for shard in range(self._wire.shards):
            number += await self._wire.call("retry", shard, self._job, reason)
        self._over = False
        self._bell.set()
        return number

    # ── inside ───────────────────────────────────────────────────────────────────────────────

    def _shard(self, host: str) -> int:
        return shard_of(host, self._wire.shards)

    @property
    def _sum(self) -> Stats:
        return total(self._stats.values())

    async def _look(self) -> Stats:
        for shard in range(self._wire.shards):
            self._stats[shard] = stats_of(await self._wire.call("stats", shard, self._job))
        return self._sum

    async def _add(self, shard: int, rows: Sequence[Any]) -> list[int]:
        caps = (self._settings.max_queued, self._settings.host_queued)
        limits = [-1 if cap is None else cap for cap in caps]
        fresh: list[int] = await self._wire.call("add", shard, self._job, *limits, *rows)
        return fresh

    async def _settle(self, shard: int, visits: Sequence[Visit], marks: dict[str, int]) -> None:
        """Links of other shards are queued first: a crash in between repeats work, no more."""
        now = time.time()
        rows: list[Any] = []
        children: list[Any] = []
        parents: list[tuple[Visit, list[Found]]] = []
        number = 0
        caps = (self._settings.max_queued, self._settings.host_queued)
        limits = [-1 if cap is None else cap for cap in caps]
        for visit in visits:
            held = self._held.get(visit.link.id or visit.link.url)
            if held is None or visit.reason == LOST:
                continue
            number += 1
            rows += visit_row(visit, held.id, held.token, now)
            depth, hops = where_to(visit)
            where: dict[int, list[Found]] = {}
            for one in visit.found:
                where.setdefault(self._shard(one[1]), []).append(self._traps.judged(one, visit))
            for other, some in where.items():
                written = items(
                    some, depth=depth, hops=hops, via=visit.link.url, by_depth=self._by_depth
                )
                if other == shard:
                    parents.append((visit, some))
                    children += (number, 2 + len(written), *limits, *written)
                else:
                    new = await self._add(other, written)
                    self._traps.found(visit, [some[int(n)] for n in new])
        if not rows and not marks:
            return
        _, fresh, stats = await self._wire.call(
            "settle", shard, self._job, msgspec.msgpack.encode(marks), number, *rows, *children
        )
        self._stats[shard] = stats_of([*stats, self._stats[shard].hosts])
        for (visit, some), new in zip(parents, fresh, strict=True):
            self._traps.found(visit, [some[int(n)] for n in new])
        for visit in visits:
            self._traps.learn(visit)

    def _robots_back(self, visit: Visit) -> tuple[Held, bool, float, Lesson | None] | None:
        held = self._held.get(visit.link.url)
        if held is None or not held.away:
            return None
        held.away = False
        self._abroad -= 1
        return held, True, 0.0, robots_lesson(visit)

    async def _flush(
        self, more: Sequence[tuple[Held, bool, float, Lesson | None] | None] = ()
    ) -> None:
        """Tell the server which connections are back, and which leases."""
        async with self._telling:
            await self._tell(more)

    async def _tell(self, more: Sequence[tuple[Held, bool, float, Lesson | None] | None]) -> None:
        backs, self._backs = self._backs, []
        backs += [one for one in more if one is not None]
        given_up, self._given_up = self._given_up, []
        words: dict[int, list[Any]] = {}
        for held, asked, rest, lesson in backs:
            words.setdefault(held.shard, []).extend(
                (held.id, held.token, int(asked), int(rest * 1000), lesson_row(lesson))
            )
        for shard, some in words.items():
            for row in await self._wire.call("back", shard, self._job, *some):
                pace = pace_of(row)
                self._paces[pace.name] = pace
                self._paces.move_to_end(pace.name)
                if len(self._paces) > SHOWN:
                    self._paces.popitem(last=False)
        words = {}
        for held in given_up:
            words.setdefault(held.shard, []).extend((held.id, held.token))
        for shard, some in words.items():
            await self._wire.call("forgo", shard, self._job, *some)

    async def _extend(self, leases: Sequence[Held | None]) -> list[bool]:
        """Renew; whether each is still ours."""
        kept = [False] * len(leases)
        by_shard: dict[int, list[tuple[int, Held]]] = {}
        for number, held in enumerate(leases):
            if held is not None:
                by_shard.setdefault(held.shard, []).append((number, held))
        for shard, some in by_shard.items():
            words = [word for _, held in some for word in (held.id, held.token)]
            asked = moment()
            answers = await self._wire.call("extend", shard, self._job, self._lease_ms, *words)
            for (number, held), mine in zip(some, answers, strict=True):
                kept[number] = bool(mine)
                if mine:
                    held.since = asked
        return kept

    async def _renew(self) -> None:
        """Leases last as long as their worker: each is renewed three times before it ends."""
        try:
            while True:
                said = {"leased": len(self._held), "done": self._settled, "at": time.time()}
                await self._wire.plain(
                    "SET", f"{PREFIX}worker:{self._job}:{self._worker}",
                    msgspec.json.encode(said), "PX", 3 * self._lease_ms,
                )  # fmt: skip
                await asyncio.sleep(self._settings.lease / 3)
                await self._extend(list(self._held.values()))
        except Exception as error:  # noqa: BLE001 - raised again in everybody who waits
            self._break(error)

    async def _break_off(self) -> None:
        """End exchanges whose leases ended: their hosts may be asked by others by now."""
        length = self._settings.lease
        while True:
            await asyncio.sleep(length / LOOKS)
            for held in lapsed(self._held.values(), length * (1 - 1 / LOOKS), moment()):
                assert held.exchange is not None
                held.exchange.reschedule(0.0)
                held.exchange = None

    async def _pump(self) -> None:
        """Ask for links while somebody waits for one."""
        wait = SELDOM
        try:
            while True:
                try:
                    async with asyncio.timeout(wait if self._waiters else None):
                        await self._bell.wait()
                except TimeoutError:
                    pass
                self._bell.clear()
                await self._flush()
                wait = await self._serve(wait)
        except Exception as error:  # noqa: BLE001 - raised again in everybody who waits
            self._break(error)

    async def _serve(self, waited: float) -> float:
        """Give waiting workers what may go; seconds until it is worth asking again."""
        while self._waiters and self._waiters[0].done():
            self._waiters.popleft()
        if not self._waiters:
            return SELDOM
        if self._over:
            self._answer_all(None)
            return SELDOM
        need = min(len(self._waiters), self._concurrency - self._abroad)
        if need <= 0:
            return SELDOM  # a release rings
        shards = self._wire.shards
        came = 0
        for step in range(shards):
            shard = (self._first_shard + step) % shards
            came += await self._take(shard, need - came)
            if came >= need:
                break
        self._first_shard = (self._first_shard + 1) % shards
        if came:
            return OFTEN
        if await self._ended():
            self._over = True
            self._answer_all(None)
            return SELDOM
        due = self._sum.wait / 1000
        return min(SELDOM, max(due, OFTEN) if due >= 0 else max(2 * waited, OFTEN))

    async def _take(self, shard: int, need: int) -> int:
        level = self._level if self._by_depth and self._wire.shards > 1 else -1
        asked = moment()
        taken, stats = await self._wire.call(
            "lease", shard, self._job, need, self._lease_ms, os.urandom(8).hex(), level,
            self._quota, int(self._robots), self._settings.crashes, self._terms, random.random(),
        )  # fmt: skip
        known = self._stats.get(shard)
        self._stats[shard] = msgspec.structs.replace(
            stats_of(stats), hosts=known.hosts if known else 0
        )
        for name, token, host, written, home in taken:
            held = Held(shard, name, token, asked)
            where = host.decode("utf-8", "surrogatepass")
            if name[:1] == b"r" and not written:
                link = Link(f"{home.decode()}/robots.txt", where, kind=Kind.ROBOTS)
            else:
                self._number += 1
                link = link_of(written, where, self._number)
            self._held[link.id or link.url] = held
            self._abroad += 1
            self._hand(link)
        return len(taken)

    def _hand(self, link: Link) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(link)
                return
        self.forgo(link)  # its waiter was cancelled meanwhile

    async def _ended(self) -> bool:
        """Whether there is no more work anywhere.

        Shards are looked at one after the other, so a link could move behind our back. Two looks
        with nothing open and nothing added between them mean that between the two there was a
        moment when nothing was open anywhere: then nothing can come any more.
        """
        first = dict(self._stats)
        stats = self._sum
        if self._by_depth and self._wire.shards > 1 and stats.open:
            self._level = max(stats.least, 0)
        if self.exhausted:
            return True
        if stats.open and not (stats.leased + stats.asking == 0 and stats.stranded == stats.open):
            return False
        await self._look()
        if self._wire.shards > 1:
            first, _ = dict(self._stats), await self._look()
        same = all(first[shard].ops == one.ops for shard, one in self._stats.items())
        return same and (self._sum.open == 0 or self.stranded)

    def _answer_all(self, answer: Link | None) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(answer)

    def _break(self, error: Exception) -> None:
        self._broken = error
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)

    def __repr__(self) -> str:
        return f"<RedisFrontier {self._wire.name} {self._job}: {len(self._held)} on lease>"
