"""A bare fetch loop: a fixed list, nothing read or followed. No crawler on aiohttp is faster."""

from __future__ import annotations

from asyncio import TaskGroup
from collections.abc import Iterator
from pathlib import Path

from crawler.bench.crawl_task import CrawlTask
from crawler.bench.nonblocking import AsyncClient, run_loop
from crawler.bench.reading import ReadPage
from crawler.bench.recorder import Recorder


def run(task: CrawlTask, recorder: Recorder) -> None:
    run_loop(_fetch(task, recorder))


async def _fetch(task: CrawlTask, recorder: Recorder) -> None:
    assert task.urls is not None
    todo = iter(Path(task.urls).read_text("utf-8").split())

    async def work(client: AsyncClient, todo: Iterator[str]) -> None:
        for url in todo:
            answer = await client.get(url)
            recorder.add_page(
                ReadPage(url, answer.status, "", 0, (), len(answer.body), answer.ms, 0.0)
            )

    async with recorder.watch(), AsyncClient() as client, TaskGroup() as group:
        for _ in range(task.concurrency):
            group.create_task(work(client, todo))
