"""Processes that each fetch and read, blocking: no lock shared, no GIL, and the most memory.

The parent alone knows what was seen, so there is nothing to guard; every URL costs a task there
and back (about 0.1 ms), and every process an interpreter (about 30 MB).
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import forkserver

from crawler.bench.blocking import BlockingClient
from crawler.bench.crawl_task import CrawlTask
from crawler.bench.reading import PageReading, ReadPage
from crawler.bench.recorder import Recorder

_client: BlockingClient
_reading: PageReading


def start(task: CrawlTask) -> None:
    """Prepare this process for fetching."""
    global _client, _reading
    _client, _reading = BlockingClient(), PageReading(task)


def visit(url: str) -> ReadPage:
    """Fetch and read one page."""
    return _reading.read(_client.get(url))


def run(task: CrawlTask, recorder: Recorder) -> None:
    """The parent hands out URLs and takes leaves in; a set of futures is all there is to track."""
    seed = PageReading(task).seed
    forkserver.set_forkserver_preload([__name__])  # imported once, shared by all
    with ProcessPoolExecutor(
        task.concurrency,
        mp_context=multiprocessing.get_context("forkserver"),
        initializer=start,
        initargs=(task,),
    ) as pool:
        # One task a process: each is up before the clock starts.
        wait([pool.submit(int) for _ in range(task.concurrency)])
        with recorder.clock():
            seen = {seed}
            under_way: set[Future[ReadPage]] = {pool.submit(visit, seed)}
            while under_way:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    page = future.result()
                    recorder.add_page(page)
                    new = [url for url in page.found if url not in seen]
                    seen.update(new)
                    under_way |= {pool.submit(visit, url) for url in new}
