"""One page read in this process, as a parse process would read it."""

from __future__ import annotations

from typing import Any

from crawler.config.model import FetchConfig, ParseConfig, ScopeConfig, UrlsConfig
from crawler.parse.reader import PageReader
from crawler.parse.workers.reader_settings import ReaderSettings
from crawler.policy.scope import Scope
from crawler.policy.urls import Urls
from crawler.records import CrawlUrl, Kind, ParsedPage

HOME = "http://x.test"


def reader(plugins: tuple[str, ...] = (), urls: Urls | None = None, **scope: Any) -> PageReader:
    """A reader whose scope is the site's origin; `scope` are settings of ScopeConfig."""
    rules = ScopeConfig(**scope)
    return PageReader(
        ReaderSettings(
            urls or Urls(UrlsConfig()),
            Scope(rules, [f"{HOME}/"]),
            rules,
            ParseConfig(plugins=plugins),
            FetchConfig(),
            agent="test",
        )
    )


def read(
    body: bytes | str,
    content_type: str | None = "text/html; charset=utf-8",
    *more: tuple[str, str],
    path: str = "/",
    reader: PageReader = reader(),  # noqa: B008 - one for all
) -> ParsedPage:
    """`more` are further headers; `content_type` None: there is none."""
    headers = () if content_type is None else (("Content-Type", content_type),)
    link = CrawlUrl(HOME + path, "x.test", kind=Kind.PAGE)
    return reader.read(link, (*headers, *more), body.encode() if isinstance(body, str) else body)


def links(extract: ParsedPage, kind: str = "page") -> list[str]:
    """Paths of what was found on the site, others whole; in order."""
    return [one[0].removeprefix(HOME) for one in extract.found if one[3] == kind]
