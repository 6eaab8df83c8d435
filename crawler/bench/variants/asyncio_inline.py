"""One event loop, a task for each request that may be under way; pages are read in the loop.

There is no lock: a task gives way only where it says `await`, and between "not seen yet" and "seen
from now on" nobody does. The price: while a page is read, no byte of any other is moved.
"""

from __future__ import annotations

import asyncio

from crawler.bench.crawl_task import CrawlTask
from crawler.bench.nonblocking import AsyncClient, run_loop
from crawler.bench.reading import PageReading
from crawler.bench.recorder import Recorder


def run(job: CrawlTask, haul: Recorder) -> None:
    run_loop(_crawl(job, haul))


async def _crawl(job: CrawlTask, haul: Recorder) -> None:
    reading = PageReading(job)
    todo: asyncio.Queue[str] = asyncio.Queue()
    seen = {reading.seed}

    async def work(client: AsyncClient) -> None:
        while True:
            answer = await client.get(await todo.get())
            leaf = reading.read(answer)
            haul.keep(leaf)
            for url in leaf.found:
                if url not in seen:
                    seen.add(url)
                    todo.put_nowait(url)
            todo.task_done()

    async with haul.watch(), AsyncClient() as client, asyncio.TaskGroup() as crew:
        todo.put_nowait(reading.seed)
        workers = [crew.create_task(work(client)) for _ in range(job.concurrency)]
        await todo.join()
        for worker in workers:
            worker.cancel()
