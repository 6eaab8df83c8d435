"""The crawl's loop, gate, ledger and frontier, as they are, in random webs and virtual time.

    python tests/model.py 100000 [--seed 1] [--processes 2]     or: make test-model WEBS=100000

Only the network, the parse processes and the clock are made up. Each web is crawled under settings
drawn by lot (depth, pages, pace, groups, parking, hosts forgotten), stopped, killed and opened
again, and then: did it end, did it visit what a plain search says, and each URL once?
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Final
from unittest import mock

import msgspec
from helpers.model_site import Record, Site
from helpers.virtual_time import Clock, Standstill, VirtualLoop
from helpers.webs import HOPS, SITES, Web, a_web, expected

from crawler.config.model import (
    FetchConfig,
    LimitsConfig,
    PaceConfig,
    RetryConfig,
    RobotsConfig,
    ScopeConfig,
    SitemapConfig,
    UrlsConfig,
)
from crawler.engine.committer import Committer
from crawler.engine.engine import Engine
from crawler.engine.robots_gate import RobotsGate
from crawler.engine.stats import StatsCollector
from crawler.frontier.sqlite.sqlite_frontier import SqliteFrontier
from crawler.interfaces import Frontier
from crawler.policy.outcome import ResponseClassifier
from crawler.policy.retry_policy import RetryPolicy
from crawler.policy.scope import Scope
from crawler.policy.urls import Urls
from crawler.records import CrawlResult, Kind
from crawler.service.jobs.host_throttle import HostThrottle, ThrottledFrontier

SHM: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None
STOPS = ("interrupted", "aborted", "time-limit", "size-limit")


PATIENCE: Final = 10_000.0
"""Seconds that a robots.txt is waited for where the plain search counts on it."""


class Settings(msgspec.Struct, frozen=True):
    """What a web is crawled with."""

    pace: PaceConfig
    limits: LimitsConfig
    robots: RobotsConfig
    max_pages: int | None
    shared: bool  # takes turns with other crawls
    late: bool  # depth becomes the order when the crawl is opened again
    kept: int
    buffer: int
    low: int
    stops: tuple[tuple[float, str], ...]  # after so many seconds: how a run is ended
    skews: tuple[float, ...]  # seconds by which the wall clock is set between


def some_settings(rng: Random, web: Web) -> Settings:
    park_after = rng.choice((0, 0, 0, 1, 3, 5))
    pace = PaceConfig(
        per_host=rng.choice((1, 2, 4)),
        delay=rng.choice((0.0, 0.25, 0.25, 5.0)),
        jitter=rng.choice((0.0, 0.5)),
        fast=rng.random() < 0.25,
        adaptive=rng.random() < 0.5,
        group=rng.choice(("host", "host", "domain", "ip")),
        limit_rate=rng.choice((None, None, None, 2000)),
        host_rate=rng.choice((None, None, None, 1000)),
        park_after=park_after,
        park=rng.choice((1.0, 60.0)),
        max_parks=rng.choice((0, 1, 6)),
    )
    patience = rng.choice((30.0, PATIENCE))
    stops = [
        (rng.choice((0.0, 0.3, 2.0, 20.0, 100.0)), rng.choice(STOPS))
        for _ in range(rng.choice((0, 0, 1, 3)))
    ]
    for one in web.robots.values():
        # Its first answer may be a bad one, or may be lost with a run that is ended.
        slow = len(one.answers) > 1 and (one.answers[0] != "file" or bool(stops))
        if slow and (park_after or patience < PATIENCE):
            one.sure = False  # refused, or asked again in time
    return Settings(
        pace=pace,
        limits=LimitsConfig(
            concurrency=rng.choice((1, 2, 8, 64)), workers=rng.choice((1, 2, 5, 20))
        ),
        robots=RobotsConfig(patience=patience, obey=True),
        max_pages=rng.choice((None, None, None, 1, 5, 12)),
        shared=not pace.fast and pace.group == "host" and rng.random() < 0.2,
        late=web.depth is not None and bool(stops) and rng.random() < 0.2,
        kept=rng.choice((0, 1, 4096)),
        buffer=rng.choice((1, 3, 8, 256)),
        low=rng.choice((1, 2, 16)),
        stops=tuple(stops),
        skews=tuple(rng.choice((0.0, 0.0, 0.0, 3600.0, -3600.0)) for _ in range(len(stops) + 1)),
    )


async def a_run(
    web: Web, wish: Settings, site: Site, record: Record, number: int, rng: Random, folder: str
) -> tuple[str, list[tuple[str, int]]]:
    """Open, crawl until it ends or is stopped, close. Why it ended, and what is left to do: host
    and depth of each.
    """
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.skew = wish.skews[min(number, len(wish.skews) - 1)]
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
    limits = wish.limits
    if how == "time-limit":
        limits = msgspec.structs.replace(limits, time_limit=until)
    if how == "size-limit":
        limits = msgspec.structs.replace(limits, size_limit=int(until * 1000))
    frontier = SqliteFrontier(
        f"{folder}/frontier.db" if wish.stops else ":memory:",
        wish.pace,
        concurrency=limits.concurrency,
        max_pages=wish.max_pages,
        by_depth=web.depth is not None and not (wish.late and number == 0),
        traps=ScopeConfig(trap_patience=8),
        kept=wish.kept,
    )
    async with frontier:
        await record.cut((await frontier.marks()).get(record.name, 0))
        paced: Frontier = frontier
        if wish.shared:
            turns = HostThrottle()
            paced = ThrottledFrontier(frontier, turns, wish.pace)
            loop.call_later(rng.random(), neighbour, loop, turns, rng)
        site.frontier, site.verdict = paced, verdict
        async with Committer(paced, [record]) as ledger:
            gate = RobotsGate(
                paced, site, site, agent="model", robots=wish.robots, sitemap=SitemapConfig(),
                pace=wish.pace, retry=retry, urls=urls, verdict=verdict, clock=loop.wall,
            )  # fmt: skip
            await frontier.add([verdict.judged(url, 0, Kind.PAGE) for url in web.seeds])
            crawl = Engine(
                paced,
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
        left = frontier._store._db.execute(  # what is there, not what the frontier thinks
            "SELECT host.name, depth FROM link JOIN host ON host.id = host WHERE state IN (0, 1)"
        ).fetchall()
    return crawl.finish_reason, left


def neighbour(loop: VirtualLoop, turns: HostThrottle, rng: Random, left: int = 20) -> None:
    """Another crawl of the process: its visits take turns with ours, and hosts ask it to rest."""
    host = rng.choice(SITES)
    turn = turns.acquire(host, 1, 1.0)

    def leave(_: object) -> None:
        if not turn.cancelled() and turn.result():
            rest = rng.choice((0.0, 1.0, 300.0))
            loop.call_later(rng.random(), lambda: turns.release(host, unsent=True, pause=rest))
            if left:
                loop.call_later(rng.random() * 30, neighbour, loop, turns, rng, left - 1)

    turn.add_done_callback(leave)


async def crawled(web: Web, wish: Settings, rng: Random) -> int:
    """To its end, stopped and opened again as is wished. The number of visits; raises
    AssertionError for what is wrong with them.
    """
    site, record = Site(web, rng), Record()
    folder = tempfile.mkdtemp(prefix="model-", dir=SHM) if wish.stops else ""
    try:
        for number in range(len(wish.stops) + 1):
            reason, left = await a_run(web, wish, site, record, number, rng, folder)
            if reason not in STOPS:
                break
    finally:
        if folder:
            shutil.rmtree(folder)
    judge(web, wish, reason, left, record.visits, site.failed)
    return len(record.visits)


def judge(
    web: Web,
    wish: Settings,
    reason: str,
    left: Sequence[tuple[str, int]],
    visits: Sequence[CrawlResult],
    failed: AbstractSet[str],
) -> None:
    """What was visited, beside what a plain search says; `failed` are hosts that did, once."""
    must, may = expected(web, certain=True), expected(web, certain=False)
    if wish.late:  # what was found first without an order may be too deep with one
        must = {}
    times = Counter(visit.link.url for visit in visits)
    seen = {visit.link.url: (visit.outcome.value, visit.link.depth) for visit in visits}
    assert reason in {"finished", "max-pages", "hosts-down"}, reason
    assert all(time == 1 for time in times.values()), f"visited twice: {times.most_common(2)}"
    for url, (outcome, depth) in seen.items():
        like = f"{url.rpartition('/')[0]}/0" if web.node(url).trap else url
        assert like in may, f"{url} is {outcome}: nobody leads there"
        if url in must:
            assert outcome == must[url][0], f"{url} is {outcome}, not {must[url][0]}"
            near, far = may[url][1], must[url][1]  # the same, but for ways that may be open
            assert web.depth is None or near <= depth <= far, f"{url} at {depth}: {near} … {far}"
    pages = sum(one.outcome == "done" and one.link.kind is Kind.PAGE for one in visits)
    if reason == "max-pages":
        assert pages == wish.max_pages, f"{pages} pages, not {wish.max_pages}"
        return
    assert wish.max_pages is None or pages < wish.max_pages, f"{pages} pages: {reason}"
    if reason == "hosts-down":
        assert left, "hosts-down, and nothing is left"
        assert wish.pace.park_after, "no host is ever parked"
        if wish.pace.group == "host":
            down = min((depth for host, depth in left if host in failed), default=1_000_000)
            deep = -1 if web.depth is None else down
            early = [one for one in left if one[0] not in failed and not one[1] > deep >= 0]
            assert not early, f"hosts-down, and {early} could go"
        return
    assert not left, f"{reason}, and {left} are left"
    missing = must.keys() - seen.keys()
    assert not missing, f"never visited: {sorted(missing)}"


def play(seed: int) -> int:
    """Crawl the web of that seed; the number of its visits. Raises what is wrong with it."""
    rng = Random(seed)
    web = a_web(rng)
    return play_web(web, some_settings(rng, web), rng)


def play_web(web: Web, wish: Settings, rng: Random) -> int:
    random.seed(rng.random())  # where the crawler throws dice of its own
    loop = VirtualLoop(rng)
    clock = Clock(loop)
    with ExitStack() as patched:
        for name in (
            "frontier.sqlite.sqlite_frontier",
            "frontier.sqlite.store",
            "service.jobs.host_throttle",
        ):
            patched.enter_context(mock.patch(f"crawler.{name}.time", clock))
        patched.enter_context(
            mock.patch("crawler.frontier.sqlite.sqlite_frontier.BUFFER", wish.buffer)
        )
        patched.enter_context(mock.patch("crawler.frontier.scheduling.slot.LOW_WATER", wish.low))
        return loop.run(crawled(web, wish, rng))


def several(seeds: Sequence[int]) -> tuple[int, list[tuple[int, str]]]:
    """Play them; visits, and the seeds that failed with what went wrong."""
    logging.disable(logging.CRITICAL)
    visits, failures = 0, []
    for seed in seeds:
        try:
            visits += play(seed)
        except (Exception, Standstill) as error:  # noqa: BLE001 - whatever it is, it is a find
            failures.append((seed, f"{type(error).__name__}: {error}"))
    return visits, failures


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("webs", type=int)
    parser.add_argument("--seed", type=int, default=1, help="of the first web")
    parser.add_argument("--processes", type=int, default=2)
    wanted = parser.parse_args()
    began = time.monotonic()
    chunk = 250
    parts = [
        range(start, min(start + chunk, wanted.seed + wanted.webs))
        for start in range(wanted.seed, wanted.seed + wanted.webs, chunk)
    ]
    done = visits = failed = 0
    with multiprocessing.Pool(wanted.processes) as pool:
        for part, (some, failures) in zip(parts, pool.imap(several, parts), strict=True):
            done, visits, failed = done + len(part), visits + some, failed + len(failures)
            for seed, said in failures:
                say(f"seed {seed}: {said}")
            if done % 10_000 < chunk or done == wanted.webs:
                took = time.monotonic() - began
                say(f"{done:,} webs, {visits:,} visits, {took:.0f} s, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
