"""What all transfers of a run share: fetcher, the frontier's turns, names, progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from crawler.config import DownloadConfig
from crawler.model import Link
from crawler.protocols import FileFetcher, Frontier
from crawler.rate import Meter
from crawler.transfer.book import Book
from crawler.transfer.coding import Undo
from crawler.transfer.disk import Disk
from crawler.transfer.folders import Folders
from crawler.transfer.names import OURS, Claims, template
from crawler.transfer.order import File
from crawler.transfer.segment import BUFFER, BUFFERS
from crawler.urls import Urls, host_key

if TYPE_CHECKING:
    from crawler.transfer.transfer import Transfer

LENT = 1 << 40
"""Ids of leases that no queue holds begin below this, apart from those of robots.txt files."""


class Desk:
    """One run's. `waiting` tells how many links of a host wait for their turn; `free` how many
    connections are open to anybody. `hosts` have rates of their own, in bytes a second. `undo`
    undoes content codings.
    """

    def __init__(
        self,
        rules: DownloadConfig,
        folder: Path,
        *,
        frontier: Frontier,
        fetcher: FileFetcher,
        disk: Disk,
        book: Book,
        urls: Urls,
        undo: Undo,
        waiting: Callable[[str], int],
        free: Callable[[], int],
        max_redirects: int = 10,
        host_rate: int | None = None,
        fsync: bool = False,
    ) -> None:
        self.rules = rules
        self.folder = folder
        self.frontier = frontier
        self.fetcher = fetcher
        self.disk = disk
        self.book = book
        self.urls = urls
        self.undo = undo
        self.waiting = waiting
        self.free = free
        self.max_redirects = max_redirects
        self.fsync = fsync
        self.buffer = max(64 * 1024, min(BUFFER, BUFFERS // max(1, free())))
        self.folders = Folders(str(folder))
        self.claims = Claims(self.folders.has)
        self.running: dict[str, Transfer] = {}
        self.results: dict[str, File] = {}
        self.wire = 0  # bytes that came, in all
        self._named = template(rules.name) if rules.name else None
        self._numbers = {url: number for number, url in enumerate(book.orders, 1)}
        self._ids = count(LENT)
        self._rate = host_rate
        self._meters: dict[str, Meter] = {}
        for url, progress in book.progress.items():
            if progress.name:
                self.claims.recall(progress.name, url)

    def hop(self, url: str, link: Link) -> Link:
        """A lease for a request that no queue holds."""
        return Link(url, host_key(url), via=link.url, kind=link.kind, id=-next(self._ids))

    def came(self, number: int, url: str) -> float:
        """Count bytes; the seconds until they are paid for, where hosts have a rate."""
        self.wire += number
        if self._rate is None:
            return 0.0
        host = host_key(url)
        meter = self._meters.get(host)
        if meter is None:
            meter = self._meters[host] = Meter(self._rate)
        return meter.take(number, time.monotonic())

    def place(self, name: str) -> str:
        """Where a file of that name lies."""
        return f"{self.folder}/{name}"

    def named(self, url: str, name: str) -> str:
        """A name by the template, where there is one."""
        if self._named is not None:
            name = self._named(url, name, self._numbers.get(url, 0))
        return f"{name}_" if name.casefold() == OURS else name

    def counts(self) -> Mapping[str, int]:
        """Connections of every running transfer, by URL."""
        return {url: one.connections for url, one in self.running.items()}
