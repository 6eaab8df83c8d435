"""Bytes a second: the meter's sums, the schedule that charges them, bodies that are read slowly."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from random import Random
from unittest import mock

import pytest
from conftest import OpenSite
from helpers.answers import reply
from helpers.crawling import crawl, outcomes, settings
from helpers.virtual_time import Clock, VirtualLoop
from hypothesis import given
from hypothesis import strategies as st

from crawler.fetch.throttle import Throttle
from crawler.frontier.scheduling.scheduler import Scheduler
from crawler.frontier.scheduling.slot_settings import SlotSettings
from crawler.policy.autothrottle import ResponseSample
from crawler.policy.token_bucket import TokenBucket
from crawler.records import CrawlUrl


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 10)), max_size=50))
def test_what_is_paid_for_never_exceeds_the_rate(takes: list[tuple[int, float]]) -> None:
    meter, now, total = TokenBucket(1000.0), 0.0, 0
    for number, pause in takes:
        now += pause
        total += number
        wait = meter.take(number, now)
        assert total <= 1000.0 * (now + wait) + 1e-3
        assert wait <= total / 1000.0 + 1e-6


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=50))
def test_a_corrected_reservation_costs_what_came(bodies: list[int]) -> None:
    meter = TokenBucket(1000.0)
    for body in bodies:
        meter.correct(meter.reserve(0.0), body)
    # Idle time is not saved up, so a correction below zero can be lost, never more than that.
    assert meter.due >= sum(bodies) / 1000.0 - 1e-3


def test_what_was_not_asked_for_costs_nothing() -> None:
    meter = TokenBucket(1000.0)
    mean = meter.mean
    meter.correct(meter.reserve(5.0), None)
    assert (meter.due, meter.mean) == (5.0, mean)


@pytest.mark.parametrize("where", ["all", "host"])
def test_the_schedule_holds_the_average_without_holding_links(where: str) -> None:
    """Virtual time: 400 bodies of 25 kB at 50 kB/s take 200 s, with few on the way at once."""
    terms = SlotSettings(width=100, delay=0.0, rate=50_000 if where == "host" else None)
    schedule = Scheduler(terms, robots=False, slots=64, rate=50_000 if where == "all" else None)
    for name in ("a", "b"):
        host = schedule.host(name, len(schedule.hosts) + 1)
        first = 1000 * len(schedule.hosts)
        links = [CrawlUrl(f"http://{name}/{n}", name, id=first + n) for n in range(200)]
        schedule.queue(host, len(links))
        schedule.fill(host, links)
    now, received, most = 0.0, 0, 0
    abroad: list[tuple[float, CrawlUrl]] = []
    while not schedule.finished:
        link = schedule.take(now)
        if link is not None:
            abroad.append((now + 0.1, link))
            most = max(most, len(abroad))
            continue
        due = schedule.next_due()
        if abroad and (due is None or abroad[0][0] <= due):
            now, back = abroad.pop(0)
            schedule.release(back, now, lesson=ResponseSample(0.1, failed=False, bytes=25_000))
            schedule.finish(back, page=True)
            received += 25_000
            hosts = 2 if where == "host" else 1
            assert received <= hosts * (50_000 * now + 2 * 32_768 + 25_000)
        else:
            assert due is not None
            now = due
    assert now == pytest.approx(200.0 / (2 if where == "host" else 1), rel=0.02)
    assert most <= 3


def test_a_throttle_shares_one_rate_and_moves_the_deadline() -> None:
    loop = VirtualLoop(Random(1))
    throttle = Throttle(1_000_000)

    async def read() -> None:
        async with asyncio.timeout(0.05) as deadline:  # shorter than the waits together
            for _ in range(10):
                await throttle.pay(10_000, deadline)

    async def both() -> None:
        await asyncio.gather(read(), read())

    with mock.patch("crawler.fetch.throttle.time", Clock(loop)):
        loop.run(both())
    assert loop.now == pytest.approx(0.2)  # 200 kB, the last piece paid


async def test_one_large_body_is_read_slowly_and_whole(
    website: OpenSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time for the whole exchange does not count the waits."""
    pay, waits = Throttle.pay, []

    async def watched(throttle: Throttle, number: int, deadline: asyncio.Timeout) -> float:
        before = deadline.when()
        assert before is not None
        waits.append(await pay(throttle, number, deadline))
        assert deadline.when() == pytest.approx(before + waits[-1])
        return waits[-1]

    monkeypatch.setattr(Throttle, "pay", watched)
    body = b"<p>a large page</p>\n" * 20_000  # 400 kB, beyond what buffers hold
    site = await website({"/": reply(body)})
    began = time.monotonic()
    await crawl(settings(site.url, limit_rate=400_000), tmp_path / "crawl")
    assert time.monotonic() - began >= 0.9  # at least: the average holds
    assert outcomes(tmp_path / "crawl") == {"/": "done"}
    assert any(waits)
