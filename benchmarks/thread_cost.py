"""CPU time per page of each thread of a crawl: `python -m benchmarks.thread_cost URL OUT`

CPU time comes from the kernel's scheduler, in nanoseconds (/proc/PID/task/TID/schedstat, Linux),
between the first lease and the last: other work on the machine makes a crawl slower but hardly
more expensive. Prints one JSON object with milliseconds per page. To measure another tree:
`PYTHONPATH=TREE:. python -P -m benchmarks.thread_cost URL OUT`.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import msgspec
import psutil

from crawler.bench.nonblocking import run_loop
from crawler.bootstrap.crawl_setup import open_crawl
from crawler.config.loader import with_settings


def spent() -> Counter[str]:
    """Nanoseconds on a CPU so far: of the loop, of SQLite's thread, of others, of children."""
    found: Counter[str] = Counter()
    me = psutil.Process()
    for thread in threading.enumerate():
        name = "others"
        if thread is threading.main_thread():
            name = "loop"
        elif thread.name.startswith("frontier"):
            name = "frontier"
        found[name] += _of(me.pid, thread.native_id)
    for child in me.children(recursive=True):
        found["children"] += sum(_of(child.pid, task.id) for task in child.threads())
    return found


def _of(process: int, thread: int | None) -> int:
    try:
        return int(Path(f"/proc/{process}/task/{thread}/schedstat").read_text("ascii").split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return 0  # it has ended


async def measure(url: str, out: str, concurrency: int) -> dict[str, float]:
    """Crawl a site, without pacing and robots.txt, and the milliseconds of each a page."""
    config = with_settings(None, seeds=(url,), concurrency=concurrency, fast=True, obey=False)
    async with open_crawl(config, dir=out, mode="new") as crawl:
        gc.collect()  # as the command line does (decision 0060)
        gc.freeze()
        gc.set_threshold(25_000, 20, 100)
        before, began = spent(), time.monotonic()
        pages = max(1, (await crawl.run()).pages)
        after, wall = spent(), time.monotonic() - began
    costs = {name: (after[name] - before[name]) / 1e6 / pages for name in after}
    costs["process"] = sum(costs.values()) - costs.get("children", 0.0)
    rounded = {name: round(cost, 4) for name, cost in costs.items()}
    return {**rounded, "pages": pages, "pages_per_second": round(pages / wall, 1)}


def main(url: str, out: str, concurrency: str = "64") -> None:
    """The command line."""

    async def report() -> None:
        costs = await measure(url, out, int(concurrency))
        sys.stdout.write(msgspec.json.encode(costs).decode() + "\n")

    run_loop(report())


if __name__ == "__main__":
    main(*sys.argv[1:])
