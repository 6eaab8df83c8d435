"""One event loop moves the bytes, a process pool reads them: the product's shape, nothing durable.

    todo ──▶ N tasks fetch ──▶ fetched ──▶ one feeder a process: a batch there, its links back

What the product adds (a frontier on disk, retries, limits, politeness, records) is the difference
between this row and its own: the price of a crawl that can be killed.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from crawler.bench.crawl_task import CrawlTask
from crawler.bench.nonblocking import AsyncClient, run_loop
from crawler.bench.reading import BenchResponse, PageReading
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
        run_loop(_crawl(task, recorder, pool))


async def _crawl(task: CrawlTask, recorder: Recorder, pool: ProcessPoolExecutor) -> None:
    loop = asyncio.get_running_loop()
    seed = PageReading(task).seed
    todo: asyncio.Queue[str] = asyncio.Queue()
    # Bounded: when the readers cannot follow, the fetching tasks wait in `put` (back-pressure).
    fetched: asyncio.Queue[BenchResponse] = asyncio.Queue(4 * reader_process.BATCH * task.processes)
    seen = {seed}

    async def fetch(client: AsyncClient) -> None:
        while True:
            await fetched.put(await client.get(await todo.get()))

    async def feed() -> None:
        while True:
            batch = [await fetched.get()]
            fair = min(reader_process.BATCH, fetched.qsize() // task.processes)
            batch += [fetched.get_nowait() for _ in range(fair)]
            for page in await loop.run_in_executor(pool, reader_process.read, batch):
                recorder.add_page(page)
                for url in page.found:
                    if url not in seen:
                        seen.add(url)
                        todo.put_nowait(url)
                todo.task_done()

    async with recorder.watch(), AsyncClient() as client, asyncio.TaskGroup() as group:
        todo.put_nowait(seed)
        workers = [group.create_task(fetch(client)) for _ in range(task.concurrency)]
        # Two a process: while it reads one batch, the next one is on its way.
        workers += [group.create_task(feed()) for _ in range(2 * task.processes)]
        await todo.join()
        for worker in workers:
            worker.cancel()
