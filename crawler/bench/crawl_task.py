"""One crawl to be measured, and what was measured inside it. Plain records that travel as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec

ParserName = Literal["turbohtml", "lexbor", "lxml", "soup-lxml", "soup-html"]

OWN: Final[ParserName] = "turbohtml"
"""The product's parser; a row that does not name one was read by it."""


class CrawlTask(msgspec.Struct, frozen=True, kw_only=True):
    """What a variant is asked to do: crawl everything on the seed's hosts, write a line a page.

    `concurrency` is the number of requests that may be under way; `processes` that of the parse
    processes, for those who have any. `hosts` are the host keys that belong to the crawl.
    """

    variant: str
    seed: str
    out: str  # the folder it may write to
    hosts: tuple[str, ...] = ()  # none: the seed's
    concurrency: int = 64
    parser: ParserName = OWN
    processes: int = 2
    urls: str | None = None  # a file with a URL a line, for the limit that follows no links

    @property
    def pages(self) -> Path:
        """Where the lines go."""
        return Path(self.out) / "pages.jsonl"

    @property
    def inside(self) -> Path:
        """Where what was measured goes."""
        return Path(self.out) / "inside.json"


class InnerMeasures(msgspec.Struct, frozen=True, kw_only=True):
    """What a crawl measured of itself, between its first request and its last record.

    Times in seconds, of the whole process tree; latencies in milliseconds. `parse_cpu` is what
    reading pages took of `user` and `system`. `lag_ms` is how late the event loop woke; None:
    there is no loop.
    """

    wall: float
    user: float
    system: float
    parse_cpu: float
    pages: int
    bytes_body: int
    fetch_ms: tuple[float, float, float]  # p50, p95, p99
    lag_ms: tuple[float, float, float] | None = None  # p50, p99, max
    tasks: int = 0  # most asyncio tasks at a time
