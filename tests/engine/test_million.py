"""A frontier of a million links: bounded memory, and the last page as cheap as the first.

The small version runs always; `make test-million` runs the full one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, json, re, sys, time
from crawler.config.model import PaceConfig
from crawler.frontier.sqlite.sqlite_frontier import SqliteFrontier
from crawler.records import Outcome, CrawlResult
from crawler.policy.urls import fingerprint

pages, links, hosts, path = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]

def found(number):
    host = f"h{number % hosts}.test"
    url = f"http://{host}/section/page-{number}.html"
    return url, host, fingerprint(url, host), "page", ""

async def main():
    costs, number = [], 250
    async with SqliteFrontier(path, PaceConfig(fast=True), concurrency=250, robots=False) as queue:
        await queue.add([found(n) for n in range(250)])
        step = max(1, pages // 10)
        cpu = time.process_time()
        for done in range(0, pages, 250):
            leased = []
            while len(leased) < 250 and (not leased or queue.pending > len(leased)):
                leased.append(await queue.lease())
            visits = []
            for link in leased:
                queue.release(link)
                children = tuple(found(n) for n in range(number, number + links))
                number += links
                visits.append(CrawlResult(link, Outcome.DONE, found=children))
            await queue.settle(visits, {})
            if (done + 250) % step == 0:
                costs.append(time.process_time() - cpu)
                cpu = time.process_time()
        counts = await queue.counts()
    # Not ru_maxrss: that starts at the size of whoever forked this process.
    rss = int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) // 1024
    print(json.dumps({"seen": counts.seen, "done": counts.done, "rss_mb": rss, "costs": costs}))

asyncio.run(main())
"""


def run(pages: int, links: int, hosts: int, path: Path) -> dict[str, object]:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(pages), str(links), str(hosts), str(path)],
        stdout=subprocess.PIPE,
        check=True,
        timeout=1200,
    )
    report: dict[str, object] = json.loads(ran.stdout)
    return report


def test_a_frontier_stays_small_in_memory(tmp_path: Path) -> None:
    report = run(1000, 50, 20, tmp_path / "frontier.db")
    assert report["done"] == 1000
    assert int(str(report["seen"])) == 1000 * 50 + 250
    assert int(str(report["rss_mb"])) < 150


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_million_links(tmp_path: Path) -> None:
    """RSS below 300 MB; the last tenth costs at most half as much again as the first.

    250 links are in hand, about as many as a crawl has workers by default.
    """
    report = run(20_000, 50, 200, tmp_path / "frontier.db")
    sys.stderr.write(json.dumps(report) + "\n")
    assert int(str(report["seen"])) == 1_000_250
    assert int(str(report["rss_mb"])) < 300
    costs = report["costs"]
    assert isinstance(costs, list)
    assert costs[-1] < 1.5 * costs[0]
