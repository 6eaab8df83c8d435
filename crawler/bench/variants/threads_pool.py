"""Threads fetch, processes read: the GIL is held only to move bytes.

    todo ──▶ N threads fetch ──▶ fetched ──▶ one feeder a process: a batch there, its links back

Both queues matter. `fetched` is bounded: when the readers cannot follow, the fetching threads wait
in `put`, and memory stays what it is (back-pressure).
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from queue import Empty, Queue
from threading import Lock

from crawler.bench.blocking import BlockingClient
from crawler.bench.crawl_task import CrawlTask
from crawler.bench.reading import BenchResponse, PageReading, ReadPage
from crawler.bench.recorder import Recorder
from crawler.bench.variants import reader_process


def run(task: CrawlTask, recorder: Recorder) -> None:
    with ProcessPoolExecutor(
        task.processes,
        mp_context=multiprocessing.get_context("forkserver"),
        initializer=reader_process.start,
        initargs=(task,),
    ) as pool:
        for started in [pool.submit(reader_process.ready) for _ in range(task.processes)]:
            started.result()
        with recorder.clock():
            ThreadPoolCrawl(task, recorder, pool).crawl(PageReading(task).seed)


class ThreadPoolCrawl:
    """A URL is `task_done` only when its page was read and its links were queued."""

    def __init__(self, task: CrawlTask, recorder: Recorder, pool: ProcessPoolExecutor) -> None:
        self.task, self.recorder, self.pool = task, recorder, pool
        self.todo: Queue[str | None] = Queue()
        self.fetched: Queue[BenchResponse | None] = Queue(4 * reader_process.BATCH * task.processes)
        self.seen: set[str] = set()
        self.lock = Lock()
        self.failures: list[Exception] = []

    def crawl(self, seed: str) -> None:
        fetchers, feeders = self.task.concurrency, self.task.processes
        with ThreadPoolExecutor(fetchers + feeders) as threads:
            for work in [self.fetch] * fetchers + [self.feed] * feeders:
                threads.submit(work)
            self.queue((seed,))
            self.todo.join()
            for _ in range(fetchers):
                self.todo.put(None)
            for _ in range(feeders):
                self.fetched.put(None)
        if self.failures:
            raise ExceptionGroup("pages failed", self.failures)

    def fetch(self) -> None:
        with BlockingClient() as client:
            while (url := self.todo.get()) is not None:
                try:
                    self.fetched.put(client.get(url))
                except Exception as error:  # noqa: BLE001 - told at the end, else it were lost
                    self.failures.append(error)
                    self.todo.task_done()

    def feed(self) -> None:
        while (first := self.fetched.get()) is not None:
            batch = [first, *self.waiting()]
            try:
                for page in self.pool.submit(reader_process.read, batch).result():
                    self.enter(page)
            except Exception as error:  # noqa: BLE001 - as above
                self.failures.append(error)
            finally:
                for _ in batch:
                    self.todo.task_done()

    def waiting(self) -> list[BenchResponse]:
        """What else is there now; a fair share of it, so that no process idles."""
        more: list[BenchResponse] = []
        most = min(reader_process.BATCH, self.fetched.qsize() // self.task.processes)
        try:
            while len(more) < most:
                answer = self.fetched.get_nowait()
                assert answer is not None, "the end is told only when nothing is under way"
                more.append(answer)
        except Empty:
            pass  # another feeder was faster
        return more

    def enter(self, page: ReadPage) -> None:
        with self.lock:
            self.recorder.add_page(page)
        self.queue(page.found)

    def queue(self, found: tuple[str, ...]) -> None:
        with self.lock:
            new = [url for url in found if url not in self.seen]
            self.seen.update(new)
        for url in new:
            self.todo.put(url)
