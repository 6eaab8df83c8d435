"""A page's main content as clean Markdown with front matter. Runs in a parse process.

Where the author marked it (<main>, one <article>), that is the main content; elsewhere readability
finds it. Why these libraries: docs/decisions/0043-markdown.md.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from typing import Final

from selectolax.lexbor import LexborHTMLParser, LexborNode

from crawler.errors import ConfigError

AROUND: Final = (
    "nav,script,style,noscript,template,iframe,form,button,svg,dialog,[hidden],[aria-hidden=true],"
    "main aside,main footer,article footer,.headerlink,[role=navigation],[role=search]"
)
"""What is on a page and not in its content; headerlink is Sphinx's ¶ after each heading."""

MIN_TEXT: Final = 50
"""Characters; an emptier <main> is filled by a script, and readability may find more."""

_SPACE_AT_END: Final = re.compile(r"(?m)(?<=\S)[ \t]$")

Join = Callable[[str, str], str | None]


def check_installed() -> None:
    """Raises ConfigError when the extra is missing: before a crawl, not on its first page."""
    try:
        import html_to_markdown  # noqa: F401, PLC0415 - an extra
        import readability  # noqa: F401, PLC0415
    except ImportError as error:
        raise ConfigError(f"--text needs {error.name}: pip install 'crawler[text]'") from error


def to_markdown(html: str, url: str, *, title: str = "", lang: str = "", join: Join) -> str:
    """Front matter (title, url, date where the page names one, language), then the content.

    `join` makes addresses absolute. A page without content has front matter alone.
    """
    tree = LexborHTMLParser(html)
    head = {
        "title": title,
        "url": url,
        "date": _date(tree),
        "language": lang,
    }
    matter = "".join(
        f"{name}: {json.dumps(value, ensure_ascii=False)}\n"
        for name, value in head.items()
        if value
    )
    return f"---\n{matter}---\n\n{_content(tree, html, url, join)}"


def _content(tree: LexborHTMLParser, html: str, url: str, join: Join) -> str:
    from html_to_markdown import ConversionOptions, convert  # noqa: PLC0415 - an extra

    options = ConversionOptions(extract_metadata=False)
    found = _marked(tree)
    if found is None:
        from readability import Document  # noqa: PLC0415 - an extra, 0.1 s

        logging.getLogger("readability").setLevel(logging.CRITICAL)  # it logs what it raises
        try:
            tree = LexborHTMLParser(Document(html, url=url).summary(html_partial=True))
        except Exception:  # noqa: BLE001 - it raises Unparseable, lxml's errors and others
            tree = LexborHTMLParser(html)
        found = tree.body
    if found is None:
        return ""
    for node in found.css(AROUND):
        node.decompose()
    for node in found.css("[href],[src]"):
        for name in ("href", "src"):
            value = node.attributes.get(name)
            if value and not value.startswith(("data:", "mailto:", "tel:")):
                target = _absolute(url, value, join)
                if target is None:
                    del node.attrs[name]  # javascript: and the like
                else:
                    node.attrs[name] = target
    text = convert(found.html or "", options).content or ""
    text = _SPACE_AT_END.sub("", text).strip()
    return f"{text}\n" if text else ""


def _marked(tree: LexborHTMLParser) -> LexborNode | None:
    for selector in ("main", "[role=main]", "article"):
        found = tree.css(selector)
        if len(found) == 1 and len(found[0].text(strip=True)) >= MIN_TEXT:
            return found[0]
    return None


def _absolute(url: str, href: str, join: Join) -> str | None:
    """With the fragment that the crawl takes off: in a text it leads to the right place."""
    path, mark, fragment = href.strip().partition("#")
    target = join(url, path) if path else url
    return None if target is None else f"{target.partition('#')[0]}{mark}{fragment}"


def _date(tree: LexborHTMLParser) -> str:
    """The day of publication, where the page says it in so many words."""
    for selector, name in _DATES:
        node = tree.css_first(selector)
        value = (node.attributes.get(name) or "") if node is not None else ""
        if match := re.match(r"\d{4}-\d{2}-\d{2}", value.strip()):
            return match[0]
    return ""


_DATES: Final = (
    ('meta[property="article:published_time"]', "content"),
    ('meta[itemprop="datePublished"]', "content"),
    ('meta[name="date"]', "content"),
    ('meta[name="DC.date"]', "content"),
    ("article time[datetime]", "datetime"),
)
