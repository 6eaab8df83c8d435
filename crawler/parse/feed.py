"""RSS (0.9 to 2.0, RDF), Atom and JSON Feed, as far as they lead somewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from crawler.parse.xml import Element

MAX_JSON: Final = 10 * 1024 * 1024
"""Bytes of a JSON feed: it cannot be streamed."""

_NOTHING: Final[tuple[str, tuple[str, ...]]] = ("", ())


Address = Callable[[str, tuple[str, ...]], None]
"""Called with an address as written, and the xml:base attributes around it."""


class Feed:
    """Gets the elements of an RSS or Atom feed as they end; calls `page` for each item's address,
    `more` for the feed's next part (RFC 5005 §3).
    """

    def __init__(self, page: Address, more: Address) -> None:
        self._page = page
        self._more = more
        self._link = _NOTHING
        self._permalink = _NOTHING

    def ended(self, element: Element, parent: str) -> None:
        name = element.name
        if name in {"item", "entry"}:
            self.finish()
        elif name == "link":
            self._linked(element, parent)
        elif (
            name == "guid"
            and parent == "item"
            # RSS 2.0: a guid is an address unless it says that it is none.
            and element.attributes.get("ispermalink", "true").lower() == "true"
            and element.text.lower().startswith("http")
        ):
            self._permalink = element.text, element.bases

    def finish(self) -> None:
        """The item is over, or the feed broke off in it."""
        link = self._link if self._link[0] else self._permalink
        self._link = self._permalink = _NOTHING
        self._page(*link)

    def _linked(self, element: Element, parent: str) -> None:
        href = element.attributes.get("href", "").strip()
        rel = element.attributes.get("rel", "alternate").lower()
        if parent in {"item", "entry"}:
            if rel == "alternate":  # RFC 4287 §4.2.7.2: that is the default
                if self._link[0]:
                    self._page(*self._link)
                self._link = href or element.text, element.bases
        elif rel == "next" and href:
            self._more(href, element.bases)
        elif parent in {"channel", "feed"} and rel == "alternate":
            self._page(href or element.text, element.bases)


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
