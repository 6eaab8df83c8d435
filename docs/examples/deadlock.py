"""A deadlock that crawlers make: workers that fill the queue which they empty. Found, then cured.

A page has more links than the bounded queue has room. Its worker waits in `put` for room, and so do
all the others: nobody is left to `get`. Nothing fails, nothing is logged, no CPU is used.

Found: everything that waits has a deadline, and when it passes the stacks say who waits for what.
Cured: the queue that workers fill for themselves has no bound (in the product it lies on disk);
what bounds memory is the number of workers.
"""

from __future__ import annotations

import asyncio
import io

LINKS, WORKERS = 8, 3


async def crawl(room: int, patience: float) -> str:
    """Visit a tree of pages through a queue with so much room (0: no bound); what came of it."""
    todo: asyncio.Queue[int] = asyncio.Queue(room)
    visited = 0

    async def work() -> None:
        nonlocal visited
        while True:
            depth = await todo.get()
            visited += 1
            for _ in range(LINKS if depth < 2 else 0):
                await todo.put(depth + 1)
            todo.task_done()

    workers = [asyncio.create_task(work(), name=f"worker {n}") for n in range(WORKERS)]
    try:
        async with asyncio.timeout(patience):
            await todo.put(0)
            await todo.join()
    except TimeoutError:
        return f"stuck after {visited} pages:\n{stacks(workers)}"
    else:
        return f"finished: {visited} pages"
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def stacks(tasks: list[asyncio.Task[None]]) -> str:
    """Where each task waits."""
    told = io.StringIO()
    for task in tasks:
        task.print_stack(file=told)
    return told.getvalue()


if __name__ == "__main__":
    print("bounded:", asyncio.run(crawl(room=5, patience=0.5)))
    print("no bound:", asyncio.run(crawl(room=0, patience=30)))
