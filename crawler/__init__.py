"""A concurrent web crawler and downloader: polite, exact, and impossible to make lose a page.

The house, bottom up; a file imports only from lower floors (tests/test_floors.py):

    0  model errors background                  words: frozen records; work beside a block
    1  urls config scope robots pace retry …    rules: pure decisions; charts
    2  protocols tally verdict                  seams, sums, and what an answer means
    3  gate ledger folder watch present         may we go? · kept and crossed off in one step
    4  crawl                                    ★ the loop: read this first
       frontier/ fetch/ parse/ sinks/ transfer/ rooms beside it; none sees another
    5  build outputs trip depot export/ report/ configuration → an open crawl; what it left behind
    6  library delivery cli/ bench/             doors
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from crawler.errors import ConfigError, CrawlerError, HouseError, Occupied
from crawler.model import Extract, Follow, Link, Outcome, Page, Visit

if TYPE_CHECKING:
    from crawler.build import open_crawl
    from crawler.config import Config
    from crawler.delivery import download
    from crawler.library import crawl
    from crawler.transfer.order import File, Order

__version__ = "0.1.0"

__all__ = [
    "Config", "ConfigError", "CrawlerError", "Extract", "File", "Follow", "HouseError", "Link",
    "Occupied", "Order", "Outcome", "Page", "Visit", "crawl", "download", "open_crawl",
]  # fmt: skip


_LATE = {
    "Config": "crawler.config",
    "File": "crawler.transfer.order",
    "Order": "crawler.transfer.order",
    "crawl": "crawler.library",
    "download": "crawler.delivery",
    "open_crawl": "crawler.build",
}
"""What is costly to import (aiohttp's 0.2 s, asyncio) comes when it is asked for, from here."""


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'crawler' has no attribute {name!r}")
    return getattr(importlib.import_module(_LATE[name]), name)


class _House(ModuleType):
    """The package: `crawler.crawl` is the function, though there is a module of that name too,
    which importing would put in its place.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "crawl" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _House
