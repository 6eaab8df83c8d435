"""One event loop, a task for each request that may be under way; pages are read in the loop.

There is no lock: a task gives way only where it says `await`, and between "not seen yet" and "seen
from now on" nobody does. The price: while a page is read, no byte of any other is moved.
"""

from __future__ import annotations

import asyncio

from crawler.bench.haul import Haul
from crawler.bench.job import Job
from crawler.bench.nonblocking import Client, run_loop
from crawler.bench.reading import Reading


def run(job: Job, haul: Haul) -> None:
    run_loop(_crawl(job, haul))


async def _crawl(job: Job, haul: Haul) -> None:
    reading = Reading(job)
    todo: asyncio.Queue[str] = asyncio.Queue()
    seen = {reading.seed}

    async def work(client: Client) -> None:
        while True:
            answer = await client.get(await todo.get())
            leaf = reading.read(answer)
            haul.keep(leaf)
            for url in leaf.found:
                if url not in seen:
                    seen.add(url)
                    todo.put_nowait(url)
            todo.task_done()

    async with haul.watch(), Client() as client, asyncio.TaskGroup() as crew:
        todo.put_nowait(reading.seed)
        workers = [crew.create_task(work(client)) for _ in range(job.concurrency)]
        await todo.join()
        for worker in workers:
            worker.cancel()
