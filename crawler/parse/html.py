"""What a page says of itself and where it leads, by lexbor, a browser's parser in C.

Measured: one CSS query for all elements with links, attributes read per node, text taken after
scripts and styles are stripped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

import msgspec
from selectolax.lexbor import LexborHTMLParser, LexborNode

from crawler.model import Kind

MAX_TITLE: Final = 500
MAX_META: Final = 2000

PAGE, ASSET, FEED = Kind.PAGE.value, Kind.ASSET.value, Kind.FEED.value

_LINKING: Final = (
    "a[href],area[href],link[href],iframe[src],frame[src],img,source,video,audio,track[src],"
    "script[src],embed[src],object[data],input[src],form[action],meta[http-equiv],meta[name]"
)

_SOURCES: Final = {
    "iframe": PAGE, "frame": PAGE, "script": ASSET, "track": ASSET, "embed": ASSET, "input": ASSET,
}  # fmt: skip

_FEED_TYPES: Final = ("application/rss+xml", "application/atom+xml", "application/feed+json")
_ASSET_RELS: Final = frozenset(
    {"stylesheet", "icon", "apple-touch-icon", "mask-icon", "manifest", "preload", "modulepreload"}
)
_PAGE_RELS: Final = frozenset(
    {
        "next", "prev", "previous", "canonical", "alternate", "first", "last", "up", "start",
        "contents", "index", "chapter", "section", "help", "search", "author", "license", "amphtml",
    }
)  # fmt: skip

_REFRESH: Final = re.compile(
    r"\s*[\d.]*\s*[;,\s]\s*(?:url\s*=\s*)?(?P<q>['\"]?)(?P<url>.*)", re.IGNORECASE
)
_SPACE: Final = "\t\n\f\r "


class Raw(msgspec.Struct):
    """A page as its markup has it: hrefs not yet joined."""

    base: str = ""  # the first <base href>, as written
    links: dict[tuple[str, str], None] = msgspec.field(default_factory=dict)  # (href, kind)
    title: str = ""
    description: str = ""
    canonical: str = ""
    lang: str = ""
    hreflang: list[tuple[str, str]] = msgspec.field(default_factory=list)
    robots: list[str] = msgspec.field(default_factory=list)
    text: str = ""
    main: str = ""  # the text without what surrounds it: menus, footers


def read_html(text: str, *, forms: bool) -> Raw:
    """Links with their kind, in order and without repeats, and what the head says."""
    tree = LexborHTMLParser(text)
    raw = Raw()
    links = raw.links
    base = tree.css_first("base[href]")
    if base is not None:
        raw.base = (base.attributes.get("href") or "").strip(_SPACE)
    for node in tree.css(_LINKING):
        tag = node.tag
        attributes = node.attributes
        if tag in {"a", "area"}:
            href = (attributes["href"] or "").strip(_SPACE)
            if href and href[0] != "#":
                links[href, PAGE] = None
        elif tag == "link":
            _link(attributes, raw)
        elif tag == "meta":
            _meta(attributes, raw)
        elif tag == "form":
            if forms and (attributes.get("method") or "get").strip(_SPACE).lower() == "get":
                links[(attributes["action"] or "").strip(_SPACE), PAGE] = None
        else:
            _media(tag or "", attributes, links)
    root = tree.root
    if root is not None:
        raw.lang = (root.attributes.get("lang") or "").strip(_SPACE)[:35]
    title = tree.css_first("head title") or tree.css_first("title")
    if title is not None:
        raw.title = " ".join(title.text().split())[:MAX_TITLE]
    tree.strip_tags(["script", "style", "noscript", "template", "head"])
    body: LexborNode | None = tree.body
    if body is not None:
        raw.text = " ".join(body.text(separator=" ").split())
        raw.main = _main(tree, raw.text).strip() or raw.text
    return raw


def _main(tree: LexborHTMLParser, text: str) -> str:
    """The text of the body without its menus, head, foot and side: what readers come for.

    Taken off the whole text, because reading a page's text twice costs half as much again as all
    the rest (measured).
    """
    for node in tree.css("nav,header,footer,aside"):
        around = " ".join(node.text(separator=" ").split())
        text = text.replace(around, "", 1)
    return text


def read_anchors(text: str) -> tuple[dict[str, None], list[tuple[str, str]]]:
    """What fragments may name on a page (WHATWG HTML §7.4.6.4), and what its links name elsewhere.

    A link is its href without the fragment (empty: this page) and the fragment, decoded. Routes of
    scripts (`#/…`, `#!…`) name no element; of a text directive (`#:~:text=`) only what is before.
    """
    tree = LexborHTMLParser(text)
    ids: dict[str, None] = {}
    for node in tree.css("[id],a[name]"):
        attributes = node.attributes
        for name in (attributes.get("id"), attributes.get("name") if node.tag == "a" else None):
            if name:
                ids[name] = None
    links = []
    for node in tree.css("a[href*='#'],area[href*='#']"):
        path, _, fragment = (node.attributes["href"] or "").strip(_SPACE).partition("#")
        fragment = fragment.partition(":~:")[0]
        if fragment and not fragment.startswith(("/", "!")) and fragment.lower() != "top":
            links.append((path, unquote(fragment)))
    return ids, links


def _link(attributes: dict[str, str | None], raw: Raw) -> None:
    href = (attributes["href"] or "").strip(_SPACE)
    rels = frozenset((attributes.get("rel") or "").lower().split())
    if not href or not rels:
        return
    kind = (attributes.get("type") or "").strip(_SPACE).lower()
    if "canonical" in rels and not raw.canonical:
        raw.canonical = href
    if "alternate" in rels:
        if kind in _FEED_TYPES:
            raw.links[href, FEED] = None
            return
        if "stylesheet" not in rels:
            language = attributes.get("hreflang")
            if language:
                raw.hreflang.append((language.strip(_SPACE)[:35], href))
            if kind in {"", "text/html", "application/xhtml+xml"}:
                raw.links[href, PAGE] = None
            return
    if rels & _ASSET_RELS:
        raw.links[href, ASSET] = None
    elif rels & _PAGE_RELS:
        raw.links[href, PAGE] = None


def _meta(attributes: dict[str, str | None], raw: Raw) -> None:
    content = attributes.get("content") or ""
    if (attributes.get("http-equiv") or "").strip(_SPACE).lower() == "refresh":
        match = _REFRESH.match(content)
        if match and match["url"]:
            url = match["url"]
            url = url.partition(match["q"])[0] if match["q"] else url
            raw.links[url.strip(_SPACE), PAGE] = None
        return
    name = (attributes.get("name") or "").strip(_SPACE).lower()
    if name == "description" and not raw.description:
        raw.description = " ".join(content.split())[:MAX_META]
    elif name == "robots":
        raw.robots += [token for token in content.lower().replace(",", " ").split() if token]


def _media(tag: str, attributes: dict[str, str | None], links: dict[tuple[str, str], None]) -> None:
    if tag == "object":
        sources = [attributes["data"]]
    else:
        sources = [attributes.get("src")]
        if tag == "video":
            sources.append(attributes.get("poster"))
    kind = _SOURCES.get(tag, ASSET)
    for source in sources:
        href = (source or "").strip(_SPACE)
        if href:
            links[href, kind] = None
    if srcset := attributes.get("srcset"):
        for href in parse_srcset(srcset):
            links[href, ASSET] = None


def parse_srcset(srcset: str) -> Iterator[str]:
    """The URLs of a srcset attribute (WHATWG HTML, "parse a srcset attribute")."""
    position, end = 0, len(srcset)
    while position < end:
        while position < end and srcset[position] in _SPACE + ",":
            position += 1
        start = position
        while position < end and srcset[position] not in _SPACE:
            position += 1
        url = srcset[start:position]
        if not url:
            return
        if url.endswith(","):
            yield url.rstrip(",")
            continue
        yield url
        depth = 0
        while position < end and (depth or srcset[position] != ","):
            depth += {"(": 1, ")": -1}.get(srcset[position], 0)
            depth = max(depth, 0)
            position += 1
