"""Hosts with nothing to do leave memory; met again, they are treated as if they had stayed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.frontier_contract import PATIENCE, end, found, lease, urls
from test_schedule import fast, filled, link

from crawler.config.model import PaceConfig
from crawler.frontier.scheduling.scheduler import Scheduler
from crawler.frontier.scheduling.slot import SlotState
from crawler.frontier.sqlite.sqlite_frontier import SqliteFrontier
from crawler.frontier.sqlite.store import Store
from crawler.policy.autothrottle import ResponseSample
from crawler.policy.urls import host_key, origin
from crawler.records import CrawlResult, CrawlUrl, Kind, Outcome, RobotsRecord

DOWN = ResponseSample(strained=True, failed=True)

# ── the schedule ─────────────────────────────────────────────────────────────────────────────────


def visited(schedule: Scheduler, name: str, number: int, now: float) -> None:
    """A host of one page, met and done with."""
    filled(schedule, name, range(number, number + 1))
    taken = schedule.take(now)
    assert taken == link(number, name)
    schedule.release(taken, now)
    schedule.finish(taken, page=True)


def others(schedule: Scheduler, now: float, number: int = 3) -> None:
    """Some hosts are met, so that all there were are looked at."""
    for index in range(number):
        schedule.host(f"other{index}", 1000 + index)
    schedule.forget(now, [f"other{index}" for index in range(number)])


def test_a_crawl_of_many_hosts_keeps_few() -> None:
    schedule = fast(kept=10)
    for number in range(1, 1000):
        visited(schedule, f"h{number}", number, float(number))
        schedule.forget(float(number))
        assert len(schedule.hosts) <= 10
        assert len(schedule.groups.budgets) == len(schedule.hosts)
    assert schedule.finished
    assert schedule.pages == 999


def test_hosts_that_wait_stay_and_the_rest_is_no_more_than_they_are() -> None:
    schedule = fast(kept=0, delay=1.0)
    for number in range(1, 101):
        schedule.queue(schedule.host(f"waits{number}", number), 5)
    for number in range(101, 1101):
        host = filled(schedule, f"h{number}", range(number, number + 1))
        taken = schedule.take(2.0 * number)
        assert taken is not None
        assert taken.host == host.name
        schedule.release(taken, 2.0 * number)
        schedule.finish(taken, page=True)
        schedule.forget(2.0 * number)
    assert all(f"waits{number}" in schedule.hosts for number in range(1, 101))
    assert len(schedule.hosts) <= 202
    assert schedule.queued == 500


def kept_on_lease(schedule: Scheduler) -> None:
    filled(schedule, "h", range(1, 2))
    taken = schedule.take(0.0)
    assert taken is not None
    schedule.release(taken, 0.0)  # home, but not entered yet


def under_way(schedule: Scheduler) -> None:
    filled(schedule, "h", range(1, 2))
    assert schedule.take(0.0) is not None


def rests(schedule: Scheduler) -> None:
    visited(schedule, "h", 1, 0.0)
    schedule.rest(schedule.hosts["h"], 20.0)


def has_links_resting(schedule: Scheduler) -> None:
    kept_on_lease(schedule)
    schedule.finish(link(1), again=True)


def taught_something(schedule: Scheduler) -> None:
    filled(schedule, "h", range(1, 2))
    taken = schedule.take(0.0)
    assert taken is not None
    schedule.release(taken, 0.0, lesson=DOWN)
    schedule.finish(taken)


@pytest.mark.parametrize(
    "busy", [kept_on_lease, under_way, rests, has_links_resting, taught_something]
)
def test_a_host_stays_while_something_is_left_of_it(busy: Callable[[Scheduler], None]) -> None:
    schedule = fast(kept=0, adaptive=True)
    busy(schedule)
    others(schedule, 10.0)
    assert "h" in schedule.hosts


def test_a_host_stays_until_its_pause_is_over_and_where_it_is_needed() -> None:
    schedule = fast(kept=0, width=1, delay=5.0)
    visited(schedule, "h", 1, 0.0)
    others(schedule, 4.9)
    assert "h" in schedule.hosts
    schedule.host("another", 99)
    schedule.forget(5.0, ["h", "another"])
    assert "h" in schedule.hosts
    schedule.host("one more", 100)
    schedule.host("and more", 101)
    schedule.forget(5.0, ["one more", "and more"])
    assert "h" not in schedule.hosts


def test_a_robots_txt_under_way_keeps_its_host() -> None:
    schedule = fast(kept=0, robots=True)
    host = filled(schedule, "h", range(1, 2))
    robots = schedule.take(0.0)
    assert robots is not None
    schedule.park(host, Counter({0: 1}))
    schedule.release(robots, 0.0)
    others(schedule, 10.0)
    assert "h" in schedule.hosts


def test_a_groups_crawl_delay_outlives_the_member_that_asked_for_it() -> None:
    schedule = fast(kept=0, grouping="domain", width=4)
    for number, name in enumerate(("a.example.org", "b.example.org"), 1):
        visited(schedule, name, number, float(number))
    schedule.open(schedule.hosts["a.example.org"], "http://a.example.org", 9.0, 5.0)
    others(schedule, 100.0, number=8)
    budget = schedule.groups.budgets["example.org"]
    assert [host.name for host in budget.members] == ["b.example.org"]
    later = schedule.host("c.example.org", 50)
    assert (later.budget.delay, later.budget.width) == (5.0, 1)


# ── the frontier ─────────────────────────────────────────────────────────────────────────────────


def opened(path: Path | str = ":memory:", **pace: Any) -> SqliteFrontier:
    return SqliteFrontier(path, PaceConfig(**{"delay": 0.0, **pace}), kept=0)


async def answer(queue: SqliteFrontier, link: CrawlUrl, **lesson: Any) -> None:
    """A page came, or its host's robots.txt."""
    rules = None
    if link.kind is Kind.ROBOTS:
        rules = RobotsRecord(origin(link.url), 200, b"", 4e9, lesson.pop("delay", None))
    else:
        queue.release(link, lesson=ResponseSample(**lesson))
    await queue.settle([CrawlResult(link, Outcome.DONE, rules=rules)], {})


async def wander(queue: SqliteFrontier, first: int) -> None:
    """Visit other hosts, one after another."""
    for number in range(first, first + 20):
        await queue.add([found(f"http://other{number}.test/")])
        for _ in range(2):
            await answer(queue, await lease(queue), failed=False)


def met(queue: SqliteFrontier) -> set[str]:
    return {pace.name for pace in queue.paces(1000)}


async def test_a_forgotten_host_comes_back_with_its_robots_and_its_crawl_delay() -> None:
    async with opened(per_host=8) as queue:
        await queue.add([found("http://a.test/")])
        robots = await lease(queue)
        assert robots.kind is Kind.ROBOTS
        await answer(queue, robots, delay=0.001)
        await answer(queue, await lease(queue), failed=False)
        await wander(queue, 0)
        assert "a.test" not in met(queue)
        await queue.add([found("http://a.test/more")])
        again = await lease(queue)
        assert again.url == "http://a.test/more", "its robots.txt is known"
        (pace,) = (pace for pace in queue.paces(1000) if pace.name == "a.test")
        assert (pace.delay, pace.limit) == (0.001, 1)


async def test_a_forgotten_host_comes_back_with_its_width_and_its_failures() -> None:
    async with opened(per_host=8, park_after=2, park=0.0) as queue:
        await queue.add([found(url) for url in urls(40)])
        await answer(queue, await lease(queue))
        while queue.pending > 2:
            (pace,) = queue.paces()
            for link in [await lease(queue) for _ in range(min(pace.width, queue.pending - 2))]:
                await answer(queue, link, seconds=0.1, failed=False)
            wide = queue.paces()[0].width
        for _ in range(2):
            await answer(queue, await lease(queue), failed=True)
        assert wide > 2
        await wander(queue, 0)
        assert "a.test" not in met(queue)
        await queue.add([found("http://a.test/more")])
        (pace,) = (pace for pace in queue.paces(1000) if pace.name == "a.test")
        assert (pace.width, pace.failures, pace.parks) == (1, 2, 1), "it was down"
        await answer(queue, await lease(queue), failed=False)
        (pace,) = (pace for pace in queue.paces(1000) if pace.name == "a.test")
        assert pace.width == wide


async def test_hosts_met_and_forgotten_at_once_are_asked_everything_once_and_never_too_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight workers on forty hosts: each page leads to one of a host that is idle by then.

    The frontier's clock goes a pause further with each page, so that on a machine of any speed a
    host's pause is over when it is met again, forty pages later.
    """
    hosts, pages, delay = 40, 400, 0.004
    ahead = 0.0

    def now() -> float:
        return time.monotonic() + ahead

    monkeypatch.setattr(
        "crawler.frontier.sqlite.sqlite_frontier.time",
        SimpleNamespace(monotonic=now, time=time.time),
    )
    free = dict.fromkeys((f"h{n}.test" for n in range(hosts)), 0.0)
    asked: list[str] = []

    def page(number: int) -> str:
        return f"http://h{number * 7 % hosts}.test/{number}"

    async with opened(tmp_path / "frontier.db", delay=delay, per_host=1) as queue:

        async def work() -> None:
            nonlocal ahead
            while (one := await queue.lease()) is not None:
                assert now() >= free[one.host] + delay
                asked.append(one.url)
                await asyncio.sleep(0)
                free[one.host] = now()
                ahead += delay
                if one.kind is Kind.ROBOTS:
                    await answer(queue, one)
                    continue
                queue.release(one, lesson=ResponseSample(0.001, failed=False))
                number = int(one.url.rpartition("/")[2])
                children = (found(page(number + 8)),) if number + 8 < pages else ()
                await queue.settle([CrawlResult(one, Outcome.DONE, found=children)], {})

        await queue.add([found(page(number)) for number in range(8)])
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as crew:
            for _ in range(8):
                crew.create_task(work())
        left = len(met(queue))
        await end(queue)
    robots = [url for url in asked if url.endswith("/robots.txt")]
    assert sorted(robots) == sorted(
        {f"http://{host_key(page(n))}/robots.txt" for n in range(pages)}
    )
    assert sorted(set(asked) - set(robots)) == sorted(page(n) for n in range(pages))
    assert len(asked) == len(set(asked))
    assert left < hosts, "none was forgotten"


async def test_a_host_forgotten_while_a_stranger_is_looked_up_is_met_again() -> None:
    async with opened() as queue:
        await queue.add([found("http://a.test/")])
        for _ in range(2):
            await answer(queue, await lease(queue), failed=False)
        await queue.add([found("http://b.test/")])  # its buffer is filled while the next is added
        await queue.add([found("http://a.test/more"), found("http://c.test/")])
        left = {(await lease(queue)).url for _ in range(3)}
    assert left == {"http://a.test/more", "http://b.test/robots.txt", "http://c.test/robots.txt"}


def test_meeting_a_host_costs_the_same_however_many_there_are() -> None:
    """In steps of SQLite's machine: no table is gone through from end to end."""
    few, many = (steps_to_meet_one_of(number) for number in (50, 5000))
    assert many < 2 * few


def steps_to_meet_one_of(hosts: int) -> int:
    store, steps = Store(":memory:"), count()
    store.open()
    links = [CrawlUrl(f"http://h{n}.test/robots.txt", f"h{n}.test") for n in range(hosts)]
    visits = [
        CrawlResult(one, Outcome.DONE, rules=RobotsRecord(origin(one.url), 404, b"", 4e9, 1.5))
        for one in links
    ]
    store.settle(visits, {}, 0.0, [SlotState(one.host, 2.0, 0, 0, 0.0) for one in links])
    number = store.meet("h7.test")
    store._db.set_progress_handler(lambda: next(steps) < 0, 1)
    (known,) = store.manners([number]).values()
    (kept,) = store.paces(["h7.test"])
    store._db.set_progress_handler(None, 1)
    store.close()
    assert known.robots == [("http://h7.test", 4e9, 1.5)]
    assert kept.width == 2.0
    return next(steps)
