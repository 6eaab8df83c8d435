"""Threads: a ThreadPoolExecutor, a queue.Queue, and a Lock on what has been seen.

The Lock guards a pair of steps: "not seen yet" and "seen from now on". Without it two threads can
both find a URL new (docs/concurrency.md shows it happen). It guards the recorder too.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from threading import Lock

from crawler.bench.blocking import BlockingClient
from crawler.bench.crawl_task import CrawlTask
from crawler.bench.reading import PageReading
from crawler.bench.recorder import Recorder


def run(task: CrawlTask, recorder: Recorder) -> None:
    """`Queue.join` knows the end: as many `task_done` as `put`, and each put precedes its done."""
    reading = PageReading(task)
    todo: Queue[str | None] = Queue()
    seen, lock = {reading.seed}, Lock()
    failures: list[Exception] = []

    def work() -> None:
        with BlockingClient() as client:
            while (url := todo.get()) is not None:
                try:
                    visit(client, url)
                except Exception as error:  # noqa: BLE001 - told below; here it would only be lost
                    failures.append(error)
                finally:
                    todo.task_done()

    def visit(client: BlockingClient, url: str) -> None:
        page = reading.read(client.get(url))
        with lock:
            recorder.add_page(page)
            new = [found for found in page.found if found not in seen]
            seen.update(new)
        for found in new:
            todo.put(found)

    with recorder.clock(), ThreadPoolExecutor(task.concurrency) as threads:
        for _ in range(task.concurrency):
            threads.submit(work)
        todo.put(reading.seed)
        todo.join()
        for _ in range(task.concurrency):
            todo.put(None)
    if failures:
        raise ExceptionGroup("pages failed", failures)
