"""How much of an article is in its text, and how much that is none: `make test-text`.

    python tests/article_words.py [-n PAGES]

reads pages of Debian's documentation packages, as far as they are installed: postgresql-doc-15,
apache2-doc, python3.11-doc, openjdk-17-doc, fp-docs-3.2.2, sqlite3-doc, git-doc. What the article
is says one selector a site, chosen by hand, in the tree of another parser (BeautifulSoup on lxml).
Recall is the share of the article's words, counted with their number, that are in what a reader of
CommonMark sees of our Markdown; boilerplate is the share of its words that are not the article's.
Beside it trafilatura, where that is installed. Exit code 1 when a site has a recall below 0.95.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import turbohtml
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt

from crawler.config.model import UrlsConfig
from crawler.parse.decode import to_text
from crawler.parse.markdown import to_markdown
from crawler.policy.urls import Urls

DOC: Final = Path("/usr/share/doc")
SITES: Final = {
    "postgresql": (DOC / "postgresql-doc-15/html", "body", ".navheader,.navfooter"),
    "apache": (
        DOC / "apache2-doc/manual/en", "#page-content",
        "#quickview,.toplang,.bottomlang,#comments_section,.top,.permalink",
    ),
    "python": (DOC / "python3.11/html", "[role=main]", ".headerlink"),
    "openjdk": (Path("/usr/share/doc/openjdk-17-jre-headless/api/java.base"), "main", ".copy"),
    "fp": (DOC / "fp-docs/3.2.2", "body", "table.bar,.crosslinks"),
    "sqlite": (DOC / "sqlite3", "body", ".nosearch,.searchmenu"),
    "git": (DOC / "git-doc", "body", "#footer"),
}  # fmt: skip
"""Folder, the article's selector, and what inside it is none."""

UNSEEN: Final = "script,style,noscript,template,svg,form,button,[hidden]"
LEAST: Final = 60
"""Words of a page that counts as an article."""

RECALL: Final = 0.95

_READ: Final = MarkdownIt("commonmark").enable("table")
_JOIN: Final = Urls(UrlsConfig()).join


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.lower()))


def seen(markdown: str) -> str:
    """The text that a reader of the Markdown sees, without its front matter."""
    body = re.sub(r"\A---\n.*?\n---\n", "", markdown, flags=re.DOTALL)
    found = turbohtml.parse(_READ.render(body)).find("body")
    return "" if found is None else " ".join(found.stripped_strings)


def ours(html: str) -> str:
    return to_markdown(html, "http://docs.test/a/b.html", join=_JOIN)


def article(html: str, selector: str, without: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # XHTML read as HTML
        tree = BeautifulSoup(html, "lxml")
    root = tree.select_one(selector)
    if root is None:
        return ""
    for node in root.select(f"{without},{UNSEEN}"):
        node.decompose()
    return root.get_text(" ")


def pages(name: str, most: int) -> Iterator[tuple[Path, str, str]]:
    folder, selector, without = SITES[name]
    files = sorted(folder.rglob("*.html"))
    random.Random(5).shuffle(files)
    number = 0
    for path in files:
        html = to_text(path.read_bytes(), "")[0]
        text = article(html, selector, without)
        if words(text).total() >= LEAST:
            yield path, html, text
            number += 1
            if number == most:
                return


def score(expected: str, got: str) -> tuple[float, float]:
    want, have = words(expected), words(got)
    recall = (want & have).total() / max(1, want.total())
    return recall, (have - want).total() / max(1, have.total())


def _readers() -> dict[str, Callable[[str], str]]:
    found: dict[str, Callable[[str], str]] = {"crawler": ours}
    try:
        import trafilatura  # noqa: PLC0415 - not ours: installed for the comparison
    except ImportError:
        return found
    found["trafilatura"] = lambda html: trafilatura.extract(html, include_tables=True) or ""
    return found


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-n", type=int, default=100, metavar="PAGES", help="of each site [100]")
    most = parser.parse_args(argv).n
    bad = False
    _say("| site | pages | reader | recall | boilerplate | pages below 0.5 | CPU ms a page |")
    _say("|---|--:|---|--:|--:|--:|--:|")
    for name in SITES:
        sample = list(pages(name, most))
        for reader, read in _readers().items() if sample else ():
            began = time.process_time()
            texts = [read(html) for _, html, _ in sample]
            spent = (time.process_time() - began) * 1000 / len(sample)
            if reader == "crawler":
                texts = [seen(text) for text in texts]
            scores = [score(text, got) for (_, _, text), got in zip(sample, texts, strict=True)]
            recall = sum(one for one, _ in scores) / len(scores)
            waste = sum(one for _, one in scores) / len(scores)
            few = sum(one < 0.5 for one, _ in scores)
            figures = f"{recall:.3f} | {waste:.3f} | {few} | {spent:.1f}"
            _say(f"| {name} | {len(sample)} | {reader} | {figures} |")
            bad = bad or (reader == "crawler" and recall < RECALL)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
