"""The product, as `crawler crawl --fast --no-robots` runs it: everything else at its default."""

from __future__ import annotations

from crawler.bench.crawl_task import CrawlTask
from crawler.bench.nonblocking import run_loop
from crawler.bench.recorder import Recorder
from crawler.bootstrap.crawl_setup import open_crawl
from crawler.config.loader import with_settings


def run(job: CrawlTask, haul: Recorder, *, robots: bool = False) -> None:
    run_loop(_crawl(job, haul, robots=robots))


async def _crawl(job: CrawlTask, haul: Recorder, *, robots: bool) -> None:
    scheme = job.seed.partition("://")[0]
    config = with_settings(
        None,
        seeds=(job.seed, *(f"{scheme}://{host}/" for host in job.hosts)),
        concurrency=job.concurrency,
        processes=job.processes,
        fast=True,
        obey=robots,
    )
    async with open_crawl(config, dir=job.out, mode="new") as crawl:
        async with haul.watch():
            tally = await crawl.run()
        shot = tally.snapshot(hosts=0)
        haul.take(shot.visits, shot.bytes_body, shot.fetch_ms)
