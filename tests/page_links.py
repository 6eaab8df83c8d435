"""Are a page's links lost? Our reader against html5lib, a parser that shares nothing with it.

    python tests/page_links.py [-n PAGES] FOLDER...     (make test-links PAGES="FOLDER...")

reads HTML files, up to so many of each folder, and names every link that html5lib's tree has and
ours does not. Of Debian's documentation packages (`apt-get download`, `dpkg -x`) there are some
40,000. URLs are joined by the standard's algorithm alone, without the short cuts of ours.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import ada_url
import html5lib
from helpers.reading import reader

from crawler.config.model import UrlsConfig
from crawler.parse.reader import PageReader
from crawler.policy.urls import Urls
from crawler.records import CrawlUrl

BASE: Final = "http://docs.test"
XHTML: Final = "{http://www.w3.org/1999/xhtml}"
SVG_A: Final = "{http://www.w3.org/2000/svg}a"
XLINK: Final = "{http://www.w3.org/1999/xlink}href"

NAMED: Final = {
    "a": "href", "area": "href", "iframe": "src", "frame": "src", "img": "src", "script": "src",
    "source": "src", "video": "src", "audio": "src", "track": "src", "embed": "src",
    "input": "src", "object": "data",
}  # fmt: skip
RELS: Final = frozenset(
    {"stylesheet", "icon", "next", "prev", "index", "search", "up", "help", "contents", "start",
     "canonical", "author", "license", "manifest"}
)  # fmt: skip
"""Of `<link>`: kinds of which there is no doubt that they are followed or fetched."""


def wanted(markup: bytes | str, url: str) -> set[str]:
    """Absolute http URLs without fragments that a page names, as html5lib's tree has them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of encodings, and of its own dependencies
        tree = html5lib.parse(markup, treebuilder="etree")
    base = url
    hrefs: list[str] = []
    named = (one.get("href") for one in tree.iter(f"{XHTML}base"))
    if bases := [one for one in named if one is not None]:
        base = _joined(url, bases[0]) or url
    for node in tree.iter():
        hrefs += _named(node)
    joined = (_joined(base, href) for href in hrefs if base != url or _leads_on(href))
    return {one for one in joined if one is not None}


def _named(node: Any) -> Iterator[str]:
    tag = node.tag if isinstance(node.tag, str) else ""
    if tag == SVG_A:
        value = node.get("href") or node.get(XLINK)
    elif not tag.startswith(XHTML):
        return
    else:
        name = tag.removeprefix(XHTML)
        value = node.get(NAMED[name]) if name in NAMED else None
        if name == "link" and not RELS.isdisjoint((node.get("rel") or "").lower().split()):
            value = node.get("href")
        # An empty href of a <link> names nothing (HTML §4.6.5); of a hyperlink, this page.
        if name not in {"a", "area"} and not (value or "").strip("\t\n\f\r "):
            return
    if value is not None:
        yield value


def _leads_on(href: str) -> bool:
    href = href.strip("\t\n\f\r ")
    return href != "" and href[0] != "#"


def _joined(base: str, href: str) -> str | None:
    try:
        whole = ada_url.join_url(base, href)
    except ValueError:
        return None
    if not whole.startswith(("http://", "https://")):
        return None
    parts = re.match(r"(https?://)(?:[^/@]*@)?([^#]*)", whole)
    assert parts is not None
    return parts[1] + parts[2]


def found(markup: bytes, url: str, reading: PageReader, content_type: str) -> tuple[set[str], str]:
    """What our reader finds there, and why not all of it was taken."""
    extract = reading.read(CrawlUrl(url, "docs.test"), (("Content-Type", content_type),), markup)
    return {one[0] for one in extract.found}, extract.incomplete


def plain_reader() -> PageReader:
    """A reader that takes nothing off a URL but its fragment."""
    return reader(urls=Urls(UrlsConfig(strip_query=())))


def files(folder: Path, most: int) -> list[Path]:
    every = sorted(one for one in folder.rglob("*") if one.suffix in {".html", ".htm", ".xhtml"})
    every = [one for one in every if one.is_file() and not one.is_symlink()]
    return every if len(every) <= most else random.Random(1).sample(every, most)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("-n", type=int, default=500, help="pages of each folder at most")
    options = parser.parse_args()
    reading = plain_reader()
    sums: Counter[str] = Counter()
    ours = theirs = 0.0
    for folder in options.folders:
        for path in files(folder, options.n):
            markup = path.read_bytes()
            url = f"{BASE}/{quote(str(path.relative_to(folder)))}"
            began = time.perf_counter()
            have, incomplete = found(markup, url, reading, "text/html")
            ours += time.perf_counter() - began
            began = time.perf_counter()
            want = wanted(markup, url)
            theirs += time.perf_counter() - began
            lost = want - have
            sums.update(pages=1, links=len(want), lost=len(lost), more=len(have - want))
            sums.update(bytes=len(markup), incomplete=bool(incomplete), pages_with_loss=bool(lost))
            for one in sorted(lost)[:5]:
                sys.stdout.write(f"lost: {one}\n  of {path}\n")
    sys.stdout.write(f"{dict(sums)} ours {ours:.1f} s, html5lib {theirs:.1f} s\n")
    return 1 if sums["lost"] or sums["incomplete"] else 0


if __name__ == "__main__":
    sys.exit(main())
