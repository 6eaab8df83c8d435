"""Hosts that fail are left alone, hold nobody up, come back; failed links can be retried."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
from conftest import OpenSite
from helpers.answers import Answer, busy, gate, page, sequence, slow, text, truncated
from helpers.commands import end, start
from helpers.crawling import crawl, outcomes, records, settings
from helpers.frontier_contract import found, lease, urls
from helpers.places import ROOT

from crawler.cli.main import crawler as door
from crawler.cli.retry import _span
from crawler.cli.status import lines
from crawler.cli.summary import held_back
from crawler.config.model import Config, PaceConfig
from crawler.engine.engine import Engine
from crawler.errors import ConfigError, FolderLocked
from crawler.frontier.sqlite.overview import peek
from crawler.frontier.sqlite.requeue_failed import requeue
from crawler.frontier.sqlite.sqlite_frontier import SqliteFrontier
from crawler.policy.autothrottle import ResponseSample
from crawler.records import CrawlResult, Outcome

DOWN = ResponseSample(strained=True, failed=True)


def paced(*seeds: str, **values: Any) -> Config:
    """Quick, but with a pace: parked for a quarter of a second at first."""
    return settings(
        *seeds,
        **{"fast": False, "delay": 0.0, "per_host": 2, "obey": False, "park": 0.25, **values},
    )


def held(crawl: Engine) -> dict[str, tuple[int, int]]:
    """Hosts with links left, and how often they were parked."""
    return {p.name: (p.queued, p.parks) for p in crawl.frontier.paces(100) if p.queued}


async def test_one_tarpit_among_fifty_healthy_hosts_holds_nobody_up(
    website: OpenSite, tmp_path: Path
) -> None:
    """With four connections and eight workers; parked, it is not asked at all."""
    pit = gate()
    tarpit: dict[str, Answer] = {f"/{n}": pit for n in range(30)}
    tarpit["/"] = page(links=sorted(tarpit))
    healthy = [
        {"/": page(links=["/0", "/1", "/2"])} | {f"/{n}": page() for n in range(3)}
        for _ in range(50)
    ]
    site = await website(tarpit, *healthy)
    config = paced(
        *(f"{origin}/" for origin in site.origins), park=900.0, max_parks=0,
        first_byte_timeout=0.5, idle_timeout=0.5, concurrency=4, workers=8,
    )  # fmt: skip
    first = await crawl(config, tmp_path / "crawl")
    asked = [one for one in site.log if one.address == "127.0.0.1"]
    assert first.finish_reason == "hosts-down"
    times = [one.time for one in asked[1:]]  # each waits for half a second
    assert all(b - a > 0.25 for a, b in zip(times, times[2:], strict=False)), "two at once"
    assert 6 <= len(asked) <= 7, "its seed, five failures, one more that was under way"
    done = [line for line in records(tmp_path / "crawl") if line["outcome"] == "done"]
    assert len(done) == 50 * 4 + 1
    name = f"127.0.0.1:{site.port}"
    assert held(first) == {name: (30, 1)}
    view = peek(tmp_path / "crawl" / "frontier.db")
    assert view.parked[name] > 800
    assert view.counts.pending == 30
    rows = dict(lines(view, tmp_path / "crawl"))
    assert rows["waits"].startswith(f"{name} waits 1")
    assert "parked after 5 failures" in rows["waits"]
    assert rows["state"].startswith("stopped; ")

    pit.open()  # repaired: the crawl goes on with it, and nothing is lost
    second = await crawl(config, tmp_path / "crawl", "resume")
    assert second.finish_reason == "finished"
    assert len(records(tmp_path / "crawl")) == 50 * 4 + 31


async def test_a_host_that_was_parked_comes_back_by_itself(
    website: OpenSite, tmp_path: Path
) -> None:
    paths = [f"/{n}" for n in range(12)]
    ill = busy(7, status=503)  # one illness for the whole host
    answers = dict.fromkeys(paths, ill) | {"/": page(links=paths)}
    site = await website(answers)
    config = paced(site.url, retries=7)  # whichever links the bad answers meet
    running = await crawl(config, tmp_path / "crawl")
    assert running.finish_reason == "finished"
    assert set(outcomes(tmp_path / "crawl").values()) == {"done"}
    times = [one.time for one in site.log]
    gaps = sorted(b - a for a, b in pairwise(times))
    assert gaps[-1] >= 0.5, "the second parking is twice the first"
    assert gaps[-2] >= 0.25


async def test_a_page_that_breaks_is_no_host_that_is_down(
    website: OpenSite, tmp_path: Path
) -> None:
    paths = [f"/{n}" for n in range(12)]
    site = await website({p: page(status=500) for p in paths} | {"/": page(links=paths)})
    running = await crawl(paced(site.url, park=3600.0), tmp_path / "crawl")
    assert running.finish_reason == "finished"
    assert list(outcomes(tmp_path / "crawl").values()).count("failed") == 12


async def test_what_was_learnt_of_a_host_survives_a_restart(tmp_path: Path) -> None:
    path, pace = tmp_path / "frontier.db", PaceConfig(per_host=16, delay=0.0, park_after=5)
    async with SqliteFrontier(path, pace, robots=False) as queue:
        await queue.add([found(url) for url in urls(60)])
        for _ in range(24):
            both = [await lease(queue) for _ in range(queue.paces()[0].width)]
            for link in both[:12]:
                queue.release(link, lesson=ResponseSample(0.1, failed=False))
                await queue.settle([CrawlResult(link, Outcome.DONE)], {})
            if queue.pending < 30:
                break
            for link in both[12:]:
                queue.forgo(link)
        wide = queue.paces()[0].width
        assert wide > 2
    async with SqliteFrontier(path, pace, robots=False) as queue:
        assert abs(queue.paces()[0].width - wide) <= 1
        taken = [await lease(queue) for _ in range(5)]
        for link in taken:
            queue.release(link, lesson=DOWN)
            await queue.settle([CrawlResult(link, Outcome.RETRY, retry_in=0.01)], {})
        assert queue.paces()[0].parked > 59
    async with SqliteFrontier(path, pace, robots=False) as queue:
        assert 50 < queue.paces()[0].parked <= 60
        assert queue.paces()[0].width == 1


async def test_two_names_of_one_address_share_its_pace(website: OpenSite, tmp_path: Path) -> None:
    paths = [f"/{n}" for n in range(15)]
    site = await website({"/": page(links=paths)} | {path: slow(0.03) for path in paths})
    seeds = (site.url, f"http://localhost:{site.port}/")
    for group, widest in (("host", 4), ("ip", 2)):
        site.peaks.clear()
        folder = tmp_path / group
        await crawl(paced(*seeds, group=group), folder)
        assert len(records(folder)) == 32
        assert site.peaks["127.0.0.1"] == widest
    async with SqliteFrontier(tmp_path / "ip" / "frontier.db", PaceConfig(group="ip")) as queue:
        assert await queue.add([found(url + "new") for url in seeds]) == 2
        assert [pace.name for pace in queue.paces()] == ["127.0.0.1"], "known from the first run"


async def test_a_crawl_delay_beyond_the_cap_is_clamped_kept_and_told(
    website: OpenSite, tmp_path: Path
) -> None:
    robots = text("User-agent: *\nCrawl-delay: 300\n")
    site = await website({"/robots.txt": robots, "/": page(links=["/a"]), "/a": page()})
    config = paced(site.url, obey=True, max_crawl_delay=0.3)
    running = await crawl(config, tmp_path / "crawl")
    assert outcomes(tmp_path / "crawl") == {"/": "done", "/a": "done"}, "not dropped"
    times = [one.time for one in site.log]
    assert all(b - a >= 0.3 for a, b in pairwise(times))
    (pace,) = running.frontier.paces()
    assert held_back(pace) == f"{pace.name}: asks for 5m00s between requests, 0.3s are kept"
    view = peek(tmp_path / "crawl" / "frontier.db")
    assert "5m00s" in dict(lines(view, tmp_path))["delays"]


def test_the_guides_commands_can_be_given() -> None:
    guide = (ROOT / "docs" / "guide" / "pace.md").read_text("utf-8")
    commands = [line.split()[2:] for line in guide.splitlines() if line.startswith("$ crawler ")]
    assert len(commands) == 4
    for name, *args in commands:
        command = door.get_command(click.Context(door), name)
        assert command is not None
        with command.make_context(name, [arg.strip("'") for arg in args]) as context:
            assert context.params


# ── crawler retry ────────────────────────────────────────────────────────────────────────────


async def test_retry_queues_failed_links_again_and_goes_on(
    website: OpenSite, tmp_path: Path
) -> None:
    site = await website(
        {
            "/": page(links=["/busy", "/cut", "/gone"]),
            "/busy": busy(1, then=page(title="at last", links=["/new"])),
            "/cut": sequence(truncated(), page(title="mended")),
            "/gone": page(status=404),
            "/new": page(),
        }
    )
    folder = tmp_path / "crawl"
    await crawl(settings(site.url, retries=0), folder)
    assert outcomes(folder) == {
        "/": "done",
        "/busy": "failed",
        "/cut": "failed",
        "/gone": "failed",
    }

    said = await end(await start("retry", str(folder), "--status", "5xx", "--json"))
    assert said.code == 0
    assert "1 failed link queued again" in said.err
    assert json.loads(said.out)["counts"]["failed"] == 2
    said = await end(await start("retry", str(folder), "--reason", "trunc*"))
    assert "1 failed link queued again" in said.err
    said = await end(await start("retry", str(folder), "--reason", "dns"))
    assert said.code == 0
    assert "no failed link matches" in said.err
    last = {line["url"]: line["outcome"] for line in records(folder)}
    assert {url.rpartition("/")[2]: outcome for url, outcome in last.items()} == {
        "": "done", "busy": "done", "cut": "done", "gone": "failed", "new": "done",
    }  # fmt: skip
    assert site.hits["/"] == 1
    assert site.hits["/gone"] == 1


async def test_retry_says_what_is_wrong(tmp_path: Path) -> None:
    said = await end(await start("retry", str(tmp_path)))
    assert (said.code, "holds no crawl to retry" in said.err) == (2, True)
    (tmp_path / "frontier.db").touch()
    said = await end(await start("retry", str(tmp_path), "--status", "5x"))
    assert said.code == 2
    assert "--status: '5x' is not a status such as 503 or 5xx" in said.err


async def test_a_running_crawl_is_not_requeued_under_its_feet(tmp_path: Path) -> None:
    async with SqliteFrontier(tmp_path / "frontier.db", PaceConfig()):
        with pytest.raises(FolderLocked):
            requeue(tmp_path / "frontier.db")


def test_statuses_as_people_write_them() -> None:
    assert _span("503") == range(503, 504)
    assert _span("5xx") == range(500, 600)
    assert _span("50X") == range(500, 510)
    for wrong in ("", "5", "xx5", "5x5", "099", "５xx"):
        with pytest.raises(ConfigError):
            _span(wrong)
