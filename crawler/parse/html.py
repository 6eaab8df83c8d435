"""What a page says of itself and where it leads, by turbohtml, a WHATWG parser in C.

Measured: one walk over the elements that matter, by their names (a CSS query takes eight times as
long), attributes read per node, text taken after scripts and styles are gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias
from urllib.parse import unquote

import msgspec
import turbohtml

from crawler.model import Kind
from crawler.parse.directives import REL, directives
from crawler.parse.spaces import HUGE
from crawler.parse.swift import joined

MAX_TITLE: Final = 500
MAX_META: Final = 2000
PAGE, ASSET, FEED = Kind.PAGE.value, Kind.ASSET.value, Kind.FEED.value

Attributes: TypeAlias = Mapping[str, str | list[str] | None]
"""Of one element; a list where HTML has a set of tokens (rel, class)."""

_TELLING: Final = (
    "html", "title", "nav", "header", "footer", "aside", "base", "a", "area", "link", "iframe",
    "frame", "img", "source", "video", "audio", "track", "script", "embed", "object", "input",
    "form", "meta",
)  # fmt: skip
_SILENT: Final = ("script", "style", "noscript", "template")

_SOURCES: Final = {
    "iframe": PAGE, "frame": PAGE, "script": ASSET, "track": ASSET, "embed": ASSET, "input": ASSET,
}  # fmt: skip

_AROUND: Final = frozenset({"nav", "header", "footer", "aside"})

_SOURCE_NAMES: Final = {"object": ("data",), "video": ("src", "poster")}

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
    disowned: dict[tuple[str, str], None] = msgspec.field(default_factory=dict)  # rel=nofollow …
    title: str = ""
    description: str = ""
    canonical: str = ""
    lang: str = ""
    hreflang: list[tuple[str, str]] = msgspec.field(default_factory=list)
    robots: list[str] = msgspec.field(default_factory=list)  # what holds for us
    text: str = ""
    main: str = ""  # the text without what surrounds it: menus, footers


def read_html(  # noqa: C901, PLR0912 - a branch an element, in one pass: a call for each costs 5 %
    text: str, *, forms: bool, agent: str = "", styles: bool = False
) -> Raw:
    """Links with their kind, in order and without repeats, and what the head says.

    `agent` is our product token in lower case, for `<meta>` elements of that name. `styles`: also
    what the page's own style sheets and attributes name.
    """
    tree = turbohtml.parse(text, positions=False)  # of lines nobody asks: a fifth of the time
    raw = Raw()
    links = raw.links
    around: list[turbohtml.Element] = []
    for node in tree.iter_elements(_TELLING):
        tag = node.tag
        if tag in {"a", "area"}:  # most of them: no mapping is made of their attributes
            href = (node.attr("href") or "").strip(_SPACE)
            if href and href[0] != "#":
                plain = node.attr("rel") is None
                (links if plain else _shelf(node.attrs, raw))[href, PAGE] = None
            continue
        attributes = node.attrs
        if tag == "link":
            add_link(attributes, raw)
        elif tag == "meta":
            _meta(attributes, raw, agent)
        elif tag == "form":
            if "action" not in attributes or not forms:
                continue
            if (_text(attributes, "method") or "get").lower() == "get":
                links[_text(attributes, "action"), PAGE] = None
        elif tag == "base":
            raw.base = raw.base or _text(attributes, "href")
        elif tag == "title":
            raw.title = raw.title or " ".join(node.text[:HUGE].split())[:MAX_TITLE]
        elif tag == "html":
            raw.lang = _text(attributes, "lang")[:35]
        elif tag in _AROUND:
            around.append(node)
        else:
            _media(tag, attributes, links)
    if styles:
        _styles(tree, links)
    raw.text = _visible(tree)
    raw.main = _main(around, raw.text).strip() or raw.text
    return raw


def _styles(tree: turbohtml.Document, links: dict[tuple[str, str], None]) -> None:
    """Images, fonts and sheets named in `<style>` and `style=`; SVG's images; old backgrounds."""
    from crawler.parse.css import css_urls  # noqa: PLC0415 - 8 ms, for mirrors only

    for node in tree.select("style,[style],[background],image,use"):
        attributes = node.attrs
        sheet = node.text if node.tag == "style" else _text(attributes, "style")
        for href in css_urls(sheet):
            links[href, ASSET] = None
        names = ("href", "xlink:href") if node.tag in {"image", "use"} else ("background",)
        for name in names:
            href = _text(attributes, name)
            if href and href[0] != "#":
                links[href, ASSET] = None


def _visible(tree: turbohtml.Document) -> str:
    """The body's text, white space run together; takes the silent elements out of the tree."""
    body = tree.find("body")
    if body is None:
        return ""
    for silent in list(body.iter_elements(_SILENT)):
        silent.decompose()
    return joined(body.stripped_strings)


def _main(around: Sequence[turbohtml.Element], text: str) -> str:
    """The text of the body without its menus, head, foot and side: what readers come for.

    Taken off the whole text, because reading a page's text twice costs half as much again as all
    the rest (measured).
    """
    for node in around:
        text = text.replace(joined(node.stripped_strings), "", 1)
    return text


def read_anchors(text: str) -> tuple[dict[str, None], list[tuple[str, str]]]:
    """What fragments may name on a page (WHATWG HTML §7.4.6.4), and what its links name elsewhere.

    A link is its href without the fragment (empty: this page) and the fragment, decoded. Routes of
    scripts (`#/…`, `#!…`) name no element; of a text directive (`#:~:text=`) only what is before.
    """
    tree = turbohtml.parse(text, positions=False)
    ids: dict[str, None] = {}
    for node in tree.select("[id],a[name]"):
        attributes = node.attrs
        for name in ("id", "name") if node.tag == "a" else ("id",):
            value = attributes.get(name)
            if value:
                ids[value if isinstance(value, str) else " ".join(value)] = None
    links = []
    for node in tree.select("a[href*='#'],area[href*='#']"):
        path, _, fragment = _text(node.attrs, "href").partition("#")
        fragment = fragment.partition(":~:")[0]
        if fragment and not fragment.startswith(("/", "!")) and fragment.lower() != "top":
            links.append((path, unquote(fragment)))
    return ids, links


def _text(attributes: Attributes, name: str) -> str:
    """An attribute's value without white space around it; nothing when it is not there."""
    value = attributes.get(name) or ""
    return (value if isinstance(value, str) else " ".join(value)).strip(_SPACE)


def _shelf(attributes: Attributes, raw: Raw) -> dict[tuple[str, str], None]:
    """Where a link with a `rel` belongs."""
    disowned = not REL.isdisjoint(_text(attributes, "rel").lower().split())
    return raw.disowned if disowned else raw.links


def add_link(attributes: Attributes, raw: Raw) -> None:
    """A `<link>` element's target, or a Link header's, if it is one that is followed."""
    href = _text(attributes, "href")
    rels = frozenset(_text(attributes, "rel").lower().split())
    if not href or not rels:
        return
    kind = _text(attributes, "type").lower()
    if "canonical" in rels and not raw.canonical:
        raw.canonical = href
    if "alternate" in rels:
        if kind in _FEED_TYPES:
            raw.links[href, FEED] = None
            return
        if "stylesheet" not in rels:
            language = _text(attributes, "hreflang")
            if language:
                raw.hreflang.append((language[:35], href))
            if kind in {"", "text/html", "application/xhtml+xml"}:
                raw.links[href, PAGE] = None
            return
    if rels & _ASSET_RELS:
        raw.links[href, ASSET] = None
    elif rels & _PAGE_RELS:
        raw.links[href, PAGE] = None


def _meta(attributes: Attributes, raw: Raw, agent: str) -> None:
    content = _text(attributes, "content")
    if _text(attributes, "http-equiv").lower() == "refresh":
        match = _REFRESH.match(content)
        if match and match["url"]:
            url = match["url"]
            url = url.partition(match["q"])[0] if match["q"] else url
            raw.links[url.strip(_SPACE), PAGE] = None
        return
    name = _text(attributes, "name").lower()
    if name == "description" and not raw.description:
        raw.description = " ".join(content[:HUGE].split())[:MAX_META]
    elif name and name in {"robots", agent}:
        raw.robots += directives((), [(name, content[:HUGE])], agent)


def _media(tag: str, attributes: Attributes, links: dict[tuple[str, str], None]) -> None:
    kind = _SOURCES.get(tag, ASSET)
    for name in _SOURCE_NAMES.get(tag, ("src",)):
        href = _text(attributes, name)
        if href:
            links[href, kind] = None
    if srcset := _text(attributes, "srcset"):
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
