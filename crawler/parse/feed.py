"""RSS (0.9 to 2.0, RDF), Atom and JSON Feed, as far as they lead somewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

MAX_JSON: Final = 10 * 1024 * 1024
"""Bytes of a JSON feed: it cannot be streamed."""


class Feed:
    """Gets the elements of an RSS or Atom feed as they end; calls `page` for each item's address,
    `more` for the feed's next part (RFC 5005 §3).
    """

    def __init__(self, page: Callable[[str], None], more: Callable[[str], None]) -> None:
        self._page = page
        self._more = more
        self._link = ""
        self._permalink = ""

    def ended(self, name: str, parent: str, text: str, attributes: Mapping[str, str]) -> None:
        if name in {"item", "entry"}:
            link = self._link or self._permalink
            self._link = self._permalink = ""
            self._page(link)
        elif name == "link":
            self._linked(parent, text, attributes)
        elif (
            name == "guid"
            and parent == "item"
            # RSS 2.0: a guid is an address unless it says that it is none.
            and attributes.get("isPermaLink", "true") == "true"
            and text.startswith("http")
        ):
            self._permalink = text

    def _linked(self, parent: str, text: str, attributes: Mapping[str, str]) -> None:
        href = attributes.get("href", "").strip()
        rel = attributes.get("rel", "alternate")
        if parent in {"item", "entry"}:
            if rel == "alternate" and not self._link:  # RFC 4287 §4.2.7.2: that is the default
                self._link = href or text
        elif rel == "next" and href:
            self._more(href)
        elif parent in {"channel", "feed"} and rel == "alternate":
            self._page(href or text)


class _Item(msgspec.Struct):
    url: str = ""
    external_url: str = ""


class _JsonFeed(msgspec.Struct):
    home_page_url: str = ""
    items: list[_Item] = []


def read_json_feed(body: bytes, problems: list[str]) -> Iterator[str]:
    """The addresses of a JSON Feed (jsonfeed.org, version 1.1)."""
    if len(body) > MAX_JSON:
        problems.append(f"a JSON feed of more than {MAX_JSON} bytes is not read")
        return
    try:
        feed = msgspec.json.decode(body, type=_JsonFeed)
    except msgspec.DecodeError as error:
        problems.append(f"not a JSON feed: {str(error)[:100]}")
        return
    yield feed.home_page_url
    for item in feed.items:
        yield item.url or item.external_url
