"""What the command line and the service use of an open crawl."""

from __future__ import annotations

from typing import Protocol

from crawler.engine.stats import StatsCollector
from crawler.policy.autothrottle import HostPace
from crawler.policy.waits import Wait
from crawler.records import Counts


class CountedFrontier(Protocol):
    """What is asked of its frontier."""

    async def counts(self) -> Counts: ...
    def paces(self, most: int = ...) -> list[HostPace]: ...
    async def waits(self, most: int = ...) -> list[Wait]: ...


class RunningCrawl(Protocol):
    """What is asked of an open crawl; `crawler.crawl.Crawl` is one."""

    @property
    def tally(self) -> StatsCollector: ...
    @property
    def finish_reason(self) -> str: ...
    @property
    def frontier(self) -> CountedFrontier: ...
    async def run(self) -> StatsCollector: ...
    def stop(self, reason: str = ...) -> None: ...
    def abort(self) -> None: ...
