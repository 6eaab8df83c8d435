"""The product, robots.txt obeyed: what politeness costs when it slows nothing down."""

from __future__ import annotations

from crawler.bench.crawl_task import CrawlTask
from crawler.bench.recorder import Recorder
from crawler.bench.variants import product


def run(task: CrawlTask, recorder: Recorder) -> None:
    product.run(task, recorder, robots=True)
