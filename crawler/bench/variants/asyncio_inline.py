"""One event loop, a task for each request that may be under way; pages are read in the loop.

There is no lock: a task gives way only where it says `await`, and between "not seen yet" and "seen
from now on" nobody does. The cost: while a page is parsed, no other page makes progress.
"""

from __future__ import annotations

import asyncio

from crawler.bench.crawl_task import CrawlTask
from crawler.bench.nonblocking import AsyncClient, run_loop
from crawler.bench.reading import PageReading
from crawler.bench.recorder import Recorder


def run(task: CrawlTask, recorder: Recorder) -> None:
    run_loop(_crawl(task, recorder))


async def _crawl(task: CrawlTask, recorder: Recorder) -> None:
    reading = PageReading(task)
    todo: asyncio.Queue[str] = asyncio.Queue()
    seen = {reading.seed}

    async def work(client: AsyncClient) -> None:
        while True:
            answer = await client.get(await todo.get())
            page = reading.read(answer)
            recorder.add_page(page)
            for url in page.found:
                if url not in seen:
                    seen.add(url)
                    todo.put_nowait(url)
            todo.task_done()

    async with recorder.watch(), AsyncClient() as client, asyncio.TaskGroup() as group:
        todo.put_nowait(reading.seed)
        workers = [group.create_task(work(client)) for _ in range(task.concurrency)]
        await todo.join()
        for worker in workers:
            worker.cancel()
