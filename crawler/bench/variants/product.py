"""The product, as `crawler crawl --fast --no-robots` runs it: everything else at its default."""

from __future__ import annotations

from crawler.bench.haul import Haul
from crawler.bench.job import Job
from crawler.bench.nonblocking import run_loop
from crawler.build import open_crawl
from crawler.settings import with_settings


def run(job: Job, haul: Haul, *, robots: bool = False) -> None:
    run_loop(_crawl(job, haul, robots=robots))


async def _crawl(job: Job, haul: Haul, *, robots: bool) -> None:
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
