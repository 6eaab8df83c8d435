"""Random webs through the real crawl in virtual time; what they found, by name. See `model.py`.

The full run: make test-model WEBS=100000
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from random import Random
from typing import Any
from unittest import mock

import pytest
from helpers import virtual_time
from helpers.frontier_contract import found
from helpers.virtual_time import Clock, Standstill, VirtualLoop
from model import play, several

from crawler.config.model import PaceConfig
from crawler.frontier.sqlite.sqlite_frontier import SqliteFrontier
from crawler.records import CrawlResult, CrawlUrl, Outcome

FIXED = 200
"""Webs that are always the same, and as many again that are not, an eighth of them."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("part", range(4))
def test_random_webs_end_with_what_a_plain_search_finds(part: int) -> None:
    share = FIXED // 4
    visits, failures = several(range(1 + part * share, 1 + (part + 1) * share))
    assert not failures
    assert visits > share


def test_webs_that_nobody_has_seen_yet_end_too() -> None:
    """A failure names its seed: play(seed) is the same again."""
    seeds = [random.randrange(2**32) for _ in range(FIXED // 8)]
    assert several(seeds)[1] == []


def test_the_model_says_so_when_a_crawl_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wake-ups taken out one by one: the frontier's own check, or the clock, must tell."""
    monkeypatch.setattr(SqliteFrontier, "_feed", lambda _: asyncio.Event().wait())
    with pytest.raises(Standstill, match="nothing can happen any more"):
        play(1)


# ── faults that it found ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", [10167, 83602])
def test_a_pace_slower_than_a_robots_txt_lasts_lets_pages_through(seed: int) -> None:
    """Two hosts at one address, 33 s between requests, robots.txt good for a minute behind five
    redirects: each was out of date when it was the host's turn, and asked for again, for ever.
    """
    assert play(seed)


def in_virtual_time(main: Callable[[VirtualLoop], Coroutine[Any, Any, None]], lag: float) -> int:
    """Run it, each job of the frontier's thread after `lag` seconds; the rounds of the loop."""
    loop = VirtualLoop(Random(1))
    with ExitStack() as patched:
        for name in ("sqlite_frontier", "store"):
            patched.enter_context(mock.patch(f"crawler.frontier.sqlite.{name}.time", Clock(loop)))
        patched.enter_context(mock.patch.object(virtual_time, "LAGS", (lag,)))
        loop.run(main(loop))
    return loop.rounds


def frontier(pace: PaceConfig | None = None, **wishes: Any) -> SqliteFrontier:
    wishes = {"robots": False, **wishes}
    return SqliteFrontier(":memory:", pace or PaceConfig(fast=True), **wishes)


async def lease(queue: SqliteFrontier) -> CrawlUrl:
    link = await queue.lease()
    assert link is not None
    return link


def test_a_retry_that_wakes_while_its_visit_is_being_counted_is_not_lost() -> None:
    """Between the commit of a retry and its counting, hosts that its group found are looked up. A
    feeder that woke it in between read nothing, for it was on lease still, and never looked again.
    """

    async def main(_: VirtualLoop) -> None:
        async with frontier() as queue:
            await queue.add([found(f"http://{host}.test/") for host in "abc"])
            first, second, third = [await lease(queue) for _ in "abc"]
            await queue.settle([CrawlResult(second, Outcome.RETRY, retry_in=0.1)], {})
            waiting = [asyncio.create_task(lease(queue)) for _ in range(3)]
            await asyncio.sleep(0)
            fresh = (found("http://new.test/"),)
            retry = CrawlResult(first, Outcome.RETRY, retry_in=0.0)
            await queue.settle([retry, CrawlResult(third, Outcome.DONE, found=fresh)], {})
            links = await asyncio.gather(*waiting)
            assert {link.host for link in links} == {"a.test", "b.test", "new.test"}

    in_virtual_time(main, 0.3)


def test_nothing_spins_while_the_feeder_waits_for_its_thread() -> None:
    """A retry was due: the timer rang again and again until the thread had come to it."""

    async def main(_: VirtualLoop) -> None:
        async with frontier() as queue:
            await queue.add([found("http://a.test/")])
            await queue.settle([CrawlResult(await lease(queue), Outcome.RETRY, retry_in=0.5)], {})
            assert (await lease(queue)).attempt == 1

    assert in_virtual_time(main, 1.0) < 100


def test_nothing_spins_while_only_a_turn_is_waited_for() -> None:
    """A link could have gone, but no worker was free: the timer rang for it again and again."""

    async def main(_: VirtualLoop) -> None:
        async with frontier(PaceConfig(per_host=1, delay=5.0)) as queue:
            await queue.add([found(f"http://a.test/{n}") for n in range(3)])
            link = await lease(queue)
            turn = asyncio.create_task(queue.turn(CrawlUrl("http://a.test/x", "a.test", id=-1)))
            await asyncio.sleep(60.0)
            assert not turn.done()
            queue.release(link)
            await turn

    assert in_virtual_time(main, 0.0) < 100


def test_a_link_is_as_deep_as_its_shortest_way_while_it_waits() -> None:
    """A page of depth 0 links to /x, and then a redirect of depth 0 leads there: what /x links to
    is one click away, not two.
    """

    async def main(_: VirtualLoop) -> None:
        async with frontier(by_depth=True) as queue:
            await queue.add([found(f"http://a.test/{n}") for n in "01"])
            page, moved = await lease(queue), await lease(queue)
            away = (found("http://a.test/x"), found("http://a.test/y"))
            await queue.settle([CrawlResult(page, Outcome.DONE, found=away)], {})
            await queue.settle([CrawlResult(moved, Outcome.MOVED, found=away[:1])], {})
            target = await lease(queue)
            assert (target.url, target.depth, target.via) == ("http://a.test/x", 0, moved.url)
            last = asyncio.create_task(lease(queue))
            await asyncio.sleep(1.0)
            assert not last.done(), "the other is deeper"
            await queue.settle([CrawlResult(target, Outcome.DONE)], {})
            assert (await last).depth == 1

    in_virtual_time(main, 0.02)
