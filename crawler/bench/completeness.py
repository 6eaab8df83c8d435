"""Compares the pages that variants recorded with the site and with each other."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import msgspec


class FoundPage(msgspec.Struct, frozen=True):
    """A record, as variants and the product write it. What is not known is null."""

    url: str
    status: int | None = None
    title: str | None = None
    links: int | None = None
    links_out: int | None = None
    kind: str = "page"


class FoundPages(msgspec.Struct, frozen=True):
    """What a crawl wrote: how many, their digest, and what is wrong with them."""

    number: int
    digest: str
    wrong: tuple[str, ...] = ()


def check_pages(path: Path, expected: Collection[str] | None) -> FoundPages:
    """The pages of a file; `expected` None: nothing is known of the site.

    Sitemaps, which only the product reads, are no pages. The digest covers URL, status, title and
    number of links of every page, in any order.
    """
    lines: list[FoundPage] = []
    if path.exists():
        every = msgspec.json.Decoder(FoundPage).decode_lines(path.read_bytes())
        lines = [line for line in every if line.kind == "page"]
    rows = sorted((o.url, o.status or 0, o.title or "", o.links or o.links_out or 0) for o in lines)
    seen = Counter(row[0] for row in rows)
    wrong = [f"{url} written {times} times" for url, times in seen.items() if times > 1]
    if expected is not None:
        wanted = set(expected)
        wrong += [f"{url} is missing" for url in sorted(wanted - seen.keys())]
        wrong += [f"{url} is not on the site" for url in sorted(seen.keys() - wanted)]
        wrong += [f"{row[0]} has status {row[1]}" for row in rows if row[1] != 200]
    digest = hashlib.sha256(msgspec.json.encode(rows)).hexdigest()[:16]
    return FoundPages(len(rows), digest, tuple(wrong))
