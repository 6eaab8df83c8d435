"""The product, as `crawler crawl --fast --no-robots` runs it: everything else at its default."""

from __future__ import annotations

from crawler.bench.crawl_task import CrawlTask
from crawler.bench.nonblocking import run_loop
from crawler.bench.recorder import Recorder
from crawler.bootstrap.crawl_setup import open_crawl
from crawler.config.loader import with_settings


def run(task: CrawlTask, recorder: Recorder, *, robots: bool = False) -> None:
    run_loop(_crawl(task, recorder, robots=robots))


async def _crawl(task: CrawlTask, recorder: Recorder, *, robots: bool) -> None:
    scheme = task.seed.partition("://")[0]
    config = with_settings(
        None,
        seeds=(task.seed, *(f"{scheme}://{host}/" for host in task.hosts)),
        concurrency=task.concurrency,
        processes=task.processes,
        fast=True,
        obey=robots,
    )
    async with open_crawl(config, dir=task.out, mode="new") as crawl:
        async with recorder.watch():
            tally = await crawl.run()
        shot = tally.snapshot(hosts=0)
        recorder.set_totals(shot.visits, shot.bytes_body, shot.fetch_ms)
