"""One request after another. What everything else is measured against."""

from __future__ import annotations

from collections import deque

from crawler.bench.blocking import BlockingClient
from crawler.bench.crawl_task import CrawlTask
from crawler.bench.reading import PageReading
from crawler.bench.recorder import Recorder


def run(task: CrawlTask, recorder: Recorder) -> None:
    """Breadth-first, with a list of what to do and a set of what was seen."""
    reading = PageReading(task)
    todo, seen = deque([reading.seed]), {reading.seed}
    with recorder.clock(), BlockingClient() as client:
        while todo:
            page = reading.read(client.get(todo.popleft()))
            recorder.add_page(page)
            for url in page.found:
                if url not in seen:
                    seen.add(url)
                    todo.append(url)
