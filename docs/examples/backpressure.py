"""Back-pressure: a fast producer, a slow consumer, and what lies between them.

Fetching is faster than reading, for a while or for hours. A queue without a bound takes the
difference in memory; one with a bound makes the producer wait, and the server's socket behind it.
"""

from __future__ import annotations

import asyncio

PAGES = 500


async def crawl(bound: int) -> int:
    """Pass all pages through a queue (0: no bound); the most that ever lay in it."""
    fetched: asyncio.Queue[int | None] = asyncio.Queue(bound)
    most = 0

    async def fetch() -> None:
        nonlocal most
        for page in range(PAGES):
            await asyncio.sleep(0)  # an answer came
            await fetched.put(page)
            most = max(most, fetched.qsize())
        await fetched.put(None)

    async def read() -> None:
        while await fetched.get() is not None:
            for _ in range(5):  # reading takes five times as long as fetching
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as crew:
        crew.create_task(fetch())
        crew.create_task(read())
    return most


if __name__ == "__main__":
    print("no bound:    at most", asyncio.run(crawl(0)), "pages in memory")
    print("bound of 10: at most", asyncio.run(crawl(10)), "pages in memory")
