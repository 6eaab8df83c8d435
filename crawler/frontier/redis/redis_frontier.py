"""The frontier on Redis or Valkey: the same crawl on as many machines as are started.

    RedisFrontier ──▶ LeaseDispatcher  who waits for a link, and asking for them
                  ──▶ LeaseTable       what this worker has, and what is owed for it
                  ──▶ ResultSubmitter  what came of it: ours? then settled
                  ──▶ Shards           the job on the server, and its numbers

Order, dedup, leases and politeness live on the server, in functions that are one atomic step each
(the *.lua files), by the server's clock; nothing here decides who may be asked. A
worker holds what it has on lease, renews it, and knows that it may have lost it: `recognise` asks
before anything is written, and `settle` is refused, link by link, where the token is another's.

Nothing is leased ahead of need: a pause begins when the request is written (`sent`), and a link
that lay here would hold its host until then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final, Self

from crawler.config.model import FrontierConfig, PaceConfig, ScopeConfig
from crawler.errors import ConfigError, FrontierError
from crawler.frontier.redis import job_inspect
from crawler.frontier.redis.codec import JobStats, counts_of, terms_row
from crawler.frontier.redis.dispatcher import LeaseDispatcher, LeaseQuery
from crawler.frontier.redis.lease_table import LeaseTable
from crawler.frontier.redis.redis_client import RedisClient
from crawler.frontier.redis.redis_traps import RedisTraps
from crawler.frontier.redis.shards import Shards
from crawler.frontier.redis.visit_results import ResultSubmitter
from crawler.frontier.scheduling.slot_settings import terms
from crawler.policy.autothrottle import HostPace, ResponseSample
from crawler.policy.waits import Wait, longest
from crawler.records import Counts, CrawlResult, CrawlUrl, Outlink, Refusal, RobotsRecord

log = logging.getLogger(__name__)


class RedisFrontier:
    """Implements `protocols.Frontier`. Workers of one job share its name (`settings.job`)."""

    run: Final = 1  # a recrawl needs a folder

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
        wishes = terms_row(pace, concurrency)
        quota = -1 if max_pages is None else max_pages
        bell = asyncio.Event()
        self._wire = RedisClient(settings.url, shards=settings.shards, patience=settings.patience)
        self._shards = Shards(self._wire, settings, by_depth=by_depth)
        own = terms(pace, concurrency)
        self._leases = LeaseTable(
            self._shards, wishes, bell,
            length=settings.lease, pause=own.delay if own.width > 1 else 0.0, worker=worker,
        )  # fmt: skip
        self._waiters = LeaseDispatcher(
            self._shards, self._leases, bell,
            LeaseQuery(wishes, concurrency, quota, robots, settings.crashes),
        )  # fmt: skip
        self._bell = bell
        self._quota = quota
        self._visits = ResultSubmitter(
            self._shards, self._leases, RedisTraps(traps or ScopeConfig(trap="off")), worker
        )
        self._worker = worker
        self._tasks: list[asyncio.Task[None]] = []

    # ── life ─────────────────────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> Self:
        """Raises FrontierError when the server is away or unfit, ConfigError for its address."""
        await self._wire.__aenter__()
        try:
            for health in await self._wire.health():
                for trouble in health.troubles:
                    log.warning("%s: %s", self._wire.name, trouble)
            self._check()
            await self._shards.born()
            await self._shards.look()
        except BaseException:
            await self._wire.__aexit__()
            raise
        guard = self._waiters.guard
        self._tasks = [
            asyncio.create_task(guard(self._waiters.pump), name="frontier pump"),
            asyncio.create_task(guard(self._leases.keep_up), name="frontier renewal"),
            asyncio.create_task(guard(self._leases.break_off), name="frontier lapses"),
        ]
        return self

    def _check(self) -> None:
        if self._quota >= 0 and len(self._shards) > 1:
            raise ConfigError("limits.max_pages needs a frontier of one shard")

    async def __aexit__(self, *_: object) -> None:
        """Give back what is on lease; where the server is away, its leases expire."""
        self.stop()
        for task in self._tasks:
            task.cancel()
        try:
            if self._tasks:
                await asyncio.wait(self._tasks)
            self._wire.give_up()
            await self._waiters.give_up()
            await self._leases.give_up()
        except FrontierError as error:
            log.warning("%s; what was on lease is free in %g s", error, self._leases.length)
        finally:
            await self._wire.__aexit__()

    # ── the queue ────────────────────────────────────────────────────────────────────────────

    async def add(self, found: Sequence[Outlink], *, depth: int = 0) -> int:
        fresh = await self._shards.add(found, depth=depth)
        await self._shards.look()
        self._waiters.look_again()
        return fresh

    async def lease(self) -> CrawlUrl | None:
        return await self._waiters.lease()

    def release(
        self,
        link: CrawlUrl,
        *,
        asked: bool = True,
        rest: float = 0.0,
        why: str = "",
        lesson: ResponseSample | None = None,
    ) -> None:
        self._leases.release(link, asked=asked, rest=rest, why=why, lesson=lesson)

    async def turn(self, link: CrawlUrl) -> None:
        await self._leases.turn(link)

    def sent(self, link: CrawlUrl) -> bool:
        return self._leases.sent(link)

    def forgo(self, link: CrawlUrl) -> None:
        self._leases.forgo(link)

    def stop(self) -> None:
        self._waiters.stop()

    # ── leases (`leased.Leases`) ─────────────────────────────────────────────────────────────

    def owns(self, link: CrawlUrl) -> bool:
        """Whether the link is ours for sure; on one machine everything always is."""
        return self._leases.owns(link)

    async def renew(self, link: CrawlUrl) -> bool:
        """Waits for a server that is away. False: the link is forgotten here, another has it."""
        return await self._leases.renew(link)

    def watch(self, link: CrawlUrl, exchange: asyncio.Timeout | None) -> None:
        """An exchange begins, or is over."""
        self._leases.watch(link, exchange)

    # ── visits ───────────────────────────────────────────────────────────────────────────────

    async def recognise(self, visits: Sequence[CrawlResult]) -> Sequence[CrawlResult]:
        """Also where a worker learns that a link is no longer its own: such a visit becomes a
        RETRY with the reason `lease`, which no sink writes.
        """
        return await self._visits.recognise(visits)

    async def settle(self, visits: Sequence[CrawlResult], marks: Mapping[str, int]) -> None:
        await self._visits.settle(visits, marks)
        self._bell.set()

    # ── what is known ────────────────────────────────────────────────────────────────────────

    async def counts(self) -> Counts:
        await self._leases.flush()
        return counts_of(await self._shards.look(), await self._shards.reasons())

    async def rules(self, origin: str) -> RobotsRecord | None:
        return await self._shards.rules(origin)

    async def refusals(self, limit: int) -> list[Refusal]:  # noqa: ARG002 - see below
        """None: a refused URL is 9 bytes here, not a line."""
        return []

    @property
    def exhausted(self) -> bool:
        return self._waiters.exhausted

    @property
    def stranded(self) -> bool:
        return self._waiters.stranded

    @property
    def pending(self) -> int:
        """Links that will still be visited by somebody, as of the last answer."""
        stats = self._shards.sum
        return stats.queued + stats.resting + stats.leased

    @property
    def on_lease(self) -> int:
        """Links that this worker has on lease."""
        return len(self._leases)

    def paces(self, most: int = 10) -> list[HostPace]:
        """Of hosts that this worker asked, as of then."""
        return self._leases.paces(most)

    async def waits(self, most: int = 10) -> list[Wait]:
        """Of hosts that this worker asked, and of links that anybody is to try again."""
        retries = await job_inspect.retries(self._wire, self._shards.job, most)
        return longest([*self._leases.waits(), *retries], most)

    async def marks(self) -> dict[str, int]:
        """The length each of this worker's outputs had at its last commit."""
        return await self._shards.marks(self._worker)

    async def notes(self) -> dict[str, str | float]:
        """Facts about the crawl as a whole, as kept by `note`."""
        return await self._shards.notes()

    async def note(self, **values: str | float) -> None:
        await self._shards.note(**values)

    async def adopted(self) -> dict[str, str]:
        """What seeds redirected to, with the kind of address that each may have."""
        return await self._shards.adopted()

    async def pause(self, *, on: bool = True) -> None:
        """No worker leases anything while it is on; what is on lease is finished."""
        await self._shards.pause(on=on)

    async def block(self, host: str, seconds: float) -> None:
        """No job asks the host anything for so long."""
        await self._shards.block(host, seconds)

    async def retry(self, reason: str = "") -> int:
        """Queue the failed links again whose reason contains this; how many."""
        number = await self._shards.retry(reason)
        self._waiters.look_again()
        return number

    async def _look(self) -> JobStats:
        return await self._shards.look()

    def __repr__(self) -> str:
        job, number = self._shards.job, len(self._leases)
        return f"<RedisFrontier {self._wire.name} {job}: {number} on lease>"
