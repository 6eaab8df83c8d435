"""Kill the service at any instant: every job goes on and ends with exactly the right pages.

The small version runs always: a few jobs, one kill, one SIGTERM. `make test-service` runs twenty
jobs at once for some minutes, with kills in between.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path

import pytest
from helpers.crawling import by_path
from helpers.serving import Client, Process

from crawler.bootstrap.crawl_setup import open_crawl
from crawler.config.loader import with_settings
from crawler.demo.process import DemoWeb


async def everything(url: str, folder: Path) -> dict[str, str]:
    """What an undisturbed crawl writes: path → outcome and digest."""
    config = with_settings(None, seeds=[url], fast=True, processes=1)
    async with open_crawl(config, dir=folder) as running:
        await running.run()
    return written(folder)


def written(folder: Path) -> dict[str, str]:
    return {path: f"{one['outcome']} {one['digest']}" for path, one in by_path(folder).items()}


async def reached(client: Client, pages: int) -> None:
    """Wait until the jobs have so many pages together."""
    async with asyncio.timeout(60):
        while True:
            jobs = (await client.get("/jobs"))["jobs"]
            if sum(job["totals"]["pages"] for job in jobs) >= pages:
                return
            await asyncio.sleep(0.05)


async def test_killed_and_ended_jobs_go_on_exactly_once(tmp_path: Path) -> None:
    with DemoWeb(pages=150, latency=0.03) as web:
        expected = await everything(web.url, tmp_path / "alone")
        home = tmp_path / "service"
        body = {"pace": {"fast": True}, "limits": {"concurrency": 8}}
        with Process(home) as first:
            async with Client(first.url) as client:
                jobs = [await client.start(web.url, **body) for _ in range(3)]
                await reached(client, 60)
                first.kill()
        with Process(home) as second:
            async with Client(second.url) as client:
                await reached(client, 150)
                assert second.end() == 0
        with Process(home) as third:
            async with Client(third.url) as client:
                for job in jobs:
                    done = await client.until(job, "finished", "failed")
                    assert done["state"] == "finished", done
                    assert done["totals"]["pages"] > 100
            assert third.end() == 0
        for job in jobs:
            assert written(home / "jobs" / job) == expected


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_twenty_jobs_at_once_killed_in_the_middle(tmp_path: Path) -> None:
    """Prints loop lag, API latency and memory; asserts what does not depend on the machine."""
    with DemoWeb(pages=2000, latency=0.05) as web:
        expected = await everything(web.url, tmp_path / "alone")
        home = tmp_path / "service"
        body = {"pace": {"fast": True}, "limits": {"concurrency": 12}}
        flags = ("--running", "20", "--log-level", "warning")
        memory: list[int] = []
        latencies: list[float] = []
        lags: list[float] = []
        jobs: list[str] = []
        for kill in (True, True, False):
            with Process(home, *flags) as running:
                async with Client(running.url) as client:
                    if not jobs:
                        jobs = [await client.start(web.url, **body) for _ in range(20)]
                    until = time.monotonic() + (30 if kill else 600)
                    while time.monotonic() < until:
                        began = time.monotonic()
                        counts = (await client.get("/jobs", limit=1))["counts"]
                        latencies.append(time.monotonic() - began)
                        text = await client.get("/metrics")
                        lags.append(number(text, "crawler_event_loop_lag_seconds"))
                        memory.append(resident(running.pid))
                        if counts.get("finished", 0) + counts.get("failed", 0) == 20:
                            break
                        await asyncio.sleep(0.5)
                    if kill:
                        running.kill()
                        continue
                    states = Counter(job["state"] for job in (await client.get("/jobs"))["jobs"])
                    assert states == {"finished": 20}
                    assert running.end() == 0
        for job in jobs:
            assert written(home / "jobs" / job) == expected
        report = {
            "pages": len(expected) * 20,
            "api_ms": [round(1000 * share(latencies, p), 1) for p in (0.5, 0.95, 0.99)],
            "lag_ms": [round(1000 * share(lags, p), 1) for p in (0.5, 0.95, 0.99)],
            "rss_mb_first_last_max": [memory[5] >> 20, memory[-1] >> 20, max(memory) >> 20],
        }
        print(json.dumps(report))  # noqa: T201 - what the run is for
        assert max(memory) < 1 << 30


def share(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


def number(text: str, name: str) -> float:
    return next(
        float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} ")
    )


def resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024
