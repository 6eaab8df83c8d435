"""Workers on one Redis with other steps: `python -m crawler.bench.steps URL DIR WORKERS C STEP`

A step is one call of the server: so many links leased, so many visits settled. Larger ones save
round trips, and nobody else is served while one lasts. They are constants of the frontier (`SOME`);
here each process sets them before it crawls. Prints what came of all, and of the server's calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from redis import Redis

from crawler.bench.apart import beside
from crawler.bench.nonblocking import run_loop
from crawler.bootstrap.crawl_setup import open_crawl
from crawler.config.loader import with_settings
from crawler.config.model import Config
from crawler.frontier.redis import dispatcher, visit_results
from crawler.frontier.redis.local_server import LocalServer
from crawler.frontier.redis.redis_jobs import enlist
from crawler.parse.workers.pool import usable_cpus


class Task(msgspec.Struct, frozen=True):
    """What one worker is told, on its command line."""

    config: Config
    step: int


class Server(msgspec.Struct, frozen=True):
    """What the server says of the calls of its functions: microseconds."""

    calls: int
    busy: float
    long: float  # that one in a thousand takes, or more


def settings(url: str, server: str, folder: Path, connections: int, workers: int) -> Config:
    """As `contest.SETTINGS`, for a worker that is no command."""
    return with_settings(
        None, seeds=[url], dir=str(folder), concurrency=connections, contact="bench@example.com",
        processes=max(1, usable_cpus() // workers),
        **{
            "scope.scope": "any", "pace.fast": True, "pace.delay": 0.0, "output.report": False,
            "fetch.allow_networks": ["127.0.0.0/8"], "frontier.url": server,
        },
    )  # fmt: skip


async def work(task: Task) -> None:
    """Be a worker, to the end; how it was goes out on stdout."""
    visit_results.SOME = dispatcher.SOME = task.step
    async with open_crawl(task.config, dir=task.config.output.dir, join=True) as crawl:
        await crawl.run()
    shot = crawl.tally.snapshot()
    told = {"finish_reason": crawl.finish_reason, "pages": shot.pages, "gauges": shot.gauges}
    sys.stdout.write(msgspec.json.encode(told).decode())


def lead(url: str, folder: Path, workers: int, connections: int, step: int) -> int:
    """Start the server and the workers; the worst of their exit codes."""
    folder.mkdir(parents=True)
    with LocalServer(folder / "queue") as server:
        configs = [
            settings(url, server.url, folder / str(number), connections, workers)
            for number in range(1, workers + 1)
        ]
        asyncio.run(enlist(configs[0].frontier, "", "new"))
        code, said = beside([
            [
                sys.executable, "-m", "crawler.bench.steps",
                msgspec.json.encode(Task(config, step)).decode(),
            ]
            for config in configs
        ])  # fmt: skip
        if not code:
            told = [msgspec.json.decode(one) for one in said]
            told[0]["server"] = _asked(server)
            sys.stdout.write(msgspec.json.encode(told).decode())
    return code


def _asked(server: LocalServer) -> Server:
    with contextlib.closing(Redis.from_url(server.url)) as client:
        calls = client.info("commandstats")["cmdstat_fcall"]
        slow = client.info("latencystats")["latency_percentiles_usec_fcall"]
    return Server(int(calls["calls"]), float(calls["usec"]), float(slow["p99.9"]))


def main(arguments: Sequence[str]) -> int:
    """Five words: the one who leads. One: a worker."""
    if len(arguments) == 1:
        run_loop(work(msgspec.json.decode(arguments[0], type=Task)))
        return 0
    url, folder, workers, connections, step = arguments
    return lead(url, Path(folder), int(workers), int(connections), int(step))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
