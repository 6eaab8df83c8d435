"""Memory of Redis per URL: URLs are added through the frontier, then some are finished."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec
from redis import asyncio as client

from crawler.config.model import FrontierConfig, PaceConfig
from crawler.frontier.redis.local_server import LocalServer
from crawler.frontier.redis.redis_frontier import RedisFrontier
from crawler.policy.urls import fingerprint, host_key
from crawler.records import CrawlResult, Kind, Outcome, Outlink

BATCH: Final = 10_000  # URLs in one call of `add`
AT_A_TIME: Final = 4  # such calls under way
WIDE: Final = 512  # links on lease, settled together
LONG: Final = 60  # characters of a URL


class QueueMemory(msgspec.Struct, frozen=True):
    """Bytes of `used_memory`, seconds, and numbers of URLs."""

    version: str
    urls: int
    hosts: int
    empty: int
    pending: int
    add_seconds: float
    finished: int
    after: int
    finish_seconds: float
    server_cpu: float  # seconds, of all of it
    host: float  # bytes of one that was met, taken alone

    @property
    def each_pending(self) -> float:
        """Bytes of a URL that waits, the seen one included; its host is not."""
        return (self.pending - self.empty - self.hosts * self.host) / self.urls

    @property
    def each_finished(self) -> float:
        """Bytes of one that is finished: what is left of what it was."""
        freed = (self.pending - self.after) / self.finished if self.finished else 0.0
        return self.each_pending - freed


async def measure_memory(urls: int, hosts: int, finish: int) -> QueueMemory:
    """Start a server, fill it, measure. Raises ConfigError, FrontierError."""
    with TemporaryDirectory(prefix="bench-queue-") as folder, LocalServer(Path(folder)) as server:
        async with client.Redis.from_url(server.url) as redis:
            settings = FrontierConfig(url=server.url, job="bench", lease=600.0)
            pace = PaceConfig(fast=True)
            queue = RedisFrontier(settings, pace, concurrency=WIDE, robots=False, worker="bench")
            async with queue:
                # The file would be as large as the data and is no part of it.
                await redis.config_set("appendonly", "no")
                empty = await _used(redis)
                few = min(hosts, urls)
                await queue.add([outlink(number, few) for number in range(few)])
                one_each = await _used(redis)
                began = time.monotonic()
                await _fill(queue, range(few, urls), few)
                filled, pending = time.monotonic() - began, await _used(redis)
                began = time.monotonic()
                finished = await _finish(queue, min(finish, urls))
                done, after = time.monotonic() - began, await _used(redis)
                info: dict[str, Any] = await redis.info()
                # The hosts' own share: their first URL each, less what a later one costs.
                later = (pending - one_each) / max(1, urls - few)
                host = max(0.0, (one_each - empty) / few - later) if urls > few else 0.0
    return QueueMemory(
        version=f"{info.get('server_name', 'redis')} "
        f"{info.get('valkey_version') or info['redis_version']}",
        urls=urls, hosts=few, empty=empty, pending=pending, add_seconds=filled,
        finished=finished, after=after, finish_seconds=done,
        server_cpu=float(info["used_cpu_user"]) + float(info["used_cpu_sys"]), host=host,
    )  # fmt: skip


def outlink(number: int, hosts: int) -> Outlink:
    """A link as a page yields it, of a common length."""
    start = f"https://host-{number % hosts}.example/"
    url = start + f"{number:x}".rjust(LONG - len(start), "p")
    host = host_key(url)
    return url, host, fingerprint(url, host), Kind.PAGE.value, ""


def table(memory: QueueMemory) -> str:
    """In Markdown."""
    rows = [
        ("a pending URL, the seen one included", f"{memory.each_pending:.1f} bytes"),
        (
            "a seen URL, finished, with its share of its host's record",
            f"{memory.each_finished:.1f} bytes",
        ),
        ("a host with a queue", f"{memory.host:,.0f} bytes"),
        ("in use, all pending", f"{memory.pending / 1e6:,.0f} MB"),
        (f"in use, {memory.finished:,} of them finished", f"{memory.after / 1e6:,.0f} MB"),
        ("added", f"{memory.urls / max(memory.add_seconds, 1e-9):,.0f} a second"),
        (
            "leased and settled",
            f"{memory.finished / max(memory.finish_seconds, 1e-9):,.0f} a second",
        ),
        ("CPU of the server, all that", f"{memory.server_cpu:,.1f} s"),
    ]
    head = (
        f"\n{memory.version}: {memory.urls:,} URLs of {LONG} characters on {memory.hosts:,} hosts, "
        "`used_memory`.\n\n| | |\n|---|--:|\n"
    )
    return head + "".join(f"| {name} | {text} |\n" for name, text in rows)


async def _used(redis: Any) -> int:
    return int((await redis.info("memory"))["used_memory"])


async def _fill(queue: RedisFrontier, numbers: range, hosts: int) -> None:
    batches: Iterator[range] = (
        numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH)
    )

    async def some() -> None:
        for batch in batches:  # one iterator for all: each takes the next
            await queue.add([outlink(number, hosts) for number in batch])

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_A_TIME):
            group.create_task(some())


async def _finish(queue: RedisFrontier, number: int) -> int:
    """Lease and settle so many; how many it were."""
    done = 0
    while done < number:
        asked = [queue.lease() for _ in range(min(WIDE, number - done))]
        links = [link for link in await asyncio.gather(*asked) if link is not None]
        if not links:
            break
        for link in links:
            queue.release(link)
        await queue.settle([CrawlResult(link, Outcome.DONE) for link in links], {})
        done += len(links)
    return done
