"""What a parse process is told when it starts; the crawl makes it without loading a parser."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from crawler.config import FetchConfig, ParseConfig, RobotsConfig, ScopeConfig
from crawler.scope import Scope
from crawler.urls import Urls

if TYPE_CHECKING:
    from crawler.parse.archive import Archivist


@dataclass(frozen=True, slots=True)
class ReaderRules:
    """What a parse process needs to know; pickled once, when it starts."""

    urls: Urls
    scope: Scope
    limits: ScopeConfig
    parse: ParseConfig
    fetch: FetchConfig
    keep_body: bool = False
    spool: Path | None = None  # where large bodies that are kept wait for their sink; None: memory
    archivist: Archivist | None = None
    keep_text: bool = False  # the main content as Markdown
    agent: str = ""  # our product token, for what pages say to it
    robots: RobotsConfig = field(default_factory=RobotsConfig)
    sitemap_only: bool = False
    sitemaps: bool = True  # those that links lead to are read as such
