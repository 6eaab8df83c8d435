"""The same crawl in several ways. Each module is one way, short enough to be read in a sitting.

All share the rules (`crawler.policy.scope`, `crawler.policy.urls`) and the reader; what differs is
who waits, who works and who may touch what. None retries, paces or survives a crash:
the product does.
"""

from __future__ import annotations

from typing import Final

import msgspec


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """`module` has `run(task, recorder)`. `widest`: the highest concurrency that is tried."""

    name: str
    module: str
    title: str  # what it is, in a line
    parses_apart: bool = False  # pages are read in processes of their own
    one_at_a_time: bool = False
    widest: int = 10_000
    loop: bool = False  # there is an event loop
    parsers: bool = True  # can be run with any parser


VARIANTS: Final = {
    one.name: one
    for one in (
        Variant(
            name="sequential", module="sequential", one_at_a_time=True,
            title="one request after another, no concurrency at all",
        ),
        Variant(
            name="threads", module="threads",
            title="a ThreadPoolExecutor, a queue.Queue and a Lock; pages read in the threads",
        ),
        Variant(
            name="threads+pool", module="threads_pool", parses_apart=True,
            title="the same threads fetch; a process pool reads, in batches",
        ),
        Variant(
            name="processes", module="processes", widest=64,
            title="processes that each fetch and read, blocking",
        ),
        Variant(
            name="asyncio", module="asyncio_inline", loop=True,
            title="one event loop; pages read in it",
        ),
        Variant(
            name="asyncio+pool", module="asyncio_pool", loop=True, parses_apart=True,
            title="one event loop; a process pool reads, in batches; nothing survives a crash",
        ),
        Variant(
            name="crawler", module="product", loop=True, parses_apart=True, parsers=False,
            title="this project: the same shape with a durable frontier, retries, limits, records",
        ),
        Variant(
            name="crawler+robots", module="product_robots", loop=True, parses_apart=True,
            parsers=False, title="this project, robots.txt obeyed as by default",
        ),
        Variant(
            name="threads-nogil", module="threads",
            title="the threads again, in an interpreter without a global lock",
        ),
        Variant(
            name="limit", module="limit", loop=True, parsers=False,
            title="aiohttp alone: a list of URLs fetched and thrown away",
        ),
    )
}  # fmt: skip
