"""RSS (0.9 to 2.0, RDF), Atom and JSON Feed, as far as they lead somewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from crawler.parse.xml import XmlElement

MAX_JSON: Final = 10 * 1024 * 1024
"""Bytes of a JSON feed: it cannot be streamed."""

_RELATIONS: Final = "http://www.iana.org/assignments/relation/"
"""What stands before the name of a link relation that is written in full (RFC 4287 §4.2.7.2)."""

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

    def ended(self, element: XmlElement, parent: str) -> None:
        name = element.name
        if name in {"item", "entry"}:
            if not self._permalink[0]:  # RSS 1.0 names an item by its address
                self._permalink = element.attributes.get("rdf:about", "").strip(), element.bases
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

    def _linked(self, element: XmlElement, parent: str) -> None:
        href = element.attributes.get("href", "").strip()
        rel = element.attributes.get("rel", "alternate").lower().removeprefix(_RELATIONS)
        if parent in {"item", "entry"}:
            if rel == "alternate":  # RFC 4287 §4.2.7.2: that is the default
                if self._link[0]:
                    self._page(*self._link)
                self._link = href or element.text, element.bases
        elif rel == "next" and href:
            self._more(href, element.bases)
        elif parent in {"channel", "feed"} and rel == "alternate":
            self._page(href or element.text, element.bases)


def read_json_feed(
    body: bytes, page: Callable[[str], None], more: Callable[[str], None], problems: list[str]
) -> None:
    """The addresses of a JSON Feed (jsonfeed.org, version 1.1). What is of another type than it
    should be is passed over: it costs its item alone.
    """
    if len(body) > MAX_JSON:
        problems.append(f"a JSON feed of more than {MAX_JSON} bytes is not read")
        return
    try:
        feed = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        problems.append(f"not a JSON feed: {str(error)[:100]}")
        return
    page(_address(feed, "home_page_url"))
    items = feed.get("items")
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            page(_address(item, "url") or _address(item, "external_url"))
    more(_address(feed, "next_url"))


def _address(thing: dict[str, Any], key: str) -> str:
    said = thing.get(key)
    return said.strip() if isinstance(said, str) else ""
