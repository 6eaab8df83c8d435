"""The tally: sums that stay bounded, percentiles, the present speed, and the verdict's rules."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from crawler.engine.stats import (
    MAX_HOSTS,
    Gauges,
    Histogram,
    StatsCollector,
    StatsSnapshot,
    bottleneck,
)
from crawler.records import CrawlResult, CrawlUrl, Kind, Outcome, Page, ParsedPage, Timings


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def visit(
    outcome: Outcome = Outcome.DONE,
    *,
    host: str = "a.test",
    status: int | None = 200,
    ms: float = 10.0,
    reason: str = "",
    kind: Kind = Kind.PAGE,
) -> CrawlResult:
    link = CrawlUrl(f"http://{host}/", host, kind=kind)
    page = None
    if status is not None:
        page = Page(link, status, (), b"", 0.0, Timings(ms, ttfb=ms / 2, waited=1.0), 1000)
    extract = ParsedPage(bytes_body=3000, parse_ms=2.0) if outcome is Outcome.DONE else None
    return CrawlResult(link, outcome, page, extract, reason=reason)


def test_everything_is_counted_where_it_belongs() -> None:
    tally = StatsCollector(Clock())
    for one in (
        visit(),
        visit(kind=Kind.ASSET),
        visit(Outcome.MOVED, status=301),
        visit(Outcome.FAILED, status=404, reason="status:404"),
        visit(Outcome.FAILED, status=None, reason="dns"),
        visit(Outcome.RETRY, status=503, reason="status:503"),
        visit(Outcome.REFUSED, status=None, reason="robotsTxt"),
        visit(kind=Kind.ROBOTS),
        visit(Outcome.RETRY, kind=Kind.ROBOTS, status=None, reason="timeout:connect"),
        visit(Outcome.FAILED, kind=Kind.ROBOTS, status=503, reason="status:503"),
    ):
        tally.count(one)
    shot = tally.snapshot()
    assert (shot.visits, shot.pages, shot.retries) == (6, 1, 1)
    assert shot.outcomes == {"done": 2, "moved": 1, "failed": 2, "refused": 1}
    assert shot.statuses == {200: 2, 301: 1, 404: 1, 503: 1}
    assert shot.reasons == {"status": 2, "dns": 1, "robotsTxt": 1}
    assert shot.robots == {"timeout": 1, "status:503": 1}
    assert shot.bytes_wire == 7000  # robots.txt was paid for too
    assert shot.bytes_body == 6000
    assert shot.fetch_seconds == pytest.approx(0.05)
    assert shot.parse_seconds == pytest.approx(0.004)
    assert shot.slot_seconds == pytest.approx(0.005)
    (host,) = shot.slowest
    assert (host.name, host.visits, host.answers, host.failed) == ("a.test", 7, 5, 3)
    assert host.mean_ms == 10.0


def test_a_snapshot_does_not_change_afterwards() -> None:
    tally = StatsCollector(Clock())
    tally.count(visit())
    shot = tally.snapshot()
    before = msgspec.json.encode(shot)
    tally.count(visit(ms=500))
    tally.gauges.queued = 7
    assert msgspec.json.encode(shot) == before


def test_hosts_are_bounded() -> None:
    tally = StatsCollector(Clock())
    for number in range(MAX_HOSTS + 50):
        tally.count(visit(host=f"h{number}.test"))
    assert len(tally.hosts) == MAX_HOSTS + 1
    assert tally.hosts["others"].visits == 50
    assert len(tally.snapshot(hosts=3).slowest) == 3
    assert tally.snapshot(hosts=0).slowest == ()


def test_the_slowest_hosts_come_first_and_silent_ones_not_at_all() -> None:
    tally = StatsCollector(Clock())
    tally.count(visit(Outcome.FAILED, host="silent.test", status=None))
    tally.count(visit(host="fast.test", ms=1))
    tally.count(visit(host="slow.test", ms=900))
    assert [host.name for host in tally.snapshot().slowest] == ["slow.test", "fast.test"]


@pytest.mark.parametrize("spread", [0.5, 2.0])
def test_percentiles_are_exact_to_a_bucket(spread: float) -> None:
    dice = random.Random(1)
    values = sorted(dice.lognormvariate(4, spread) for _ in range(5000))
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    for share in (0.5, 0.95, 0.99):
        exact = values[int(share * len(values)) - 1]
        assert exact * 0.99 <= histogram.percentile(share) <= exact * 1.1


@pytest.mark.parametrize("ms", [0.0, 0.001, 1.0, 60_000.0, 3_600_000.0, 1e12])
def test_a_single_value_is_its_own_percentile(ms: float) -> None:
    histogram = Histogram()
    histogram.add(ms)
    assert histogram.percentile(0.5) <= histogram.max
    if 0.01 < ms < 1e7:
        assert histogram.percentile(0.99) == pytest.approx(ms, rel=0.1)


def test_no_values_no_percentile() -> None:
    assert Histogram().percentile(0.5) == 0.0


def test_the_present_speed_forgets_the_past() -> None:
    clock = Clock()
    tally = StatsCollector(clock)
    for second in range(60):
        for _ in range(100 if second < 30 else 10):
            tally.count(visit())
        clock.now += 1
        for _ in range(4):  # however often somebody looks
            shot = tally.snapshot()
    assert shot.recent_per_second == pytest.approx(10, rel=0.05)
    assert shot.pages_per_second == pytest.approx(55, rel=0.01)
    assert len(tally._recent) < 60


def test_the_first_look_is_the_mean() -> None:
    clock = Clock()
    tally = StatsCollector(clock)
    tally.count(visit())
    clock.now += 0.5
    assert tally.snapshot().recent_per_second == pytest.approx(2.0)


def test_samples_make_lag_and_shares() -> None:
    tally = StatsCollector(Clock())
    states: list[tuple[int, int, float]] = [(1, 50, 4.0), (1, 1, 1.0), (10, 50, 1.0), (1, 50, 2.0)]
    for in_flight, queued, lag in states:
        gauges = tally.gauges
        gauges.slots, gauges.in_flight, gauges.queued, gauges.lag_ms = 10, in_flight, queued, lag
        tally.sample()
    shot = tally.snapshot()
    assert (shot.gauges.lag_ms, shot.gauges.lag_max_ms, shot.gauges.lag_mean_ms) == (2.0, 4.0, 2.0)
    assert (shot.paced, shot.thin) == (0.5, 0.25)


# ── the verdict ──────────────────────────────────────────────────────────────────────────────


def shot_of(gauges: dict[str, Any], **values: Any) -> StatsSnapshot:
    """Ten seconds of a crawl with ten slots, two processes on two cores."""
    tally = StatsCollector(Clock())
    settled = {"slots": 10, "processes": 2, "cpus": 2, **gauges}
    usual = {"elapsed": 10.0, "visits": 1000, "fetch_seconds": 90.0, "ttfb_ms": (80.0, 90.0, 99.0)}
    return msgspec.structs.replace(
        tally.snapshot(), gauges=Gauges(**settled), **{**usual, **values}
    )


@pytest.mark.parametrize(
    ("shot", "words"),
    [
        (shot_of({}, visits=9), "too short to say"),
        (shot_of({}, elapsed=0.4), "too short to say"),
        (shot_of({"loop_cpu": 9.0, "child_cpu": 19.0}), "CPU in the event loop (90% of one core)"),
        (shot_of({"child_cpu": 19.0}), "CPU in parsing (95% of 2 processes)"),
        (shot_of({"ledger_seconds": 8.5}), "disk: 85% of the time a commit was under way"),
        (shot_of({"loop_cpu": 7.0, "child_cpu": 11.0}), "CPU: the loop and the parse processes"),
        (shot_of({"loop_cpu": 7.0, "child_cpu": 11.0, "cpus": 8}), "network or server"),
        (shot_of({}, fetch_seconds=20.0, paced=0.9), "the hosts' pace (politeness, retries)"),
        (shot_of({}, fetch_seconds=20.0), "the hosts' pace"),
        (shot_of({}, fetch_seconds=20.0, unread=0.7, paced=0.2), "parsing: 70% of the time pages"),
        (shot_of({}, fetch_seconds=20.0, unread=0.2, paced=0.7), "the hosts' pace"),
        (shot_of({}, fetch_seconds=20.0, thin=0.8, paced=0.1), "few links at a time: 80%"),
        (shot_of({}), "network or server: answers take 80 ms at the median"),
    ],
)
def test_the_first_rule_that_fits_is_the_verdict(shot: StatsSnapshot, words: str) -> None:
    assert bottleneck(shot).startswith(words)


def test_a_tally_that_nobody_watches_has_a_verdict_too() -> None:
    tally = StatsCollector(Clock())
    assert bottleneck(tally.snapshot()) == "too short to say"
    for _ in range(20):
        tally.count(visit())
    assert bottleneck(msgspec.structs.replace(tally.snapshot(), elapsed=10.0))
