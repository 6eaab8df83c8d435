"""Fairness: a large host takes nothing from small ones. Adaptive width: near a server's best.

The schedule, and the width against a model, in virtual time; smaller real ones beside them, and
larger ones by `make test-pace`.
"""

from __future__ import annotations

import asyncio
import heapq
import xml.etree.ElementTree as ET
from itertools import count
from pathlib import Path

import pytest
from conftest import OpenSite
from helpers.answers import Answer, Asked, Reply, page
from helpers.crawling import crawl, outcomes, records, settings
from helpers.places import ROOT
from test_schedule import filled

from benchmarks.autothrottle_model import KneeModel, chart, simulate
from crawler.frontier.scheduling.scheduler import Scheduler
from crawler.frontier.scheduling.slot_settings import SlotSettings
from crawler.policy.autothrottle import ResponseSample
from crawler.records import CrawlUrl

# ── fairness ─────────────────────────────────────────────────────────────────────────────────


def ends(
    sizes: dict[str, int], *, width: int, delay: float, trip: float, slots: int
) -> dict[str, float]:
    """When each host's last page came, in virtual seconds."""
    schedule = Scheduler(SlotSettings(width=width, delay=delay), robots=False, slots=slots)
    number = 0
    for name, size in sizes.items():
        filled(schedule, name, range(number + 1, number + size + 1))
        number += size
    now, done, turn = 0.0, dict[str, float](), count()
    abroad: list[tuple[float, int, CrawlUrl]] = []
    while not schedule.finished:
        link = schedule.take(now)
        if link is not None:
            heapq.heappush(abroad, (now + trip, next(turn), link))
            continue
        due = schedule.next_due()
        if abroad and (due is None or abroad[0][0] <= due):
            now, _, link = heapq.heappop(abroad)
            schedule.release(link, now, lesson=ResponseSample(trip, failed=False))
            schedule.finish(link, page=True)
            done[link.host] = now
        else:
            assert due is not None
            now = due
    return done


@pytest.mark.parametrize(("width", "delay"), [(1, 1.0), (2, 0.25)])
def test_small_hosts_are_done_in_the_time_their_own_pace_allows(width: int, delay: float) -> None:
    """One of 10,000 pages, 49 of 100, 64 connections: as if each small one were alone."""
    trip = 0.2
    sizes = {"large": 10_000} | {f"small{n}": 100 for n in range(49)}
    done = ends(sizes, width=width, delay=delay, trip=trip, slots=64)
    own = ends({"small": 100}, width=width, delay=delay, trip=trip, slots=64)["small"]
    assert max(done[name] for name in done if name != "large") <= own + 1e-6
    alone = ends({"large": 10_000}, width=width, delay=delay, trip=trip, slots=64)["large"]
    assert done["large"] <= alone + 1e-6, "nor do they take anything from it"


def test_where_connections_are_short_each_host_gets_its_turn() -> None:
    """Ten connections, fifty hosts, no pauses: small ones wait for their share, not for the end."""
    sizes = {"large": 10_000} | {f"small{n}": 100 for n in range(49)}
    done = ends(sizes, width=2, delay=0.0, trip=0.1, slots=10)
    share = 50 * 100 * 0.1 / 10  # all fifty in turn, one connection each time
    assert max(done[name] for name in done if name != "large") <= share * 1.02


async def fairly(website: OpenSite, folder: Path, large: int, small: int) -> None:
    def host(pages: int) -> dict[str, Answer]:
        paths = [f"/{n}" for n in range(pages - 1)]
        return {"/": page(links=paths)} | {path: page() for path in paths}

    site = await website(host(large), *(host(small) for _ in range(49)))
    seeds = [f"{origin}/" for origin in site.origins]
    config = settings(
        *seeds, fast=False, delay=0.05, per_host=2, obey=False, concurrency=64, max_links=20_000
    )
    running = await crawl(config, folder)
    assert running.finish_reason == "finished"
    assert len(records(folder)) == large + 49 * small
    order = [one.address == "127.0.0.1" for one in site.log]
    # While the small ones lasted the large one had its turn like each of them, and no more.
    until = max(number for number, is_large in enumerate(order) if not is_large)
    assert sum(order[:until]) <= 3 * small


async def test_a_large_real_host_holds_no_small_one_up(website: OpenSite, tmp_path: Path) -> None:
    await fairly(website, tmp_path / "crawl", large=60, small=5)


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_a_really_large_host_holds_no_small_one_up(
    website: OpenSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helpers.crawling.PATIENCE", 1000.0)
    await fairly(website, tmp_path / "crawl", large=4000, small=60)


# ── the adaptive width ───────────────────────────────────────────────────────────────────────

ADAPTIVE = SlotSettings(width=64, delay=0.0, adaptive=True)

SPAN = 90.0
"""Virtual seconds."""

SERVERS = (
    KneeModel(),
    KneeModel(spread=0.0),
    KneeModel(spread=0.8),
    KneeModel(cores=2, capacity=6),
    KneeModel(cores=32, capacity=96, service=0.05),
    KneeModel(cores=1, capacity=3, service=0.2),
    KneeModel(cores=4, capacity=20, service=0.01, network=0.1),
    KneeModel(slower=4.0, slower_at=60.0),
)


@pytest.mark.parametrize("server", SERVERS, ids=str)
def test_a_server_is_held_near_its_best_without_being_driven_into_errors(server: KneeModel) -> None:
    """Against the best of the fixed widths, and what the widest does to it."""
    fixed = {w: simulate(server, SlotSettings(width=w, delay=0.0), SPAN) for w in (4, 12, 64)}
    run = simulate(server, ADAPTIVE, SPAN)
    assert run.per_second >= 0.9 * max(one.per_second for one in fixed.values())
    assert run.share_refused < 0.005
    if server.capacity < 64:
        assert fixed[64].share_refused > 0.1, "a server that nothing could hurt proves nothing"


def test_a_server_with_hardly_any_queue_is_spared_at_a_price() -> None:
    """Ten may be in the house where eight are served: no latency warns, only its errors do."""
    server = KneeModel(capacity=10)
    run = simulate(server, ADAPTIVE, 120)
    best = max(simulate(server, SlotSettings(width=w, delay=0.0), 120).per_second for w in (8, 10))
    assert run.per_second >= 0.8 * best
    assert run.share_refused < 0.01


def test_the_chart_in_the_guide_is_what_the_script_draws() -> None:
    drawn = chart()
    ET.fromstring(drawn)
    kept = ROOT / "docs" / "guide" / "pace.svg"
    assert kept.read_text("utf-8") == drawn, (
        "python -m benchmarks.autothrottle_model > docs/guide/pace.svg"
    )


class Knee:
    """A real server: two at a time, the others queue, the thirteenth is refused."""

    def __init__(self, service: float) -> None:
        self._desks = asyncio.Semaphore(2)
        self._service = service
        self.inside = self.served = self.refused = 0

    async def __call__(self, _: Asked) -> Reply:
        if self.inside >= 12:
            self.refused += 1
            return Reply(503, b"full\n", mime="text/plain")
        self.inside += 1
        try:
            async with self._desks:
                await asyncio.sleep(self._service)
        finally:
            self.inside -= 1
        self.served += 1
        return Reply(200, b"<p>served")


async def test_a_real_server_is_not_driven_over_its_knee(website: OpenSite, tmp_path: Path) -> None:
    """The same crawl without it refuses hundreds of times: that the knee is one is shown, too."""
    paths = [f"/{n}" for n in range(80)]

    async def visit(*, adaptive: bool, name: str) -> Knee:
        knee = Knee(0.03)
        answers: dict[str, Answer] = dict.fromkeys(paths, knee)
        site = await website({"/": page(links=paths)} | answers)
        config = settings(
            site.url, fast=False, delay=0.0, per_host=32, adaptive=adaptive, obey=False,
            park_after=0, retries=20, ceiling=0.2,
        )  # fmt: skip
        await crawl(config, tmp_path / name)
        assert set(outcomes(tmp_path / name).values()) == {"done"}
        assert knee.served == 80
        return knee

    careless = await visit(adaptive=False, name="careless")
    careful = await visit(adaptive=True, name="careful")
    assert careless.refused >= 20
    assert careful.refused <= careless.refused / 10
