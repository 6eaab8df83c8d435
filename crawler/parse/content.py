"""The main content of a page: what is left when what surrounds it is taken off.

Where the author marked it (`<main>`, `role=main`, one `<article>`), that is the content. Elsewhere
what is certainly none goes, and all else stays: a menu too many is read over, a paragraph too few
is missed (decision 0120 has the figures: words kept and boilerplate, on seven sites).
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

import turbohtml

NEVER: Final = (
    "script,style,noscript,template,iframe,form,button,svg,dialog,[hidden],[aria-hidden=true],"
    ".headerlink"
)
"""What no reader sees as text; headerlink is Sphinx's ¶ after each heading."""

AROUND: Final = (
    "nav,aside,footer,[role=navigation],[role=search],[role=banner],[role=contentinfo],"
    "[role=complementary]"
)
"""What stands around a page's content by its element or role (WAI-ARIA 1.2 §5.3.4)."""

NAMES: Final = frozenset(
    {
        "ads", "advert", "advertisement", "banner", "breadcrumb", "breadcrumbs", "consent",
        "cookie", "cookies", "copyright", "crosslinks", "crumb", "crumbs", "footer", "login",
        "mainmenu", "masthead", "menu", "menubar", "menus", "modal", "nav", "navbar", "navbox",
        "navfooter", "navheader", "navigation", "navigator", "navlinks", "newsletter", "noprint",
        "pagefooter", "pager", "pagination", "popup", "prevnext", "related", "search", "searchbox",
        "searchmenu", "share", "sharing", "sidebar", "sidebars", "skip", "skiplink", "skipnav",
        "social", "sponsor", "sponsored", "submenu", "subscribe", "toolbar",
    }
)  # fmt: skip
"""Words of an id or class that say that an element stands around the content."""

MIN_MARKED: Final = 50
"""Characters; an emptier `<main>` is filled by a script, and the text may stand elsewhere."""

MIN_ARTICLE: Final = 0.3
"""Share of the page's text; a lone `<article>` with less is one of other things on the page."""

MAX_AROUND: Final = 0.4
"""Share of the page's text; what has more is the content, whatever it is called."""

MAX_EDGE: Final = 0.3
"""The same, of a block of links before the first heading."""

DENSE: Final = 0.5
"""A block's share of text in links from which it is a list of links."""

SHORT: Final = 200
"""Characters of a block that is short: it may have words that name its links."""

DENSE_SHORT: Final = 0.3
"""The share of a short one."""

LANGUAGES: Final = 500
"""Characters of a list of the page's translations, at most."""

LINKS: Final = 200
"""Links of a list that are looked at, the first ones."""

TIMES: Final = 20
"""How often a page's text may be measured, all in all: nested blocks are measured with each block
that they stand in. When it is used up, the rest stays."""

_EDGE: Final = frozenset({"div", "ul", "ol", "p", "table", "header", "dl", "center", "tr", "td"})
_HEADINGS: Final = "h1,h2,h3"
_NAMED: Final = ("div", "p", "ul", "ol", "table", "section", "header", "dl", "span", "td")
_LISTS: Final = frozenset({"div", "p", "ul", "ol", "td"})
_WORD: Final = re.compile(r"[a-z]+")


def main_content(tree: turbohtml.Document) -> turbohtml.Element | None:
    """The element that holds the content, without what surrounds it; the tree is changed.

    None: the page has no body.
    """
    body = tree.find("body")
    if body is None:
        return None
    for node in body.select(NEVER):
        node.decompose()
    whole = _length(body)
    for selector, least in (("main", 0.0), ("[role=main]", 0.0), ("article", MIN_ARTICLE)):
        found = body.select(selector)
        if len(found) == 1 and _length(found[0]) >= max(MIN_MARKED, least * whole):
            for node in found[0].select(AROUND):
                node.decompose()
            return found[0]
    _Peel(body, whole).off()
    return body


class _Peel:
    """Takes off what surrounds the content of a page that does not say where it is."""

    def __init__(self, body: turbohtml.Element, whole: int) -> None:
        self._body = body
        self._whole = whole
        self._left = TIMES * whole

    def off(self) -> None:
        for node in self._body.select(AROUND):
            if self._measured(node) < MAX_AROUND * self._whole:
                node.decompose()
        for node in self._before_heading():
            length = self._measured(node)
            if length < MAX_EDGE * self._whole:
                links = self._linked(node)
                if links >= length * (DENSE if length > SHORT else DENSE_SHORT):
                    node.decompose()
        for node in list(self._body.iter_elements(_NAMED)):
            if node.parent is None or self._left <= 0:
                continue
            if (node.tag in _LISTS and self._leads_away(node)) or (
                _is_named(node)
                and self._measured(node) < MAX_AROUND * self._whole
                and node.select_one("h1") is None
            ):
                node.decompose()

    def _before_heading(self) -> list[turbohtml.Element]:
        """Blocks before the page's first heading, outer ones first."""
        first = next(
            (one for one in self._body.iter_elements(("h1", "h2", "h3")) if not _is_around(one)),
            None,
        )
        if first is None:
            return []
        before = [
            node
            for node in first.preceding
            if isinstance(node, turbohtml.Element) and node.tag in _EDGE
        ]
        return before[::-1]

    def _leads_away(self, node: turbohtml.Element) -> bool:
        """Whether it is a list of the page's translations, or of its own sections."""
        links = list(islice(node.iter_elements("a"), LINKS))
        self._left -= len(links)
        if len(links) < 2:
            return False
        if sum(link.attr("hreflang") is None for link in links) <= 1:  # the one that is shown
            return self._measured(node) < LANGUAGES
        if len(links) < 3 or node.tag == "p":
            return False
        if not all(str(link.attr("href") or "#").startswith("#") for link in links):
            return False
        length = self._measured(node)
        return length < MAX_EDGE * self._whole and self._linked(node) > 0.7 * length

    def _measured(self, node: turbohtml.Element) -> int:
        """The characters of its text; as many as all when measuring has cost too much already."""
        if self._left <= 0:
            return self._whole
        length = _length(node)
        self._left -= length + 10
        return length

    def _linked(self, node: turbohtml.Element) -> int:
        return sum(self._measured(link) for link in node.iter_elements("a"))


def _length(node: turbohtml.Element) -> int:
    return sum(map(len, node.stripped_strings))


def _is_named(node: turbohtml.Element) -> bool:
    named = f"{node.attr('id') or ''} {node.attr('class') or ''}"
    return not NAMES.isdisjoint(_WORD.findall(named.lower()))


def _is_around(node: turbohtml.Element) -> bool:
    while isinstance(parent := node.parent, turbohtml.Element) and parent.tag != "body":
        if _is_named(parent):
            return True
        node = parent
    return False
