"""A page's main content as clean Markdown with front matter. Runs in a parse process.

turbohtml writes the Markdown; what it escapes without need is taken back, so that `snake_case` and
`array[0]` are read as they stand, and what HTML escaped never becomes markup (decision 0120).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final

import turbohtml

from crawler.parse.content import main_content
from crawler.parse.markdown_tables import make_plain

Join = Callable[[str, str], str | None]

_OPTIONS: Final = turbohtml.Markdown(tables=turbohtml.Markdown.Tables(cell_blocks="text"))
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]+")
"""What a terminal takes for commands; line feeds and tabs stay. They are replaced, not removed:
what stands behind one must not begin a line."""

_SPACE_AT_END: Final = re.compile(r"(?m)(?<=\S)[ \t]$|^[ \t]+$")


def to_markdown(html: str, url: str, *, title: str = "", lang: str = "", join: Join) -> str:
    """Front matter (title, url, date where the page names one, language), then the content.

    `join` makes addresses absolute. A page without content has front matter alone.
    """
    tree = turbohtml.parse(html, positions=False)
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
    return f"---\n{matter}---\n\n{_content(tree, url, join)}"


def _content(tree: turbohtml.Document, url: str, join: Join) -> str:
    found = main_content(tree)
    if found is None:
        return ""
    for node in found.select(_EMPTY):
        if node.tag == "img" or _says_nothing(node):
            node.decompose()
    make_plain(found)
    for node in found.select("[href],[src]"):
        for name in ("href", "src"):
            value = str(node.attr(name) or "")
            if value and not value.startswith(("data:", "mailto:", "tel:")):
                target = _absolute(url, value, join)
                if target is None:
                    del node.attrs[name]  # javascript: and the like
                else:
                    node.attrs[name] = target
    text = _CONTROL.sub("\ufffd", found.to_markdown(_OPTIONS))
    text = _SPACE_AT_END.sub("", lean(text)).strip()
    return f"{text}\n" if text else ""


_EMPTY: Final = "a[href^='#'],img[alt='']"
"""Links within the page, of which many say nothing, and images that say that they mean nothing."""

_MARKS: Final = frozenset({"", "¶", "#", "§", "↑", "^", "top", "🔗"})


def _says_nothing(link: turbohtml.Element) -> bool:
    """A heading's link to itself, or one back to the top."""
    return link.text.strip().lower() in _MARKS and link.select_one("[id],[name]") is None


# ── escapes ──────────────────────────────────────────────────────────────────────────────────────

_PIECE: Final = re.compile(
    r"(?P<code>(?P<ticks>`+)(?!`)(?:.*?[^`])??(?P=ticks)(?!`))"
    r"|(?P<word>(?<=[^\W_])(?:\\_)+(?=[^\W_]))"
    r"|(?P<star>(?<=\w )\\\*(?= ))"
    r"|(?P<tag>\\<(?P<inside>[^<>\n`]*)(?P<close>>?))"
    r"|(?P<nbsp>&#160;)"
    r"|(?P<entity>\\&)"
    r"|(?P<square>\\\[(?P<index>[^\[\]\n\\`]*)\\\](?![(\[:]))"
    r"|(?P<sign>(?m:^[ \t]*)\\[+#](?=[^\s#+]))"
    r"|(?P<back>\\\\(?=[A-Za-z0-9]))"
    r"|\\.",
    re.DOTALL,
)
_TASK: Final = re.compile(r"[ xX]|\^.*")


def lean(markdown: str) -> str:
    r"""Markdown as turbohtml writes it, without the backslashes that no reader of CommonMark needs:
    within words (§6.2), before a lone `*`, around brackets that are no link, before `+1`, `#tag`
    and letters. `\<` and `\&` become `&lt;` and `&amp;`: what is no tag looks like none.

    Code is left as it is. The text that a reader of CommonMark sees stays the same.
    """
    return _PIECE.sub(_leaner, markdown)


def _leaner(found: re.Match[str]) -> str:
    text = found[0]
    if found["code"]:
        return text
    if found["word"] or found["star"] or found["sign"]:
        return text.replace("\\", "")
    if found["tag"]:
        return f"&lt;{lean(found['inside'])}{'&gt;' if found['close'] else ''}"
    if found["nbsp"]:
        return " "
    if found["entity"]:
        return "&amp;"
    if found["square"]:
        return text if _TASK.fullmatch(found["index"]) else f"[{found['index']}]"
    if found["back"]:
        return "\\"
    return text


# ── addresses and dates ──────────────────────────────────────────────────────────────────────────


def _absolute(url: str, href: str, join: Join) -> str | None:
    """With the fragment that the crawl takes off: in a text it leads to the right place."""
    path, mark, fragment = href.strip().partition("#")
    target = join(url, path) if path else url
    return None if target is None else f"{target.partition('#')[0]}{mark}{fragment}"


def _date(tree: turbohtml.Document) -> str:
    """The day of publication, where the page says it in so many words."""
    for selector, name in _DATES:
        node = tree.select_one(selector)
        value = str(node.attr(name) or "") if node is not None else ""
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
