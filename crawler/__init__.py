"""A concurrent web crawler and downloader: polite, exact, and impossible to make lose a page.

The house, bottom up; a file imports only from lower floors (tests/test_floors.py):

    0  model errors                             words: frozen records
    1  urls config scope robots pace retry …    rules: pure decisions; charts
    2  protocols tally verdict                  seams, sums, and what an answer means
    3  gate ledger folder watch                 may we go? · kept and crossed off in one step
    4  crawl                                    ★ the loop: read this first
       frontier/ fetch/ parse/ sinks/           rooms beside it; none sees another
    5  build export/ report/                    configuration → an open crawl; what it left behind
    6  library cli/ bench/                      doors
"""

from typing import TYPE_CHECKING, Any

from crawler import crawl as _loop  # noqa: F401 - loaded first, so that its name is free for the function
from crawler.errors import ConfigError, CrawlerError, HouseError, Occupied
from crawler.library import crawl
from crawler.model import Extract, Follow, Link, Outcome, Page, Visit

if TYPE_CHECKING:
    from crawler.build import open_crawl
    from crawler.config import Config

__version__ = "0.1.0"

__all__ = [
    "Config", "ConfigError", "CrawlerError", "Extract", "Follow", "HouseError", "Link", "Occupied",
    "Outcome", "Page", "Visit", "crawl", "open_crawl",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """What costs aiohttp's 0.2 s to import comes when it is asked for."""
    if name == "open_crawl":
        from crawler.build import open_crawl  # noqa: PLC0415

        return open_crawl
    if name == "Config":
        from crawler.config import Config  # noqa: PLC0415

        return Config
    raise AttributeError(f"module 'crawler' has no attribute {name!r}")
