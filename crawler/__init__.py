"""A concurrent web crawler and downloader: polite, exact, and crash-safe.

The packages from the bottom up; a module imports only from packages above its own line here, and no
two modules import each other (tests/test_layers.py):

    version.py      the release
    errors.py       the error tree; foreign exceptions are mapped into it once, at the border
    records.py      frozen records that every package speaks in: CrawlUrl, Page, CrawlResult …
    utils/          units, dates, background tasks, child processes, files that are no links
    config/         model (everything that can be set), loader, redaction, workdir, proxy_env
    policy/         pure decisions: urls, scope, robots_txt, retry_policy, autothrottle, trap_rules,
                    outcome (what an answer means), end_message (how a crawl ended, in words)
    interfaces.py   what the engine needs: Frontier, Fetcher, Parser, Sink
    engine/         engine.py is the loop: READ IT FIRST · robots_gate, robots_fetcher, committer,
                    lease_guard, stats, stall_watchdog, loop_monitor, suspension
    frontier/       scheduling/ (pure: who may be asked now), sqlite/, redis/, migrate/
    output/warc/    WARC records, their index, and the writer of archives
    fetch/          aiohttp: client, connector, resolver, address_guard, cookies, proxies, TLS
    parse/          bytes → links, text, records; workers/ is the pool of parse processes
    output/         what a crawl writes: jsonl, graph, body files, Markdown, uploads
    downloads/      one file's way: segments, checksums, names, progress
    bootstrap/      configuration → an open crawl, download or single fetch; the library's entry
    export/ report/ what is made of a crawl that was
    demo/           the bundled demo web and its server
    service/        http/ jobs/ results/ cluster/ monitoring/: crawls as jobs over HTTP
    bench/          `crawler bench`: variants, workloads, peers, and the report of them
    cli/            the command line: one module a command

One URL's way: `frontier.lease()` → robots_gate → fetch → parse worker → outcome → committer:
outputs append, the frontier commits one transaction with their lengths.
"""

import importlib
import warnings
from typing import TYPE_CHECKING, Any

from crawler.errors import ConfigError, CrawlerError, FatalError, FolderLocked
from crawler.records import CrawlResult, CrawlUrl, Follow, Outcome, Page, ParsedPage
from crawler.version import __version__

if TYPE_CHECKING:
    from crawler.bootstrap.crawl_setup import open_crawl
    from crawler.bootstrap.crawl_stream import crawl
    from crawler.bootstrap.download_stream import download
    from crawler.config.model import Config
    from crawler.downloads.download_request import DownloadRequest, DownloadResult

__all__ = [
    "Config", "ConfigError", "CrawlResult", "CrawlUrl", "CrawlerError", "DownloadRequest",
    "DownloadResult", "FatalError", "FolderLocked", "Follow", "Outcome", "Page", "ParsedPage",
    "__version__", "crawl", "download", "open_crawl",
]  # fmt: skip

_LATE = {
    "Config": "crawler.config.model",
    "DownloadRequest": "crawler.downloads.download_request",
    "DownloadResult": "crawler.downloads.download_request",
    "crawl": "crawler.bootstrap.crawl_stream",
    "download": "crawler.bootstrap.download_stream",
    "open_crawl": "crawler.bootstrap.crawl_setup",
}
"""What is costly to import (aiohttp's 0.2 s, asyncio) comes when it is asked for, from here."""

_OLD = {
    "Extract": "ParsedPage", "File": "DownloadResult", "HouseError": "FatalError",
    "Link": "CrawlUrl", "Occupied": "FolderLocked", "Order": "DownloadRequest",
    "Visit": "CrawlResult",
}  # fmt: skip
"""Names of the release before, which go with the next one."""


def __getattr__(name: str) -> Any:
    if name in _OLD:
        new = _OLD[name]
        message = f"crawler.{name} is now crawler.{new}; the old name goes with the next release"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return globals().get(new) or __getattr__(new)
    if name not in _LATE:
        raise AttributeError(f"module 'crawler' has no attribute {name!r}")
    return getattr(importlib.import_module(_LATE[name]), name)
