"""What exchanges teach, and what hosts are owed: width, jitter, parking, groups. Time by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_schedule import fast, filled, link

from crawler.errors import (
    FetchError,
    Forbidden,
    Insecure,
    ProtocolError,
    TimedOut,
    TooLarge,
    Truncated,
    Unreachable,
    Unresolved,
)
from crawler.frontier.scheduling.scheduler import Scheduler
from crawler.frontier.scheduling.slot import Slot, SlotState
from crawler.frontier.scheduling.slot_settings import SlotSettings
from crawler.policy.autothrottle import AutoThrottle, ResponseSample, lesson_of, robots_lesson
from crawler.records import CrawlResult, CrawlUrl, Kind, Outcome, Page, RobotsRecord, Timings

FINE = ResponseSample(0.1, failed=False)
DOWN = ResponseSample(strained=True, failed=True)
WIDE = SlotSettings(width=16, delay=0.0, adaptive=True)


def page(status: int = 200, *, host: str = "h", ttfb: float = 120.0) -> Page:
    timings = Timings(total=200.0, ttfb=ttfb, dns=10.0, connect=10.0)
    return Page(CrawlUrl(f"http://{host}/", host), status, (), b"", 0.0, timings, 7, ip="192.0.2.1")


def answered(budget: Slot, lesson: ResponseSample, times: int = 1, began: float = 0.0) -> None:
    """So many exchanges in a row, each filling the width."""
    for _ in range(times):
        trips = [budget.depart(began) for _ in range(budget.width)]
        for trip in trips:
            budget.back(trip, began + 0.1, lesson)


# ── lessons ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "strained", "failed"),
    [(200, False, False), (301, False, False), (404, False, False), (500, False, None),
     (429, True, True), (502, True, True), (503, True, True), (504, True, True)],
)  # fmt: skip
def test_what_a_status_says_of_its_host(status: int, strained: bool, failed: bool | None) -> None:
    lesson = lesson_of(page(status))
    assert (lesson.strained, lesson.failed) == (strained, failed)
    assert lesson.seconds == (None if strained else pytest.approx(0.1))
    assert (lesson.bytes, lesson.address) == (7, "192.0.2.1")


@pytest.mark.parametrize(
    ("error", "strained", "failed"),
    [(TimedOut("idle"), True, True), (Unreachable(), True, True), (Unresolved(), False, True),
     (Truncated(), True, None), (TooLarge(), False, False), (Insecure(), False, None),
     (ProtocolError(), False, None), (Forbidden(), False, None)],
)  # fmt: skip
def test_what_no_answer_says(error: FetchError, strained: bool, failed: bool | None) -> None:
    lesson = lesson_of(None, error)
    assert (lesson.strained, lesson.failed, lesson.seconds) == (strained, failed, None)


def test_a_robots_txt_teaches_of_its_own_host_only() -> None:
    robots = CrawlUrl("http://h/robots.txt", "h", kind=Kind.ROBOTS)
    other = robots_lesson(CrawlResult(robots, Outcome.DONE, page(host="elsewhere")))
    own = robots_lesson(CrawlResult(robots, Outcome.DONE, page()))
    silent = robots_lesson(CrawlResult(robots, Outcome.RETRY, retry_in=1.0))
    rules = RobotsRecord("http://h", 404, b"", 0.0)
    led_away = robots_lesson(CrawlResult(robots, Outcome.DONE, rules=rules))
    assert other is None
    assert own is not None
    assert own.failed is False
    assert silent is not None
    assert silent.failed
    assert led_away is not None
    assert led_away.failed is None


# ── width ────────────────────────────────────────────────────────────────────────────────────


def test_the_width_grows_while_answers_are_quick_and_never_beyond_what_was_asked() -> None:
    budget = Slot("h", WIDE)
    assert budget.width == 2
    answered(budget, FINE, 3)
    assert 2 < budget.width < 16
    answered(budget, FINE, 40)
    assert budget.width == 16


def test_a_width_that_is_not_used_does_not_grow() -> None:
    budget = Slot("h", WIDE)
    for _ in range(50):
        budget.back(budget.depart(0.0), 0.1, FINE)
    assert budget.width == 2


def test_strain_halves_once_for_what_was_under_way_together() -> None:
    budget = Slot("h", WIDE)
    answered(budget, FINE, 40)
    together = [budget.depart(10.0) for _ in range(16)]
    for trip in together:
        budget.back(trip, 10.5, DOWN)
    assert budget.width == 8
    budget.back(budget.depart(11.0), 11.5, DOWN)
    assert budget.width == 4


def test_rising_latency_narrows_before_anything_breaks() -> None:
    budget = Slot("h", WIDE)
    answered(budget, FINE, 40)
    for second in range(60):
        answered(budget, ResponseSample(0.5, failed=False), began=100.0 + second)
    assert budget.width < 4


def test_a_host_that_got_slower_for_good_is_asked_more_again() -> None:
    budget = Slot("h", WIDE)
    answered(budget, FINE, 40)
    for second in range(600):
        answered(budget, ResponseSample(0.5, failed=False), began=100.0 + second)
    assert budget.width == 16


@given(
    limit=st.integers(1, 40),
    lessons=st.lists(
        st.builds(
            ResponseSample,
            seconds=st.one_of(st.none(), st.floats(0, 100)),
            strained=st.booleans(),
            failed=st.sampled_from([True, False, None]),
        ),
        max_size=60,
    ),
)
def test_a_width_stays_within_one_and_what_was_asked(
    limit: int, lessons: list[ResponseSample]
) -> None:
    pace = AutoThrottle(min(2.0, limit), limit)
    for now, lesson in enumerate(lessons):
        pace = pace.learn(lesson, now + 0.5, began=float(now))
        assert 1 <= pace.width <= limit


# ── delay ────────────────────────────────────────────────────────────────────────────────────


def test_jitter_varies_our_own_pause_both_ways_and_a_sites_only_upwards() -> None:
    own = Slot("h", SlotSettings(width=1, delay=1.0, jitter=0.5))
    assert [own.depart(0.0, lambda die=die: die).pause for die in (0.0, 0.5, 1.0)] == [0.5, 1, 1.5]  # type: ignore[misc]
    own.slow(4.0)
    assert [own.depart(0.0, lambda die=die: die).pause for die in (0.0, 1.0)] == [4.0, 6.0]  # type: ignore[misc]


def test_a_clamped_crawl_delay_is_told() -> None:
    schedule = fast(robots=True)
    host = filled(schedule, "h", range(1, 3))
    schedule.open(host, "http://h", 1e9, 60.0, 300.0)
    (pace,) = schedule.groups.shown(0.0, 5)
    assert (pace.delay, pace.crawl_delay, pace.width) == (60.0, 300.0, 1)


def test_a_link_that_was_not_asked_owes_no_pause_in_a_wide_host_either() -> None:
    schedule = fast(width=2, delay=1.0)
    filled(schedule, "h", range(1, 4))
    first = schedule.take(10.0)
    assert first is not None
    schedule.release(first, 10.0, asked=False)
    assert schedule.take(10.0) == link(2)


def test_no_link_is_leased_without_a_slot_for_it() -> None:
    schedule = fast(slots=2)
    filled(schedule, "a", range(1, 4))
    filled(schedule, "b", range(11, 14))
    first = schedule.take(0.0)
    assert first is not None
    assert schedule.take(0.0) is not None
    assert schedule.take(0.0) is None
    assert schedule.next_due() is None, "only an answer can change that"
    schedule.release(first, 0.0)
    assert schedule.take(0.0) is not None


# ── parking ──────────────────────────────────────────────────────────────────────────────────

PARKING = {"park_after": 5, "park": 60.0, "park_most": 900.0, "max_parks": 6}


def fail(schedule: Scheduler, now: float, *, again: bool = True) -> CrawlUrl:
    taken = schedule.take(now)
    assert taken is not None
    schedule.release(taken, now, lesson=DOWN)
    schedule.finish(taken, again=again)
    return taken


def test_five_failures_in_a_row_park_a_host_and_its_first_answer_frees_it() -> None:
    schedule = fast(**PARKING)
    host = filled(schedule, "h", range(1, 30))
    for _ in range(4):
        fail(schedule, 0.0)
    well = schedule.take(0.0)
    assert well is not None
    schedule.release(well, 0.0, lesson=FINE)
    schedule.finish(well, page=True)
    for _ in range(5):
        fail(schedule, 1.0)
    assert schedule.take(60.9) is None
    assert schedule.next_due() == 61.0
    probe = schedule.take(61.0)
    assert probe is not None
    assert schedule.take(61.0) is None, "one at a time until it has answered"
    schedule.release(probe, 61.5, lesson=FINE)
    assert (host.budget.failures, host.budget.parks) == (0, 0)
    assert schedule.take(61.5) is not None
    assert schedule.take(61.5) is not None


def test_parking_grows_and_what_left_before_it_does_not_count_twice() -> None:
    schedule = fast(**PARKING)
    filled(schedule, "h", range(1, 30))
    together = [schedule.take(0.0) for _ in range(10)]
    for taken in together:
        assert taken is not None
        schedule.release(taken, 0.0, lesson=DOWN)
        schedule.finish(taken, again=True)
    now, gaps = 0.0, []
    for _ in range(7):
        assert schedule.take(now) is None
        due = schedule.next_due()
        assert due is not None
        gaps.append(due - now)
        now = due
        fail(schedule, now)
    assert gaps == [60.0, 120.0, 240.0, 480.0, 900.0, 900.0, 900.0]


def test_the_end_does_not_wait_for_a_host_parked_too_often_but_comes_back_to_it_till_then() -> None:
    schedule = fast(**{**PARKING, "max_parks": 1})
    dead = filled(schedule, "dead", range(1, 30)).budget
    filled(schedule, "well", range(101, 103))
    well: list[CrawlUrl] = []
    now = 0.0
    while dead.parks < 3:
        taken = schedule.take(now)
        if taken is None:
            now = max(now, schedule.next_due() or 0.0)
        elif taken.host == "well":
            well.append(taken)  # kept on lease: the crawl goes on
        else:
            schedule.release(taken, now, lesson=DOWN)
            schedule.finish(taken, again=True)
    assert now == 180.0, "parked 60 s, then 120 s"
    assert not schedule.finished, "the healthy host's are still on their way"
    for taken in well:
        schedule.release(taken, now, lesson=FINE)
        schedule.finish(taken, page=True)
    assert schedule.finished
    assert schedule.queued + schedule.resting == 29, "nothing is lost"


def test_by_depth_a_dead_host_does_not_hold_the_end_back() -> None:
    schedule = fast(**{**PARKING, "max_parks": 0, "by_depth": True})
    filled(schedule, "dead", range(1, 10), depth=0)
    filled(schedule, "well", range(11, 13), depth=1)
    for _ in range(5):
        fail(schedule, 0.0)
    assert schedule.take(1.0) is None
    assert schedule.finished


def test_a_restart_takes_up_width_and_parking() -> None:
    budget = Slot("h", SlotSettings(width=16, adaptive=True, park_after=5, max_parks=6))
    budget.recall(SlotState("h", 8.5, 5, 2, 100.0))
    assert (budget.width, budget.due, budget.kept()) == (1, 100.0, SlotState("h", 8.5, 5, 2, 100.0))
    budget.back(budget.depart(100.0), 100.1, FINE)
    assert budget.width == 8
    given_up = Slot("h", SlotSettings(width=16, adaptive=True, park_after=5, max_parks=6))
    given_up.recall(SlotState("h", 8.5, 11, 7, 100.0))
    assert (given_up.due, given_up.tired) == (0.0, False), "one try at once"
    given_up.back(given_up.depart(0.0), 0.1, DOWN)
    assert given_up.tired


def test_a_narrower_setting_holds_whatever_was_learnt() -> None:
    budget = Slot("h", SlotSettings(width=2, adaptive=True))
    budget.recall(SlotState("h", 16.0, 0, 0, 0.0))
    assert budget.width == 2


# ── groups ───────────────────────────────────────────────────────────────────────────────────


def test_hosts_of_a_domain_share_width_delay_and_rests() -> None:
    schedule = fast(width=1, delay=1.0, grouping="domain")
    for number, name in enumerate(("a.example.com", "b.example.com", "example.org"), 1):
        filled(schedule, name, range(number * 100, number * 100 + 3))
    first, other = schedule.take(0.0), schedule.take(0.0)
    assert first is not None
    assert other is not None
    assert (first.host, other.host) == ("a.example.com", "example.org")
    assert schedule.take(0.0) is None
    schedule.release(first, 0.5, rest=10.0)
    schedule.release(other, 0.5)
    assert schedule.take(1.5) == link(301, "example.org")
    assert schedule.take(10.4) is None
    second = schedule.take(10.5)
    assert second == link(200, "b.example.com"), "members take turns"


def test_hosts_of_one_address_share_once_an_answer_has_shown_it() -> None:
    schedule = fast(width=2, grouping="ip")
    for number, name in enumerate(("a.test", "b.test", "c.test"), 1):
        filled(schedule, name, range(number * 100, number * 100 + 5))
    strangers = [schedule.take(0.0) for _ in range(3)]
    assert schedule.take(0.0) is None, "a stranger is asked alone"
    for stranger, address in zip(strangers, ("192.0.2.1", "192.0.2.1", "192.0.2.2"), strict=True):
        assert stranger is not None
        lesson = ResponseSample(0.1, failed=False, address=address)
        schedule.release(stranger, 0.1, lesson=lesson)
    assert schedule.groups.met == {1: "192.0.2.1", 2: "192.0.2.1", 3: "192.0.2.2"}
    taken = [schedule.take(0.1) for _ in range(4)]
    hosts = [one.host for one in taken if one]
    assert sorted(hosts) == ["a.test", "b.test", "c.test", "c.test"]
    assert schedule.take(0.1) is None


def test_an_address_that_is_also_a_name_is_one_budget() -> None:
    schedule = fast(width=1, grouping="ip")
    filled(schedule, "192.0.2.1", range(1, 4))
    filled(schedule, "b.test", range(11, 14))
    first, second = schedule.take(0.0), schedule.take(0.0)
    for taken in (first, second):
        assert taken is not None
        schedule.release(taken, 0.1, lesson=ResponseSample(0.1, failed=False, address="192.0.2.1"))
        schedule.finish(taken, page=True)
    assert set(schedule.groups.budgets) == {"192.0.2.1"}
    assert schedule.take(0.1) is not None
    assert schedule.take(0.1) is None


@settings(deadline=None)  # the first to ask for a registered domain reads the list
@given(st.data())
def test_every_link_goes_once_whatever_group_pace_and_failures(data: st.DataObject) -> None:
    """And no budget ever has more on the way than it may."""
    grouping = data.draw(st.sampled_from(["host", "domain", "ip"]))
    schedule = fast(
        width=data.draw(st.integers(1, 4)), delay=data.draw(st.sampled_from([0.0, 0.5])),
        adaptive=data.draw(st.booleans()), grouping=grouping, slots=5, rate=100_000, **PARKING,
    )  # fmt: skip
    names = ["a.example.com", "b.example.com", "c.example.org", "192.0.2.1"]
    for index, name in enumerate(names):
        filled(schedule, name, range(index * 100 + 1, index * 100 + 9))
    now, done = 0.0, []
    abroad: list[tuple[float, CrawlUrl]] = []
    while not schedule.finished:
        taken = schedule.take(now)
        if taken is not None:
            abroad.append((now + data.draw(st.sampled_from([0.0, 0.1, 2.0])), taken))
            abroad.sort(key=lambda trip: trip[0])
            assert len(abroad) <= 5
            for budget in schedule.groups.budgets.values():
                members = {host.name for host in budget.members}
                under_way = sum(trip.host in members for _, trip in abroad)
                assert under_way == budget.in_flight
            continue
        due = schedule.next_due()
        if abroad and (due is None or abroad[0][0] <= due):
            now, back = max(now, abroad[0][0]), abroad.pop(0)[1]
            failed = data.draw(st.booleans())
            address = "192.0.2.1" if back.host != "c.example.org" else "192.0.2.2"
            lesson = (
                DOWN if failed else ResponseSample(0.1, failed=False, bytes=100, address=address)
            )
            schedule.release(back, now, lesson=lesson)
            schedule.finish(back, page=True)
            done.append(back.id)
        else:
            assert due is not None
            now = max(now, due)
    stranded = schedule.queued
    assert len(done) == len(set(done))
    assert len(done) + stranded == 32
