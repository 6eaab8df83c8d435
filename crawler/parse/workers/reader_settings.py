"""Settings of a parse process; made by the crawl without importing a parser."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from crawler.config.model import FetchConfig, ParseConfig, RobotsConfig, ScopeConfig
from crawler.errors import ParseError
from crawler.policy.scope import Scope
from crawler.policy.urls import Urls
from crawler.records import Page, ParsedPage

if TYPE_CHECKING:
    from crawler.parse.warc_builder import WarcBuilder


Task: TypeAlias = tuple[Page, bool]
"""A page, and whether it is to be read; if not, it is made ready for the archive only."""

Result: TypeAlias = ParsedPage | ParseError


@dataclass(frozen=True, slots=True)
class ReaderSettings:
    """What a parse process needs to know; pickled once, when it starts."""

    urls: Urls
    scope: Scope
    limits: ScopeConfig
    parse: ParseConfig
    fetch: FetchConfig
    keep_body: bool = False
    spool: Path | None = None  # where large bodies that are kept wait for their sink; None: memory
    archivist: WarcBuilder | None = None
    keep_text: bool = False  # the main content as Markdown
    agent: str = ""  # our product token, for what pages say to it
    robots: RobotsConfig = field(default_factory=RobotsConfig)
    sitemap_only: bool = False
    sitemaps: bool = True  # those that links lead to are read as such
