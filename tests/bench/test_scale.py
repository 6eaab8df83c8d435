"""The simulation of large crawls: its laws, and the real schedule against the fluid."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import fluid_model, host_memory, queueing_model, scale
from benchmarks.endurance import Endurance, endure
from benchmarks.site_sizes import Sizes
from benchmarks.virtual_schedule import simulate
from crawler.frontier.scheduling.slot_settings import SlotSettings

MINE = 0.001
"""Rounding of times that are sums of a million delays."""

counts = st.lists(st.integers(1, 60), min_size=1, max_size=25)


# ── how many pages hosts have ────────────────────────────────────────────────────────────────────


@given(st.integers(10, 10**8), st.floats(1.5, 500), st.floats(1.3, 1.95), st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_a_law_has_its_mean_and_a_sample_its_sum(
    hosts: int, mean: float, beta: float, number: int
) -> None:
    sizes = Sizes(hosts, max(hosts + 1, int(hosts * mean)), beta)
    assert sizes.capped(math.inf) == pytest.approx(sizes.mean, rel=1e-6)
    assert sizes.quantile(0) == pytest.approx(1)
    assert sizes.below(sizes.quantile(0.7)) == pytest.approx(0.7)
    sample = list(sizes.sample(number))
    assert len(sample) == number
    assert min(sample) >= 1
    assert sum(sample) == pytest.approx(number * sizes.mean, abs=1 + 1e-6 * sum(sample))


@pytest.mark.parametrize(("hosts", "urls", "beta"), [(10, 10, 1.8), (10, 99, 2.0), (0, 1, 1.8)])
def test_a_law_that_cannot_be_is_refused(hosts: int, urls: int, beta: float) -> None:
    with pytest.raises(ValueError, match=r"beta|hosts"):
        Sizes(hosts, urls, beta)


# ── the real schedule in virtual time ────────────────────────────────────────────────────────────


@given(
    counts,
    st.floats(0.05, 2),
    st.floats(0.01, 3),
    st.sampled_from([5.0, 50.0, math.inf]),
    st.sampled_from([1, 3, None]),
    st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_every_page_is_done_and_no_host_asked_before_its_delay(
    sizes: list[int], delay: float, latency: float, rate: float, slots: int | None, width: int
) -> None:
    terms = SlotSettings(width=width, delay=delay, adaptive=True)
    run = simulate(sizes, terms, rate=rate, slots=slots, latency=latency)
    assert run.pages == sum(sizes)
    assert run.done[-1] == sum(sizes)
    assert run.fetched >= sum(sizes) + len(sizes)  # each host's robots.txt
    assert run.gap >= delay * (1 - MINE)
    if slots is not None:
        assert run.in_flight <= slots
    assert run.in_flight <= width * len(sizes)
    floor = max(sizes) * delay  # the largest host: its robots.txt, then a delay before each page
    floor = max(floor, (run.fetched - 1) / rate)
    floor = max(floor, run.fetched * latency / 2 / (slots or math.inf))
    assert run.seconds >= floor * (1 - MINE)


@given(counts, st.floats(0.2, 2), st.sampled_from([3.0, 10.0, math.inf]))
@settings(max_examples=40, deadline=None)
def test_the_fluid_ends_when_the_schedule_does(sizes: list[int], delay: float, rate: float) -> None:
    run = simulate(sizes, SlotSettings(width=4, delay=delay), rate=rate, latency=0.05)
    course = fluid_model.of_sample(sizes, delay=delay, rate=rate)
    assert course.pages == run.pages
    assert course.seconds == pytest.approx(run.seconds, rel=0.02, abs=3 * delay + len(sizes) / rate)


def test_two_samples_of_a_large_web_agree_with_the_fluid() -> None:
    plan = scale.ScalePlan(sizes=Sizes(10_000_000, 1_000_000_000), machines=2)
    for number in (100, 400):
        both = scale.agree(plan, number)
        assert both.run.pages == pytest.approx(100 * number, abs=1)
        assert both.worst < 0.02
        assert both.run.gap >= plan.delay * (1 - MINE)


@given(st.floats(0.05, 5), st.integers(1, 100), st.sampled_from([1e3, 1e5, math.inf]))
@settings(max_examples=12, deadline=None)
def test_the_whole_crawl_is_never_faster_than_anything_could_be(
    delay: float, machines: int, most: float
) -> None:
    sizes = Sizes(1_000_000, 50_000_000)
    plan = scale.ScalePlan(sizes=sizes, delay=delay, machines=machines, most=most)
    course = scale.course(plan)
    assert course.seconds >= scale.lower_bound(plan) * (1 - MINE)
    assert course.pages == pytest.approx(sizes.hosts * sizes.capped(most), rel=1e-6)
    wider = scale.course(
        scale.ScalePlan(sizes=sizes, delay=delay, machines=machines + 1, most=most)
    )
    assert wider.seconds <= course.seconds * (1 + MINE)


# ── one machine ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("cores", [1, 3, 16])
def test_stations_keep_to_what_the_costs_allow(cores: int) -> None:
    costs = queueing_model.Costs(loop=0.4, parse=0.6, frontier=0.1, server=0.1)
    for processes in (1, 4):
        most = queueing_model.bound(costs, cores, processes)
        rate = queueing_model.run(costs, cores, processes=processes, pages=4000)
        assert 0.6 * most.rate < rate < 1.05 * most.rate
    assert queueing_model.bound(costs, 64, 40).by == queueing_model.SERVER
    assert queueing_model.bound(costs, 64, 1).by == queueing_model.LOOP


# ── doors ────────────────────────────────────────────────────────────────────────────────────────


def test_the_report_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--hosts", "1000", "--urls", "50000", "--samples", "50", "--price", "0.5"]
    assert scale.main(small) == 0
    told = capsys.readouterr().out
    assert "50,000 pages on 1,000 hosts" in told
    assert "| … at 0.5 an hour |" in told
    assert "| 64 |" in told


@pytest.mark.parametrize("wrong", [["--beta", "2.5"], ["--delay", "0"], ["--samples", "0"]])
def test_what_makes_no_sense_is_said_in_a_line(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        scale.main(wrong)
    assert ended.value.code == 2
    assert wrong[0].strip("-") in capsys.readouterr().err.splitlines()[-1]


def test_a_host_is_weighed_in_memory() -> None:
    """In a process of its own: memory that others freed would hide what is taken."""
    code = "from benchmarks import host_memory; print(host_memory.measure(5000).visited)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 500 < float(ran.stdout) < 4000
    assert host_memory.HOSTS == 100_000


# ── a long crawl, watched ────────────────────────────────────────────────────────────────────────


def test_a_long_crawl_is_watched(tmp_path: Path) -> None:
    """The machinery of `make crawl-million`; so small that only the whole can be judged."""
    found: Endurance = endure(1500, tmp_path, hosts=3, size=1500)
    assert sum(part.pages for part in found.parts) == 1500
    assert all(part.cpu >= 0 for part in found.parts)
    assert found.parts[-1].records > 1500 * 500
    assert 30_000_000 < found.rss < 400_000_000
    assert "| 1,500 |" in str(found)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_million_pages(tmp_path: Path) -> None:
    """The last tenth costs at most a tenth more CPU than the first; below 400 MB resident."""
    found = endure(1_000_000, tmp_path)
    sys.stderr.write(str(found))
    assert found.violations() == []
