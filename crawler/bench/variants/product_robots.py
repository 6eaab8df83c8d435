"""The product, robots.txt obeyed: what politeness costs when it slows nothing down."""

from __future__ import annotations

from crawler.bench.haul import Haul
from crawler.bench.job import Job
from crawler.bench.variants import product


def run(job: Job, haul: Haul) -> None:
    product.run(job, haul, robots=True)
