"""The other parsers, filling the same record by the same rules: only the tree is another.

Which elements count, and what their attributes mean, is the product's (`crawler/parse/html.py`).
What styles refer to (`styles`) is left out: a crawl of pages does not ask for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

from crawler.bench.crawl_task import ParserName
from crawler.errors import ConfigError
from crawler.parse.attribute_values import SPACE
from crawler.parse.html import (
    MAX_TITLE,
    PAGE,
    RawPage,
    _media,
    _meta,
    _shelf,
    add_link,
    read_html,
)

SILENT: Final = frozenset({"script", "style", "noscript", "template", "head"})
MEDIA: Final = {
    "iframe": "src", "frame": "src", "img": "", "source": "", "video": "", "audio": "",
    "track": "src", "script": "src", "embed": "src", "object": "data", "input": "src",
}  # fmt: skip
"""Elements that load something, and the attribute without which they do not."""


class Html(Protocol):
    """As `parse.html.read_html` is called by the reader."""

    def __call__(
        self, text: str, *, forms: bool, agent: str = "", styles: bool = False
    ) -> RawPage: ...


Element = tuple[str, dict[str, str | None]]


def _turbohtml() -> Html:
    return read_html


def _lexbor() -> Html:
    from selectolax.lexbor import LexborHTMLParser  # noqa: PLC0415 - a row's own cost

    telling = ",".join(
        ["a[href],area[href],link[href],meta,base[href],form[action]",
         *(f"{tag}[{name}]" if name else tag for tag, name in MEDIA.items())]
    )  # fmt: skip

    def read(text: str, *, forms: bool, agent: str = "", styles: bool = False) -> RawPage:  # noqa: ARG001
        tree = LexborHTMLParser(text)
        elements = ((node.tag or "", node.attributes) for node in tree.css(telling))
        raw = _filled(elements, forms=forms, agent=agent)
        root, title = tree.root, tree.css_first("head title") or tree.css_first("title")
        if root is not None:
            raw.lang = (root.attributes.get("lang") or "").strip(SPACE)[:35]
        if title is not None:
            raw.title = _spaced([title.text()])[:MAX_TITLE]
        tree.strip_tags([*SILENT])
        if tree.body is not None:
            raw.text = raw.main = _spaced([tree.body.text(separator=" ")])
        return raw

    return read


def _lxml() -> Html:
    try:
        from lxml import etree, html  # noqa: PLC0415 - of the extra `bench`
    except ImportError as error:
        raise ConfigError(
            "the parser lxml is not installed: pip install 'crawler[bench]'"
        ) from error

    def read(text: str, *, forms: bool, agent: str = "", styles: bool = False) -> RawPage:  # noqa: ARG001
        # As bytes with a declared encoding: lxml refuses text that names an encoding of its own.
        parser = html.HTMLParser(encoding="utf-8", huge_tree=True)
        try:
            tree = html.document_fromstring(text.encode("utf-8", "replace"), parser=parser)
        except (etree.ParserError, ValueError):  # an empty page
            return RawPage()
        elements = ((e.tag, dict(e.attrib)) for e in tree.iter() if isinstance(e.tag, str))
        raw = _filled(elements, forms=forms, agent=agent)
        raw.lang = (tree.get("lang") or "").strip(SPACE)[:35]
        title = tree.find(".//title")
        if title is not None:
            raw.title = _spaced([title.text_content()])[:MAX_TITLE]
        body = tree.find("body")
        if body is not None:
            etree.strip_elements(body, *SILENT, etree.Comment, with_tail=False)
            raw.text = raw.main = _spaced(body.itertext())
        return raw

    return read


def _soup(features: str) -> Callable[[], Html]:
    def make() -> Html:
        from bs4 import BeautifulSoup  # noqa: PLC0415 - 50 ms that only its row pays

        def read(text: str, *, forms: bool, agent: str = "", styles: bool = False) -> RawPage:  # noqa: ARG001
            soup = BeautifulSoup(text, features, multi_valued_attributes=None)
            raw = _filled(
                ((e.name, dict(e.attrs)) for e in soup.find_all(True)), forms=forms, agent=agent
            )
            root = soup.html
            if root is not None:
                raw.lang = str(root.get("lang") or "").strip(SPACE)[:35]
            title = soup.find("title")
            if title is not None:
                raw.title = _spaced([title.get_text()])[:MAX_TITLE]
            body = soup.body
            if body is not None:
                for silent in body.find_all(list(SILENT)):
                    silent.decompose()
                raw.text = raw.main = _spaced(body.stripped_strings)
            return raw

        return read

    return make


PARSERS: Final[Mapping[ParserName, Callable[[], Html]]] = {
    "turbohtml": _turbohtml,
    "lexbor": _lexbor,
    "lxml": _lxml,
    "soup-lxml": _soup("lxml"),
    "soup-html": _soup("html.parser"),
}
"""Each makes its reader when asked: a parser that is not used is not imported."""


def _filled(elements: Iterable[Element] | Iterator[Any], *, forms: bool, agent: str) -> RawPage:
    raw = RawPage()
    here = False  # a link names this page, or what <base> says
    for tag, attributes in elements:
        if tag in {"a", "area"}:
            href = (attributes.get("href") or "").strip(SPACE)
            if href and href[0] != "#":
                _shelf(attributes, raw)[href, PAGE] = None
            else:
                here = here or "href" in attributes
        elif tag == "link":
            add_link(attributes, raw)
        elif tag == "meta":
            _meta(attributes, raw, agent)
        elif tag == "base":
            if raw.base is None and "href" in attributes:
                raw.base = (attributes.get("href") or "").strip(SPACE)
        elif tag == "form":
            if forms and "action" in attributes:
                raw.links[(attributes["action"] or "").strip(SPACE), PAGE] = None
        elif tag in MEDIA and (not MEDIA[tag] or MEDIA[tag] in attributes):
            _media(tag, attributes, raw.links)
    if here and raw.base:
        raw.links["", PAGE] = None
    return raw


def _spaced(pieces: Iterable[str]) -> str:
    return " ".join(" ".join(pieces).split())
