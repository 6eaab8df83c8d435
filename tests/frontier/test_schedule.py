"""The schedule's decisions, with time moved by hand."""

from __future__ import annotations

import heapq
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from crawler.frontier.scheduling.scheduler import Scheduler
from crawler.frontier.scheduling.slot import HostQueue
from crawler.frontier.scheduling.slot_settings import SlotSettings
from crawler.records import CrawlUrl, Kind


def link(number: int, host: str = "h", depth: int = 0) -> CrawlUrl:
    return CrawlUrl(url=f"http://{host}/{number}", host=host, depth=depth, id=number)


def filled(schedule: Scheduler, name: str, numbers: range, depth: int = 0) -> HostQueue:
    host = schedule.host(name, len(schedule.hosts) + 1)
    links = [link(number, name, depth) for number in numbers]
    schedule.queue(host, len(links), [(depth, len(links))])
    schedule.fill(host, links)
    return host


def fast(**settings: object) -> Scheduler:
    """Settings are those of Terms where it has them, else the schedule's."""
    pace = {name: settings.pop(name) for name in SlotSettings.__struct_fields__ if name in settings}
    terms = SlotSettings(**{"width": 100, "delay": 0.0, **pace})  # type: ignore[arg-type]
    return Scheduler(terms, **{"robots": False, **settings})  # type: ignore[arg-type]


def test_links_of_a_host_go_in_order() -> None:
    schedule = fast()
    filled(schedule, "h", range(1, 4))
    assert [schedule.take(0.0) for _ in range(4)] == [link(1), link(2), link(3), None]


def test_hosts_take_turns() -> None:
    schedule = fast()
    filled(schedule, "a", range(1, 4))
    filled(schedule, "b", range(11, 14))
    taken = [schedule.take(0.0) for _ in range(6)]
    assert [one.host for one in taken if one] == ["a", "b", "a", "b", "a", "b"]


def test_width_bounds_what_is_in_flight() -> None:
    schedule = fast(width=2)
    filled(schedule, "h", range(1, 5))
    first, second = schedule.take(0.0), schedule.take(0.0)
    assert first is not None
    assert second is not None
    assert schedule.take(0.0) is None
    schedule.release(first, 0.0)
    assert schedule.take(0.0) == link(3)
    assert schedule.take(0.0) is None


def test_delay_is_kept_between_two_starts() -> None:
    schedule = fast(width=2, delay=1.0)
    filled(schedule, "h", range(1, 4))
    assert schedule.take(10.0) == link(1)
    assert schedule.take(10.9) is None
    assert schedule.next_due() == 11.0
    assert schedule.take(11.0) == link(2)


def test_a_pause_begins_when_the_request_is_written() -> None:
    """A connection that took long to make must not bring two requests closer together."""
    schedule = fast(width=3, delay=1.0, told=True)
    filled(schedule, "h", range(1, 6))
    filled(schedule, "other", range(11, 13))
    assert schedule.take(10.0) == link(1)
    assert schedule.take(10.0) == link(11, "other"), "another host is none of its business"
    assert schedule.take(15.0) is None, "nobody knows yet when the first will reach it"
    assert schedule.next_due() is None
    assert schedule.sent(link(1), 15.3)
    assert schedule.next_due() == 16.3
    assert schedule.take(16.2) is None
    assert schedule.take(16.3) == link(2)
    schedule.sent(link(2), 16.4)
    schedule.sent(link(1), 17.0)  # once more, on another connection: a kept one had been closed
    assert schedule.take(17.9) is None
    assert schedule.take(18.0) == link(3)


def test_what_was_never_sent_holds_its_host_no_longer_than_its_trip() -> None:
    schedule = fast(width=2, delay=1.0, told=True)
    filled(schedule, "h", range(1, 6))
    refused = schedule.take(10.0)
    assert refused is not None
    schedule.release(refused, 10.1, asked=False)
    unreachable = schedule.take(10.1)
    assert unreachable is not None, "nobody was asked: no pause is owed"
    schedule.release(unreachable, 10.5)
    assert schedule.take(11.0) is None
    assert schedule.take(11.1) == link(3)
    assert not schedule.sent(link(2), 11.2), "its trip is over"
    assert schedule.take(12.1) is None
    schedule.forgo(link(3), 12.2)
    assert schedule.take(12.2) == link(3)


@given(
    st.lists(st.floats(0.0, 3.0), min_size=2, max_size=12),
    st.lists(st.floats(0.0, 3.0), min_size=12, max_size=12),
    st.integers(1, 4),
)
def test_no_two_requests_leave_closer_than_the_delay(
    connecting: list[float], answering: list[float], width: int
) -> None:
    """Whatever connections and answers take, one virtual event after another."""
    schedule = fast(width=width, delay=1.0, told=True)
    filled(schedule, "h", range(1, len(connecting) + 1))
    left: list[float] = []
    events: list[tuple[float, int, bool]] = []
    now = 0.0
    while len(left) < len(connecting):
        taken = schedule.take(now)
        if taken is not None:
            assert taken.id is not None
            heapq.heappush(events, (now + connecting[taken.id - 1], taken.id, False))
            continue
        due = schedule.next_due()
        if events and (due is None or events[0][0] <= due):
            now, number, answered = heapq.heappop(events)
            if answered:
                schedule.release(link(number), now)
            else:
                schedule.sent(link(number), now)
                left.append(now)
                heapq.heappush(events, (now + answering[number - 1], number, True))
        else:
            assert due is not None, "the schedule stands still"
            now = due
    assert all(later - earlier >= 1.0 - 1e-9 for earlier, later in pairwise(left))


def test_a_host_visited_alone_rests_from_the_end_of_the_answer() -> None:
    schedule = fast(width=1, delay=1.0)
    filled(schedule, "h", range(1, 4))
    first = schedule.take(10.0)
    assert first is not None
    schedule.release(first, 10.7)
    assert schedule.take(11.6) is None
    assert schedule.take(11.7) == link(2)


def test_a_link_that_was_not_asked_owes_no_pause() -> None:
    schedule = fast(width=1, delay=1.0)
    filled(schedule, "h", range(1, 4))
    first = schedule.take(10.0)
    assert first is not None
    schedule.release(first, 10.0, asked=False)
    assert schedule.take(10.0) == link(2)


def test_an_unasked_link_does_not_shorten_a_rest_that_another_answer_asked_for() -> None:
    schedule = fast(width=2)
    filled(schedule, "h", range(1, 5))
    busy, refused = schedule.take(10.0), schedule.take(10.0)
    assert busy is not None
    assert refused is not None
    schedule.release(busy, 10.1, rest=60.0)
    schedule.release(refused, 10.2, asked=False)
    assert schedule.take(70.0) is None
    assert schedule.take(70.1) == link(3)


def test_a_resting_host_holds_back_nobody_else() -> None:
    schedule = fast(width=1)
    filled(schedule, "slow", range(1, 3))
    filled(schedule, "well", range(11, 14))
    tarpit = schedule.take(0.0)
    assert tarpit is not None
    schedule.release(tarpit, 0.0, rest=1000.0)
    for expected in range(11, 14):
        taken = schedule.take(1.0)
        assert taken == link(expected, "well")
        schedule.release(taken, 1.0)
    assert schedule.take(1.0) is None
    assert schedule.next_due() == 1000.0


def test_robots_goes_first_and_alone() -> None:
    schedule = fast(robots=True)
    host = filled(schedule, "h", range(1, 3))
    robots = schedule.take(0.0)
    assert robots is not None
    assert robots.kind is Kind.ROBOTS
    assert robots.url == "http://h/robots.txt"
    assert schedule.take(0.0) is None
    schedule.release(robots, 0.1)
    assert schedule.take(0.1) is None, "its answer is not entered yet"
    schedule.open(host, "http://h", 100.0, None)
    assert schedule.take(0.1) == link(1)
    assert schedule.take(0.1) == link(2)


def test_robots_is_asked_again_when_it_expires_and_waits_for_those_on_the_way() -> None:
    schedule = fast(robots=True)
    host = filled(schedule, "h", range(1, 4))
    robots = schedule.take(0.0)
    assert robots is not None
    schedule.release(robots, 0.0)
    schedule.open(host, "http://h", 100.0, None)
    first = schedule.take(99.0)
    assert first == link(1)
    assert schedule.take(101.0) is None
    schedule.release(first, 102.0)
    again = schedule.take(102.0)
    assert again is not None
    assert again.kind is Kind.ROBOTS


def test_a_crawl_delay_narrows_the_host_and_can_only_slow_it() -> None:
    schedule = fast(width=4, delay=2.0)
    host = filled(schedule, "h", range(1, 4))
    schedule.open(host, "http://h", 1e9, 0.5)
    assert (host.budget.delay, host.budget.width) == (2.0, 4)
    schedule.open(host, "http://h", 1e9, 5.0)
    assert (host.budget.delay, host.budget.width) == (5.0, 1)


def test_no_more_than_max_pages_are_ever_reserved() -> None:
    schedule = fast(max_pages=2)
    filled(schedule, "h", range(1, 10))
    first, second = schedule.take(0.0), schedule.take(0.0)
    assert first is not None
    assert second is not None
    assert schedule.take(0.0) is None
    schedule.finish(first)  # it was a redirect: its place is free again
    third = schedule.take(0.0)
    assert third == link(3)
    schedule.finish(second, page=True)
    schedule.finish(third, page=True)
    assert schedule.take(0.0) is None
    assert schedule.exhausted


def test_by_depth_nothing_deeper_goes_while_something_shallower_is_open() -> None:
    schedule = fast(by_depth=True)
    filled(schedule, "a", range(1, 3), depth=0)
    filled(schedule, "b", range(11, 13), depth=1)
    first, second = schedule.take(0.0), schedule.take(0.0)
    assert first == link(1, "a")
    assert second == link(2, "a")
    assert schedule.take(0.0) is None
    schedule.finish(first)
    assert schedule.take(0.0) is None
    schedule.finish(second)
    assert schedule.take(0.0) == link(11, "b", 1)


def test_a_host_that_is_held_stays_held_when_only_its_last_links_are_read_anew() -> None:
    """Found by test_model (seed 3676): it was neither held nor listed, and never asked again."""
    schedule = fast(by_depth=True)
    filled(schedule, "a", range(1, 2), depth=0)
    host = filled(schedule, "b", range(11, 41), depth=1)
    schedule.queue(host, 1, [(2, 1)])
    schedule.fill(host, [link(51, "b", depth=2)])
    first = schedule.take(0.0)
    assert first == link(1, "a")
    assert schedule.take(0.0) is None, "b waits for a's level"
    schedule.queue(host, 1, [(1, 1)])
    schedule.finish(first)
    assert schedule.take(0.0) == link(11, "b", depth=1)


def test_a_link_given_back_goes_first() -> None:
    schedule = fast()
    filled(schedule, "h", range(1, 4))
    first = schedule.take(0.0)
    assert first is not None
    schedule.forgo(first, 0.0)
    assert schedule.take(0.0) == first
    assert not schedule.finished


def test_a_host_asks_for_more_before_its_buffer_is_empty() -> None:
    schedule = fast()
    host = schedule.host("h", 1)
    schedule.queue(host, 100)
    assert schedule.thirsty() == [host]
    schedule.fill(host, [link(number) for number in range(1, 21)])
    assert schedule.thirsty() == []
    for _ in range(5):
        schedule.take(0.0)
    assert schedule.thirsty() == [host]
    assert schedule.out(host) == set(range(1, 21))


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    width=st.integers(1, 3),
    delay=st.sampled_from([0.0, 0.5, 2.0]),
    trips=st.lists(st.sampled_from([0.0, 0.1, 1.0, 3.0]), min_size=1, max_size=9),
)
def test_every_link_goes_once_and_never_faster_than_its_host_allows(
    sizes: list[int], width: int, delay: float, trips: list[float]
) -> None:
    schedule = fast(width=width, delay=delay)
    number = 0
    for index, size in enumerate(sizes):
        filled(schedule, f"h{index}", range(number + 1, number + size + 1))
        number += size
    now, starts, taken = 0.0, dict[str, list[float]](), []
    abroad: list[tuple[float, CrawlUrl]] = []
    while not schedule.finished:
        one = schedule.take(now)
        if one is not None:
            taken.append(one.id)
            starts.setdefault(one.host, []).append(now)
            abroad.append((now + trips[len(taken) % len(trips)], one))
            assert sum(link.host == one.host for _, link in abroad) <= width
            continue
        abroad.sort(key=lambda trip: trip[0])
        due = schedule.next_due()
        if abroad and (due is None or abroad[0][0] <= due):
            now, back = max(now, abroad[0][0]), abroad.pop(0)[1]
            schedule.release(back, now)
            schedule.finish(back, page=True)
        else:
            assert due is not None
            now = max(now, due)
    assert sorted(n for n in taken if n) == list(range(1, number + 1))
    for moments in starts.values():
        gaps = [b - a for a, b in pairwise(moments)]
        assert all(gap > delay - 1e-9 for gap in gaps)  # sums of floats
