"""One page read in this process, as a parse process would read it."""

from __future__ import annotations

from typing import Any

from crawler.config import FetchConfig, ParseConfig, ScopeConfig, UrlsConfig
from crawler.model import Extract, Kind, Link
from crawler.parse.read import Reader
from crawler.parse.rules import ReaderRules
from crawler.scope import Scope
from crawler.urls import Urls

HOME = "http://x.test"


def reader(plugins: tuple[str, ...] = (), urls: Urls | None = None, **scope: Any) -> Reader:
    """A reader whose scope is the site's origin; `scope` are settings of ScopeConfig."""
    rules = ScopeConfig(**scope)
    return Reader(
        ReaderRules(
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
    reader: Reader = reader(),  # noqa: B008 - one for all
) -> Extract:
    """`more` are further headers; `content_type` None: there is none."""
    headers = () if content_type is None else (("Content-Type", content_type),)
    link = Link(HOME + path, "x.test", kind=Kind.PAGE)
    return reader.read(link, (*headers, *more), body.encode() if isinstance(body, str) else body)


def links(extract: Extract, kind: str = "page") -> list[str]:
    """Paths of what was found on the site, others whole; in order."""
    return [one[0].removeprefix(HOME) for one in extract.found if one[3] == kind]
