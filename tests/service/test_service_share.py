"""What jobs share: a host's pace, the connections, the machine; and what each may take of it."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import OpenSite
from helpers.crawling import by_path
from helpers.frontier_contract import found
from helpers.serving import Client, service
from helpers.website import busy, page, sequence
from hypothesis import given
from hypothesis import strategies as st
from test_service_openapi import ADMIN, idle

from crawler.config.model import PaceConfig
from crawler.frontier.sqlite.sqlite_frontier import SqliteFrontier
from crawler.records import CrawlResult, Kind, Outcome, RobotsRecord
from crawler.service.jobs.fair_share import FairSemaphore
from crawler.service.jobs.host_throttle import HostThrottle, ThrottledFrontier
from crawler.service.jobs.job import Job, JobLimits, JobState, next_state, select_jobs
from crawler.service.jobs.retention import expired_jobs
from crawler.service.monitoring.memory import MemoryUse


def job(number: int, owner: str = "a", ended: float = 0.0) -> Job:
    return Job(
        f"{number:012x}", number, "", owner, JobState.QUEUED, "", {}, (), 0.0, ended_at=ended
    )


async def test_two_jobs_on_one_host_share_its_pace(tmp_path: Path, website: OpenSite) -> None:
    """One at a time, 0.05 s apart: what the site sees is one visitor, not two."""
    tree = {f"/{n}": page(links=[f"/{2 * n + 1}", f"/{2 * n + 2}"]) for n in range(7)}
    site = await website({"/": tree["/0"], **tree})
    pace = {"per_host": 1, "delay": 0.05}
    async with service(tmp_path) as opened, Client(opened.url) as client:
        jobs = [await client.start(site.url, pace=pace) for _ in range(2)]
        for one in jobs:
            assert (await client.until(one, "finished"))["totals"]["pages"] >= 7
    moments = sorted(asked.time for asked in site.log)
    assert site.peak == 1
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert min(gaps) > 0.04, gaps
    first, second = (
        [asked.time for asked in site.log if asked.path == path] for path in ("/1", "/6")
    )
    assert len(first) == len(second) == 2
    assert max(first) < min(second), "neither job waits for the other's end"


async def test_a_host_that_asks_one_job_for_patience_has_it_from_the_others(
    tmp_path: Path, website: OpenSite
) -> None:
    rest = sequence(busy(retry_after=1), page())
    site = await website({"/": rest, "/b": page(), "/robots.txt": page()})
    pace = {"per_host": 1, "delay": 0.0}
    async with service(tmp_path) as opened, Client(opened.url) as client:
        one = await client.start(site.url, pace=pace)
        await site.wait_for("/")
        other = await client.start(site.at("/b"), pace=pace)
        await client.until(one, "finished")
        await client.until(other, "finished")
    refused = next(asked.time for asked in site.log if asked.path == "/")
    after_it = [asked.time for asked in site.log if asked.time > refused]
    assert min(after_it) - refused > 0.9


async def test_a_crawl_delay_that_one_job_keeps_is_kept_by_the_others() -> None:
    """Known to the frontier of the job alone, by this run or an earlier one."""
    turns, pace = HostThrottle(), PaceConfig(delay=0.0)
    async with SqliteFrontier(":memory:", pace) as own:
        shared = ThrottledFrontier(own, turns, pace)
        await own.add([found("http://a.test/")])
        for _ in range(2):
            link = await shared.lease()
            assert link is not None
            robots = link.kind is Kind.ROBOTS
            rules = RobotsRecord("http://a.test", 200, b"", 4e9, 0.5) if robots else None
            shared.release(link)
            assert (turns.cooldown_of("a.test") > 0) is not robots, "from its answer on"
            await shared.settle([CrawlResult(link, Outcome.DONE, rules=rules)], {})


async def test_turns_are_first_come_first_served_and_given_up() -> None:
    turns = HostThrottle()
    first, second, third = (turns.acquire("host", 1, 0.0) for _ in range(3))
    assert first.done()
    assert not second.done()
    second.cancel()
    turns.release("host")
    assert third.done()
    turns.release("host", pause=1000.0)
    assert turns.cooldown_of("host") > 999
    assert not turns.acquire("host", 1, 0.0).done()
    assert turns.acquire("other", 1, 0.0).done()


async def test_a_free_connection_goes_to_the_job_that_has_fewest() -> None:
    slots = FairSemaphore(4)
    greedy, modest = slots.share(10), slots.share(10)
    for _ in range(4):
        await greedy.__aenter__()
    waiting = [asyncio.create_task(greedy.__aenter__()) for _ in range(3)]
    late = asyncio.create_task(modest.__aenter__())
    await asyncio.sleep(0)
    await greedy.__aexit__(None, None, None)
    await late
    assert (greedy.used, modest.used) == (3, 1)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    for share in (greedy, greedy, greedy, modest):
        await share.__aexit__(None, None, None)
    assert (slots.used, greedy.used, modest.used) == (0, 0, 0)


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(0, 10), st.integers(0, 4))
def test_who_starts_next_is_fair_and_within_limits(owners: str, most: int, each: int) -> None:
    queued = [job(number, owner) for number, owner in enumerate(owners)]
    chosen = select_jobs(
        queued, {}, total_limit=most, owner_limits={"a": each, "b": None, "c": None}
    )
    assert len(chosen) <= most
    counts = {owner: sum(one.owner == owner for one in chosen) for owner in "abc"}
    assert counts["a"] <= each
    waits = {owner: owners.count(owner) - counts[owner] for owner in "bc"}
    for one, other in (("b", "c"), ("c", "b")):
        if waits[one]:
            assert counts[other] <= counts[one] + 1
    for owner in "abc":
        numbers = [one.number for one in chosen if one.owner == owner]
        assert numbers == sorted(numbers)


async def test_no_more_run_than_may_and_none_is_forgotten(tmp_path: Path) -> None:
    async with service(tmp_path, (ADMIN,), opener=idle, running=2, queued=3) as opened:
        async with Client(opened.url, "a" * 20) as client:
            jobs = [await client.start("https://example.com/") for _ in range(2)]
            for one in jobs:
                await client.until(one, "running")
            waiting = [await client.start("https://example.com/") for _ in range(3)]
            status, problem = await client.ask("POST", "/jobs", {"seeds": ["https://e.com/"]})
            assert (status, problem["detail"]) == (429, "the queue is full: 3 jobs wait")
            assert (await client.get("/jobs"))["counts"] == {"running": 2, "queued": 3}
            await client.post(f"/jobs/{jobs[0]}/cancel")
            await client.until(waiting[0], "running")
            await client.until(jobs[0], "cancelled")
            assert (await client.get("/jobs"))["counts"]["running"] == 2


async def test_a_full_disk_holds_jobs_and_lets_them_go_on(
    tmp_path: Path, website: OpenSite
) -> None:
    tree = {f"/{n}": page(links=[f"/{min(n + 1, 24)}"]) for n in range(25)}
    site = await website({"/": tree["/0"], **tree})
    free = [10_000]
    async with (
        service(tmp_path, min_free=1000, free=lambda _: free[0]) as opened,
        Client(opened.url) as client,
    ):
        one = await client.start(site.url, pace={"delay": 0.03, "per_host": 1})
        await site.wait_for("/3")
        free[0] = 999
        held = await client.until(one, "held")
        assert held["reason"] == "disk-full"
        assert (await client.ask("GET", "/readyz"))[0] == 503
        waits = await client.start(site.url, pace={"fast": True})
        free[0] = 1200
        assert (await client.get(f"/jobs/{waits}"))["state"] == "queued"
        free[0] = 10_000
        done = await client.until(one, "finished")
        assert done["totals"]["pages"] == 25
        assert done["runs"] == 2


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of six megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("may not mount a small file system here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True, timeout=10)


async def test_a_really_full_disk_loses_nothing(small: Path, website: OpenSite) -> None:
    """Not the watch for free space but the errors themselves: ENOSPC in the crawl's own files."""

    def words(n: int) -> str:
        return " ".join(hashlib.sha256(b"%d %d" % (n, i)).hexdigest() for i in range(300))

    names = {n: f"/{hashlib.sha256(b'%d' % n).hexdigest()[:8]}" for n in range(100)}
    tree = {
        names[n]: page(
            str(n), links=[names[m] for m in (2 * n + 1, 2 * n + 2) if m < 100], text=words(n)
        )
        for n in range(100)
    }
    site = await website({"/": page("Start", links=[names[0]]), **tree})
    ballast = small / "ballast"
    ballast.write_bytes(b"x" * 3_700_000)
    async with service(small) as opened, Client(opened.url) as client:
        job = await client.start(site.url, pace={"fast": True}, output={"save": "html"})
        held = await client.until(job, "held")
        assert held["reason"] == "disk-full"
        assert held["totals"]["pages"] < 101
        ballast.unlink()
        await client.post(f"/jobs/{job}/resume")
        done = await client.until(job, "finished")
        assert done["runs"] == 2
    assert len(by_path(small / "jobs" / job)) == 101


def test_what_is_kept_is_kept_by_age_and_by_size() -> None:
    jobs = [job(number, ended=float(number)) for number in (1, 2, 3, 4)]
    sizes = {one.id: 10 for one in jobs}

    def gone(keep_for: float | None, keep_bytes: int | None) -> list[Job]:
        return expired_jobs(jobs, sizes, now=10.0, keep_for=keep_for, keep_bytes=keep_bytes)

    assert gone(None, None) == []
    assert gone(7.5, None) == jobs[:2]
    assert gone(None, 25) == jobs[:2]
    assert gone(8.5, 25) == jobs[:2]


@pytest.mark.parametrize("version", [1, 2])
def test_the_containers_memory_is_what_counts(tmp_path: Path, version: int) -> None:
    if version == 2:
        files = {
            "memory.max": "1000",
            "memory.current": "950",
            "memory.stat": "anon 1\ninactive_file 50",
        }
    else:
        (tmp_path / "memory").mkdir()
        files = {
            "memory/memory.limit_in_bytes": "1000",
            "memory/memory.usage_in_bytes": "950",
            "memory/memory.stat": "cache 7\ntotal_inactive_file 50",
        }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    memory = MemoryUse(tmp_path)
    assert memory.limit() == 1000
    assert memory.share() == 0.9
    (tmp_path / next(iter(files))).write_text("max" if version == 2 else str(2**63 - 4096))
    assert memory.limit() is None
    assert memory.share() == 0.0
    assert MemoryUse(tmp_path / "none").share() == 0.0


def test_a_tokens_limits_are_under_the_services() -> None:
    assert JobLimits(running=3, pages=10).capped_by(JobLimits(running=2, bytes=5)) == JobLimits(
        2, None, 10, 5
    )


def test_every_verb_is_idempotent_or_refused() -> None:
    from crawler.service.jobs.job import ACTIONS  # noqa: PLC0415 - beside its use

    for verb, table in ACTIONS.items():
        for state in table:
            once = next_state(state, verb)
            if verb != "retry":
                assert next_state(once, verb) is once, (verb, state)


async def test_a_shared_pause_begins_when_the_request_is_written() -> None:
    turns = HostThrottle()
    first, second, third = (turns.acquire("host", 3, 1000.0) for _ in range(3))
    assert first.done()
    assert not second.done()
    turns.release("host", asked=False, unsent=True)
    assert second.done(), "nobody called: no pause is owed"
    before = time.monotonic()
    turns.sent("host", 1000.0)
    assert not third.done()
    assert turns.cooldown_of("host") >= 1000.0 - (time.monotonic() - before)
    assert turns.acquire("other", 3, 0.05).done()
    waiting = turns.acquire("other", 3, 0.05)
    await asyncio.sleep(0.1)
    assert not waiting.done(), "nobody knows yet when the first will reach the host"
    turns.sent("other", 0.05)
    assert await waiting


async def test_a_turn_that_was_not_used_ends_no_rest_that_another_was_given() -> None:
    turns = HostThrottle()
    assert turns.acquire("host", 2, 0.0).done()
    assert turns.acquire("host", 2, 0.0).done()
    turns.release("host", pause=1000.0)  # its answer came with a Retry-After
    turns.release("host", asked=False)
    assert turns.cooldown_of("host") > 900
