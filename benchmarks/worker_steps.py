"""Workers on one Redis with other batch sizes: `benchmarks.worker_steps URL DIR WORKERS C STEP`

A step is one call of the server: so many links leased, so many visits settled. Larger ones save
round trips, but block the server while they last. They are constants of the frontier;
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

from benchmarks.divided_hosts import run_together
from crawler.bench.nonblocking import run_loop
from crawler.bootstrap.crawl_setup import open_crawl
from crawler.config.loader import with_settings
from crawler.config.model import Config
from crawler.frontier.redis import dispatcher, visit_results
from crawler.frontier.redis.local_server import LocalServer
from crawler.frontier.redis.redis_jobs import enlist
from crawler.parse.workers.pool import usable_cpus


class Task(msgspec.Struct, frozen=True):
    """The argument of a worker process."""

    config: Config
    step: int


class Server(msgspec.Struct, frozen=True):
    """The server's statistics of its function calls, in microseconds."""

    calls: int
    busy: float
    long: float  # that one in a thousand takes, or more


def settings(url: str, server: str, folder: Path, connections: int, workers: int) -> Config:
    """As `worker_trials.SETTINGS`, for a worker process."""
    return with_settings(
        None, seeds=[url], dir=str(folder), concurrency=connections, contact="bench@example.com",
        processes=max(1, usable_cpus() // workers),
        **{
            "scope.scope": "any", "pace.fast": True, "pace.delay": 0.0, "output.report": False,
            "fetch.allow_networks": ["127.0.0.0/8"], "frontier.url": server,
        },
    )  # fmt: skip


async def work(task: Task) -> None:
    """Crawl as one worker; print its result as JSON on stdout."""
    visit_results.SOME = dispatcher.SOME = task.step
    async with open_crawl(task.config, dir=task.config.output.dir, join=True) as crawl:
        await crawl.run()
    shot = crawl.tally.snapshot()
    result = {"finish_reason": crawl.finish_reason, "pages": shot.pages, "gauges": shot.gauges}
    sys.stdout.write(msgspec.json.encode(result).decode())


def lead(url: str, folder: Path, workers: int, connections: int, step: int) -> int:
    """Start the server and the workers; returns the highest exit code."""
    folder.mkdir(parents=True)
    with LocalServer(folder / "queue") as server:
        configs = [
            settings(url, server.url, folder / str(number), connections, workers)
            for number in range(1, workers + 1)
        ]
        asyncio.run(enlist(configs[0].frontier, "", "new"))
        code, outputs = run_together([
            [
                sys.executable, "-m", "benchmarks.worker_steps",
                msgspec.json.encode(Task(config, step)).decode(),
            ]
            for config in configs
        ])  # fmt: skip
        if not code:
            result = [msgspec.json.decode(one) for one in outputs]
            result[0]["server"] = _asked(server)
            sys.stdout.write(msgspec.json.encode(result).decode())
    return code


def _asked(server: LocalServer) -> Server:
    with contextlib.closing(Redis.from_url(server.url)) as client:
        calls = client.info("commandstats")["cmdstat_fcall"]
        slow = client.info("latencystats")["latency_percentiles_usec_fcall"]
    return Server(int(calls["calls"]), float(calls["usec"]), float(slow["p99.9"]))


def main(arguments: Sequence[str]) -> int:
    """Five arguments start the server and its workers; one argument runs a worker."""
    if len(arguments) == 1:
        run_loop(work(msgspec.json.decode(arguments[0], type=Task)))
        return 0
    url, folder, workers, connections, step = arguments
    return lead(url, Path(folder), int(workers), int(connections), int(step))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
