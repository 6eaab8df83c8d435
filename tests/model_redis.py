"""The model of `model.py` over Redis: several workers share each web, in one virtual time.

    python tests/model_redis.py 1000 [--seed 1] [--processes 2]
        or: make test-model-redis WEBS=1000

The server is a real one and runs the frontier's own Lua; only its clock is told. Each call of a
worker arrives after a while and is answered after another, so that what two workers say meets in
every order. Stopped workers give their leases back, or leave them to run out.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from importlib import resources
from random import Random
from types import SimpleNamespace
from typing import Any, Final, Self
from unittest import mock

import msgspec
import redis
from helpers import virtual_time
from helpers.model_site import Record, Site
from helpers.redis_server import RedisServer, servers
from helpers.virtual_time import Clock, Standstill, VirtualLoop
from helpers.webs import HOPS, SITES, Web, a_web
from model import STOPS, Settings, judge, say, some_settings

from crawler.config.model import (
    FetchConfig,
    FrontierConfig,
    RetryConfig,
    ScopeConfig,
    SitemapConfig,
    UrlsConfig,
)
from crawler.engine.committer import Committer
from crawler.engine.engine import Engine
from crawler.engine.robots_gate import RobotsGate
from crawler.engine.stats import StatsCollector
from crawler.errors import FrontierError
from crawler.frontier.redis.codec import link_of
from crawler.frontier.redis.redis_client import LIBRARY, RedisClient, RedisHealth, Undo
from crawler.frontier.redis.redis_frontier import RedisFrontier
from crawler.policy.outcome import ResponseClassifier
from crawler.policy.retry_policy import RetryPolicy
from crawler.policy.scope import Scope
from crawler.policy.urls import Urls
from crawler.records import CrawlResult, Kind

CLOCK: Final = "model:clock"
LAGS: Final = (0.0, 0.0, 0.001, 0.02, 0.3)
"""Seconds until a call arrives, and until its answer does."""

LOST: Final = 0.03
"""Of answers."""

LEASE: Final = 60.0
ENDS: Final = ("max-pages", "finished", "hosts-down")
"""Of workers that end for different reasons the last one counts: hosts may come back."""

TOLD: Final = (
    "local told = redis.call('GET', 'model:clock')\n  if told then return tonumber(told) end\n"
)
MANY: Final = 1_000_000
"""Rounds of the loop after which it only pretends to get on: workers ask again and again."""


class VirtualWire(RedisClient):
    """The way to a server, without waiting for sockets: each call is one moment of virtual time."""

    rng: Random
    line: redis.Redis

    async def __aenter__(self) -> Self:
        self.shards = self._given or 1
        return self

    async def _close(self) -> None:
        self.give_up()
        while self._calls:
            await asyncio.wait(self._calls)

    async def health(self) -> list[RedisHealth]:
        return []

    async def call(self, verb: str, shard: int, *args: Any, undo: Undo | None = None) -> Any:
        return await self._shielded(self._asked(verb, shard, args, undo))

    async def _asked(self, verb: str, shard: int, args: Any, undo: Undo | None) -> Any:
        """Now and then an answer is lost, as when a server dies, and the call is made again."""
        while True:
            answer = await self._said("FCALL", f"crawler1_{verb}", 1, self.tag(shard), *args)
            if self.rng.random() >= LOST:
                return answer
            if undo is not None:
                await undo()

    async def plain(self, *words: Any) -> Any:
        return await self._shielded(self._said(*words))

    async def _said(self, *words: Any) -> Any:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        await asyncio.sleep(self.rng.choice(LAGS))
        self.line.set(CLOCK, int(loop.wall() * 1000))
        try:
            answer = self.line.execute_command(*words)  # type: ignore[no-untyped-call]
        except redis.ResponseError as error:
            raise FrontierError(str(error)) from error
        await asyncio.sleep(self.rng.choice(LAGS))
        return answer


def library() -> str:
    """The frontier's functions, with a clock that is told."""
    folder = resources.files("crawler.frontier.redis")
    code = "".join(folder.joinpath(name).read_text("utf-8") for name in LIBRARY)
    head = "local function clock()\n  "
    assert code.count(head) == 1
    return "#!lua name=crawler1\n" + code.replace(head, head + TOLD)


class Wishes(msgspec.Struct, frozen=True):
    """What of `Settings` means something here, and what means something only here."""

    workers: int
    shards: int
    seldom: float
    leaves: bool  # a worker that is stopped leaves its leases to run out


def some_wishes(rng: Random, wish: Settings) -> Wishes:
    return Wishes(
        workers=rng.choice((1, 2, 3)),
        shards=1 if wish.max_pages is not None else rng.choice((1, 1, 4)),
        seldom=rng.choice((2.0, 10.0, 30.0)),
        leaves=rng.random() < 0.3,
    )


async def a_worker(
    web: Web, wish: Settings, many: Wishes, site: Site, record: Record, number: int, rng: Random,
    name: str,
) -> str:  # fmt: skip
    """Open, crawl until it ends or is stopped, close. Why it ended."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    outside = tuple(f"://{host}/" for host in SITES if host not in web.in_scope)
    scope = Scope(
        ScopeConfig(scope="any", max_depth=web.depth, exclude=outside, trap_patience=8), web.seeds
    )
    retry = RetryPolicy(RetryConfig(), dice=rng.random)
    urls = Urls(UrlsConfig())
    verdict = ResponseClassifier(
        urls, scope, retry, fetch=FetchConfig(max_redirects=HOPS), pace=wish.pace, clock=loop.wall
    )
    until, how = wish.stops[number] if number < len(wish.stops) else (0.0, "")
    until += rng.random() * 5
    limits = wish.limits
    if how == "time-limit":
        limits = msgspec.structs.replace(limits, time_limit=until)
    if how == "size-limit":
        limits = msgspec.structs.replace(limits, size_limit=int(until * 1000))
    frontier = RedisFrontier(
        FrontierConfig(url="redis://model", job="model", lease=LEASE, shards=many.shards),
        wish.pace,
        concurrency=limits.concurrency,
        max_pages=wish.max_pages,
        by_depth=web.depth is not None,
        traps=ScopeConfig(trap_patience=8),
        worker=name,
    )
    async with frontier:
        await record.cut((await frontier.marks()).get(record.name, 0))
        site.frontier, site.verdict = frontier, verdict
        async with Committer(frontier, [record]) as ledger:
            gate = RobotsGate(
                frontier, site, site, agent="model", robots=wish.robots, sitemap=SitemapConfig(),
                pace=wish.pace, retry=retry, urls=urls, verdict=verdict, clock=loop.wall,
            )  # fmt: skip
            await frontier.add([verdict.judged(url, 0, Kind.PAGE) for url in web.seeds])
            crawl = Engine(
                frontier,
                gate,
                site,
                site,
                ledger,
                verdict=verdict,
                limits=limits,
                tally=StatsCollector(),
            )
            if how == "interrupted":
                loop.call_later(until, crawl.stop)
            elif how == "aborted":
                loop.call_later(until, crawl.abort)
            await crawl.run()
        if many.leaves and crawl.finish_reason in STOPS:
            frontier._leases._held.clear()
    return crawl.finish_reason


def keys(line: redis.Redis, pattern: str) -> list[bytes]:
    return [key for key in line.keys(pattern) if isinstance(key, bytes)]


def tag_of(key: bytes) -> str:
    """What all keys of its shard begin with."""
    return key.decode().partition("model:")[0]


def left_there(line: redis.Redis, *, by_depth: bool) -> list[tuple[str, int]]:
    """Host and depth of what is still to do, as it lies on the server."""
    left = []
    for key in sorted(keys(line, "crawler:*:model:q:*")):
        level, _, host = key.decode().partition(":q:")[2].partition(":")
        up = {*line.smembers(f"{tag_of(key)}model:up:{level}")}
        waits = sum(element[:8] not in up for element in line.lrange(key, 0, -1))
        left += [(host, int(level) if by_depth else 0)] * waits
    for key in keys(line, "crawler:*:model:rest"):
        rows = line.fcall("crawler1_opened", 1, tag_of(key), *line.zrange(key, 0, -1))
        for host, _, element, _ in rows:
            depth = link_of(element, host.decode(), 0).depth
            left.append((host.decode(), depth if by_depth else 0))
    return left


async def crawled(web: Web, wish: Settings, many: Wishes, rng: Random, line: redis.Redis) -> int:
    """To its end, all workers stopped and opened again as is wished. The number of visits."""
    records = [Record() for _ in range(many.workers)]
    sites = [Site(web, rng) for _ in records]
    for site in sites[1:]:  # one web: what was asked and what failed is the same for all
        site.asked, site.failed = sites[0].asked, sites[0].failed
    for number in range(len(wish.stops) + 1):
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(a_worker(web, wish, many, site, record, number, rng, f"w{place}"))
                for place, (site, record) in enumerate(zip(sites, records, strict=True))
            ]
        reasons = [task.result() for task in tasks]
        if set(reasons).isdisjoint(STOPS):
            break
    reason = next(end for end in ENDS if end in reasons)
    visits: list[CrawlResult] = [visit for record in records for visit in record.visits]
    left = left_there(line, by_depth=web.depth is not None)
    judge(web, wish, reason, left, visits, sites[0].failed)
    return len(visits)


def play(seed: int, line: redis.Redis) -> int:
    """Crawl the web of that seed; the number of its visits. Raises what is wrong with it."""
    rng = Random(seed)
    web = a_web(rng)
    wish = some_settings(rng, web)
    pace = msgspec.structs.replace(wish.pace, group="host")
    wish = msgspec.structs.replace(wish, pace=pace, shared=False, late=False, skews=(0.0,))
    many = some_wishes(rng, wish)
    line.flushall()
    random.seed(rng.random())
    loop = VirtualLoop(rng)
    clock = Clock(loop)
    told = SimpleNamespace(
        time=clock.time, monotonic=clock.monotonic, clock_gettime=lambda _: loop.monotonic()
    )
    tokens = iter(range(1 << 62))
    with ExitStack() as patched:
        for name in ("lease", "lease_table", "shards", "visit_results"):
            patched.enter_context(mock.patch(f"crawler.frontier.redis.{name}.time", told))
        for name in ("dispatcher", "lease_table"):
            patched.enter_context(mock.patch(f"crawler.frontier.redis.{name}.SELDOM", many.seldom))
        patched.enter_context(
            mock.patch(
                "crawler.frontier.redis.lease.os.urandom", lambda n: next(tokens).to_bytes(n)
            )
        )
        patched.enter_context(mock.patch.object(virtual_time, "MOST", MANY))
        patched.enter_context(mock.patch.object(VirtualWire, "rng", rng, create=True))
        patched.enter_context(mock.patch.object(VirtualWire, "line", line, create=True))
        patched.enter_context(
            mock.patch("crawler.frontier.redis.redis_frontier.RedisClient", VirtualWire)
        )
        return loop.run(crawled(web, wish, many, rng, line))


def several(seeds: Sequence[int], path: str) -> tuple[int, list[tuple[int, str]]]:
    """Play them on the server at that socket; visits, and the seeds that failed, with why."""
    logging.disable(logging.CRITICAL)
    visits, failures = 0, []
    with redis.Redis(unix_socket_path=path) as line:
        line.flushall()
        line.execute_command("FUNCTION LOAD", "REPLACE", library())
        for seed in seeds:
            try:
                visits += play(seed, line)
            except (Exception, Standstill) as error:  # noqa: BLE001 - whatever it is, it is a find
                failures.append((seed, f"{type(error).__name__}: {error}"))
    return visits, failures


def _part(wanted: tuple[Sequence[int], str]) -> tuple[int, list[tuple[int, str]]]:
    """With a server of its own: they are one crawl's."""
    seeds, program = wanted
    with RedisServer(program, "--appendonly", "no") as server:
        return several(seeds, str(server.socket))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("webs", type=int)
    parser.add_argument("--seed", type=int, default=1, help="of the first web")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    wanted = parser.parse_args()
    program = [*servers().values()][-1]
    began, chunk = time.monotonic(), 50
    parts = [
        (range(start, min(start + chunk, wanted.seed + wanted.webs)), program)
        for start in range(wanted.seed, wanted.seed + wanted.webs, chunk)
    ]
    done = visits = failed = 0
    with multiprocessing.Pool(wanted.processes) as pool:
        for part, (some, failures) in zip(parts, pool.imap(_part, parts), strict=True):
            done, visits, failed = done + len(part[0]), visits + some, failed + len(failures)
            for seed, said in failures:
                say(f"seed {seed}: {said}")
            if done % 1000 < chunk or done == wanted.webs:
                took = time.monotonic() - began
                say(f"{done:,} webs, {visits:,} visits, {took:.0f} s, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
