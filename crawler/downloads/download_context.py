"""What all file downloads of a run share: fetcher, frontier slots, names, progress."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from crawler.config.model import DownloadConfig
from crawler.downloads.content_coding import Decoder
from crawler.downloads.directory_cache import DirectoryCache
from crawler.downloads.disk import Disk
from crawler.downloads.download_request import DownloadResult
from crawler.downloads.file_names import STATE_FOLDER, compile_template
from crawler.downloads.name_registry import NameRegistry
from crawler.downloads.progress_store import ProgressStore
from crawler.downloads.segment import BUFFER_MAX_BYTES, BUFFERS_TOTAL_BYTES
from crawler.interfaces import FileFetcher, Frontier
from crawler.policy.token_bucket import TokenBucket
from crawler.policy.urls import Urls, host_key
from crawler.records import CrawlUrl

if TYPE_CHECKING:
    from typing import Protocol

    class Running(Protocol):
        """A download in progress, as the progress display sees it."""

        connections: int

        @property
        def name(self) -> str: ...
        @property
        def size(self) -> int | None: ...
        @property
        def received(self) -> int: ...


FIRST_UNQUEUED_ID = 1 << 40
"""Ids of links that are in no queue are negative and begin below this, apart from those of
robots.txt requests."""


class DownloadContext:
    """The shared state of one run.

    `queued_for(host)` is the number of links that wait for that host; `free_connections()` is the
    number of connections not in use. `host_rate` limits each host, in bytes per second; None: no
    limit. `decode` decodes content codings. `wire` counts all bytes received.
    """

    def __init__(
        self,
        settings: DownloadConfig,
        folder: Path,
        *,
        frontier: Frontier,
        fetcher: FileFetcher,
        disk: Disk,
        store: ProgressStore,
        urls: Urls,
        decode: Decoder,
        queued_for: Callable[[str], int],
        free_connections: Callable[[], int],
        max_redirects: int = 10,
        host_rate: int | None = None,
        fsync: bool = False,
    ) -> None:
        self.settings = settings
        self.folder = folder
        self.frontier = frontier
        self.fetcher = fetcher
        self.disk = disk
        self.store = store
        self.urls = urls
        self.decode = decode
        self.queued_for = queued_for
        self.free_connections = free_connections
        self.max_redirects = max_redirects
        self.fsync = fsync
        self.buffer_bytes = max(
            64 * 1024, min(BUFFER_MAX_BYTES, BUFFERS_TOTAL_BYTES // max(1, free_connections()))
        )
        self.directory = DirectoryCache(str(folder))
        self.names = NameRegistry(self.directory.exists)
        self.running: dict[str, Running] = {}
        self.results: dict[str, DownloadResult] = {}
        self.wire = 0
        self._template = compile_template(settings.name) if settings.name else None
        self._numbers = {url: number for number, url in enumerate(store.requests, 1)}
        self._ids = count(FIRST_UNQUEUED_ID)
        self._host_rate = host_rate
        self._buckets: dict[str, TokenBucket] = {}
        for url, progress in store.progress.items():
            if progress.name:
                self.names.restore(progress.name, url)

    def unqueued_link(self, url: str, link: CrawlUrl) -> CrawlUrl:
        """A link for a request to `url` that is in no queue, made on behalf of `link`."""
        return CrawlUrl(url, host_key(url), via=link.url, kind=link.kind, id=-next(self._ids))

    def on_bytes(self, number: int, url: str) -> float:
        """Count received bytes; returns the seconds to wait for the host's rate limit."""
        self.wire += number
        if self._host_rate is None:
            return 0.0
        host = host_key(url)
        bucket = self._buckets.get(host)
        if bucket is None:
            bucket = self._buckets[host] = TokenBucket(self._host_rate)
        return bucket.take(number, time.monotonic())

    def path_of(self, name: str) -> str:
        """The path of a file of that name."""
        return f"{self.folder}/{name}"

    def apply_template(self, url: str, name: str) -> str:
        """The name from the `-o` template, or `name` without one."""
        if self._template is not None:
            name = self._template(url, name, self._numbers.get(url, 0))
        return f"{name}_" if name.casefold() == STATE_FOLDER else name
