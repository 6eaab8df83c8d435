"""What a page says of itself and where it leads, by turbohtml, a WHATWG parser in C.

Measured: one walk over the elements that matter, by their names (a CSS query takes eight times as
long), attributes read per node, text taken after scripts and styles are gone.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias
from urllib.parse import unquote

import ada_url
import msgspec
import turbohtml

from crawler.parse.attribute_values import SPACE, content_charset, parse_srcset, refresh_url
from crawler.parse.native import joined
from crawler.parse.robots_meta import REL, directives
from crawler.parse.whitespace import HUGE
from crawler.records import Kind

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

_DRAWN: Final = frozenset({"image", "use", "feImage", "script"})
"""Elements of SVG that name what they show by `href`."""

_LAZY: Final = {
    "img": ASSET, "source": ASSET, "video": ASSET, "audio": ASSET, "iframe": PAGE,
}  # fmt: skip
"""Elements whose `data-src` scripts copy to `src`: no standard, but what lazy loading does."""

_AROUND: Final = frozenset({"nav", "header", "footer", "aside"})

_SOURCE_NAMES: Final = {"object": ("data",), "video": ("src", "poster")}

_FEED_TYPES: Final = ("application/rss+xml", "application/atom+xml", "application/feed+json")
_ASSET_RELS: Final = frozenset(
    {
        "stylesheet", "icon", "apple-touch-icon", "apple-touch-icon-precomposed",
        "apple-touch-startup-image", "mask-icon", "manifest", "preload", "modulepreload",
        "prefetch",
    }
)  # fmt: skip
_PAGE_RELS: Final = frozenset(
    {
        "next", "prev", "previous", "canonical", "alternate", "first", "last", "up", "start",
        "contents", "index", "chapter", "section", "help", "search", "author", "license", "amphtml",
        "prerender",
    }
)  # fmt: skip

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)

MAX_SRCDOC: Final = 8
"""Pages in `srcdoc` attributes inside each other that are read; each level's markup is escaped once
more, so that nobody writes three."""


class RawPage(msgspec.Struct):
    """A page as its markup has it: hrefs not yet joined."""

    base: str | None = None  # the first <base href>, as written; None: there is none
    links: dict[tuple[str, str], None] = msgspec.field(default_factory=dict)  # (href, kind)
    disowned: dict[tuple[str, str], None] = msgspec.field(default_factory=dict)  # rel=nofollow …
    title: str = ""
    description: str = ""
    canonical: str = ""
    lang: str = ""
    hreflang: list[tuple[str, str]] = msgspec.field(default_factory=list)
    charsets: list[str] = msgspec.field(default_factory=list)  # that <meta> elements name
    robots: list[str] = msgspec.field(default_factory=list)  # what holds for us
    text: str = ""
    main: str = ""  # the text without what surrounds it: menus, footers


def read_html(  # noqa: C901, PLR0912 - one pass over all elements: a call for each costs 5 %
    text: str, *, forms: bool, agent: str = "", styles: bool = False, depth: int = 0
) -> RawPage:
    """Links with their kind, in order and without repeats, and what the head says.

    `agent` is our product token in lower case, for `<meta>` elements of that name. `styles`: also
    what the page's own style sheets and attributes name, and images that scripts load later.
    `depth` is how many pages this one stands in, as a `srcdoc`.
    """
    tree = turbohtml.parse(
        text,
        positions=False,  # of lines nobody asks: a fifth of the time
        allow_declarative_shadow_roots=False,  # their templates stay in the tree, where we look
    )
    raw = RawPage()
    links = raw.links
    around: list[turbohtml.Element] = []
    here = False  # a link names this page, or what <base> says
    for node in tree.iter_elements(_TELLING):
        tag = node.tag
        if tag in {"a", "area"}:  # most of them: no mapping is made of their attributes
            href = (node.attr("href") or "").strip(SPACE)
            if not href:
                svg = node.attr("xlink:href")
                href = (svg or "").strip(SPACE)
                here = here or svg is not None or node.attr("href") is not None
            if href and href[0] != "#":
                plain = node.attr("rel") is None
                (links if plain else _shelf(node.attrs, raw))[href, PAGE] = None
            elif href:
                here = True
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
            if raw.base is None and "href" in attributes and _is_base(node):
                raw.base = _text(attributes, "href")
        elif tag == "title":
            raw.title = raw.title or " ".join(node.text[:HUGE].split())[:MAX_TITLE]
        elif tag == "html":
            raw.lang = _text(attributes, "lang")[:35]
        elif tag in _AROUND:
            around.append(node)
        else:
            _media(tag, attributes, links)
            if tag == "iframe" and "srcdoc" in attributes:
                _take_srcdoc(attributes, raw, forms=forms, styles=styles, depth=depth)
    if here and raw.base:
        links["", PAGE] = None
    if styles:
        _styles(tree, links)
    raw.text = _visible(tree)
    raw.main = _main(around, raw.text).strip() or raw.text
    return raw


def _is_base(node: turbohtml.Element) -> bool:
    """Whether a `<base>` counts: not in what is inert, nor as an element of SVG or MathML."""
    if node.namespace is not turbohtml.Namespace.HTML:
        return False
    return node.closest("template,noscript") is None  # whose links count


def _take_srcdoc(
    attributes: Attributes, raw: RawPage, *, forms: bool, styles: bool, depth: int
) -> None:
    """The links of a page that stands in an attribute (WHATWG HTML §4.8.5); its base is ours,
    unless it names one of its own.
    """
    if depth >= MAX_SRCDOC:
        return
    inner = read_html(_text(attributes, "srcdoc"), forms=forms, styles=styles, depth=depth + 1)
    for whole, some in ((raw.links, inner.links), (raw.disowned, inner.disowned)):
        for href, kind in some:
            whole[href if inner.base is None else _based(inner.base, href), kind] = None


def _based(base: str, href: str) -> str:
    """A link of a page with a base of its own, which may be relative to ours."""
    for scheme in ("", "http:") if base.startswith("//") else ("",):
        with contextlib.suppress(ValueError):
            return ada_url.join_url(scheme + base, href).removeprefix(scheme)
    if not base or href[:1] in {"/", "\\"} or _SCHEME.match(href):
        return href
    path = re.split("[?#]", base, maxsplit=1)[0]
    if href[:1] in {"", "#"}:
        return base.partition("#")[0] + href
    return path + href if href[0] == "?" else path[: path.rfind("/") + 1] + href


def _styles(tree: turbohtml.Document, links: dict[tuple[str, str], None]) -> None:
    """Images, fonts and sheets named in `<style>` and `style=`; SVG's images; old backgrounds; what
    scripts put into `src` and `srcset` when it is scrolled to.
    """
    from crawler.parse.css import css_urls  # noqa: PLC0415 - 8 ms, for mirrors only

    for node in tree.select("[data-src],[data-srcset]"):
        attributes = node.attrs
        if node.tag in _LAZY:
            if href := _text(attributes, "data-src"):
                links[href, _LAZY[node.tag]] = None
            for href in parse_srcset(_text(attributes, "data-srcset")):
                links[href, ASSET] = None
    for node in tree.select("style,[style],[background],image,use,feImage,script"):
        attributes = node.attrs
        sheet = node.text if node.tag == "style" else _text(attributes, "style")
        for href in css_urls(sheet):
            links[href, ASSET] = None
        names = ("href", "xlink:href") if node.tag in _DRAWN else ("background",)
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
        if silent.attr("shadowrootmode") is None or silent.tag != "template":
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
    return (value if isinstance(value, str) else " ".join(value)).strip(SPACE)


def _shelf(attributes: Attributes, raw: RawPage) -> dict[tuple[str, str], None]:
    """Where a link with a `rel` belongs."""
    disowned = not REL.isdisjoint(_text(attributes, "rel").lower().split())
    return raw.disowned if disowned else raw.links


def add_link(attributes: Attributes, raw: RawPage) -> None:
    """A `<link>` element's target, or a Link header's, if it is one that is followed."""
    href = _text(attributes, "href")
    rels = frozenset(_text(attributes, "rel").lower().split())
    if "preload" in rels:
        for image in parse_srcset(_text(attributes, "imagesrcset")):
            raw.links[image, ASSET] = None
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
        as_page = "prefetch" in rels and _text(attributes, "as").lower() == "document"
        raw.links[href, PAGE if as_page else ASSET] = None
    elif rels & _PAGE_RELS:
        raw.links[href, PAGE] = None


def _meta(attributes: Attributes, raw: RawPage, agent: str) -> None:
    content = _text(attributes, "content")
    if "charset" in attributes:
        raw.charsets.append(_text(attributes, "charset"))
    pragma = _text(attributes, "http-equiv").lower()
    if pragma == "content-type" and (charset := content_charset(content)):
        raw.charsets.append(charset)
    elif pragma == "refresh":
        if url := refresh_url(content):
            raw.links[url, PAGE] = None
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
