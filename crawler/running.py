"""An open crawl as those see it who run it for somebody: the command line and the service."""

from __future__ import annotations

from typing import Protocol

from crawler.model import Counts
from crawler.pace import HostPace
from crawler.tally import Tally
from crawler.waits import Wait


class Counted(Protocol):
    """What is asked of its frontier."""

    async def counts(self) -> Counts: ...
    def paces(self, most: int = ...) -> list[HostPace]: ...
    async def waits(self, most: int = ...) -> list[Wait]: ...


class Running(Protocol):
    """What is asked of an open crawl; `crawler.crawl.Crawl` is one."""

    @property
    def tally(self) -> Tally: ...
    @property
    def finish_reason(self) -> str: ...
    @property
    def frontier(self) -> Counted: ...
    async def run(self) -> Tally: ...
    def stop(self, reason: str = ...) -> None: ...
    def abort(self) -> None: ...
