"""What all transfers of a run share: fetcher, the frontier's turns, names, progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from crawler.config.model import DownloadConfig
from crawler.downloads.content_coding import Undo
from crawler.downloads.directory_cache import DirectoryCache
from crawler.downloads.disk import Disk
from crawler.downloads.download_request import DownloadResult
from crawler.downloads.file_names import OURS, NameRegistry, template
from crawler.downloads.progress_store import ProgressStore
from crawler.downloads.segment import BUFFER, BUFFERS
from crawler.interfaces import FileFetcher, Frontier
from crawler.policy.token_bucket import TokenBucket
from crawler.policy.urls import Urls, host_key
from crawler.records import CrawlUrl

if TYPE_CHECKING:
    from typing import Protocol

    class Running(Protocol):
        """A download that is under way, as those see it who tell of it."""

        connections: int

        @property
        def name(self) -> str: ...
        @property
        def size(self) -> int | None: ...
        @property
        def received(self) -> int: ...


LENT = 1 << 40
"""Ids of leases that no queue holds begin below this, apart from those of robots.txt files."""


class DownloadContext:
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
        book: ProgressStore,
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
        self.folders = DirectoryCache(str(folder))
        self.claims = NameRegistry(self.folders.has)
        self.running: dict[str, Running] = {}
        self.results: dict[str, DownloadResult] = {}
        self.wire = 0  # bytes that came, in all
        self._named = template(rules.name) if rules.name else None
        self._numbers = {url: number for number, url in enumerate(book.orders, 1)}
        self._ids = count(LENT)
        self._rate = host_rate
        self._meters: dict[str, TokenBucket] = {}
        for url, progress in book.progress.items():
            if progress.name:
                self.claims.recall(progress.name, url)

    def hop(self, url: str, link: CrawlUrl) -> CrawlUrl:
        """A lease for a request that no queue holds."""
        return CrawlUrl(url, host_key(url), via=link.url, kind=link.kind, id=-next(self._ids))

    def came(self, number: int, url: str) -> float:
        """Count bytes; the seconds until they are paid for, where hosts have a rate."""
        self.wire += number
        if self._rate is None:
            return 0.0
        host = host_key(url)
        meter = self._meters.get(host)
        if meter is None:
            meter = self._meters[host] = TokenBucket(self._rate)
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
