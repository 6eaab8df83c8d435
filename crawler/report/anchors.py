"""Find fragments without a target: `page.html#part` where the page has no such id."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final, Self

import msgspec

from crawler.errors import SinkError
from crawler.records import CrawlResult, Outcome

MAX_SOURCES: Final = 25
"""Linking pages listed for one fragment; further ones are counted."""

_TABLES: Final = """
CREATE TABLE have (url TEXT, name TEXT, PRIMARY KEY (url, name)) WITHOUT ROWID;
CREATE TABLE leads (url TEXT PRIMARY KEY, target TEXT) WITHOUT ROWID;
CREATE TABLE want (url TEXT, name TEXT, source TEXT, PRIMARY KEY (url, name, source)) WITHOUT ROWID;
"""

_MISSING: Final = """
WITH RECURSIVE way (url, name, source, at, step) AS (
    SELECT url, name, source, url, 0 FROM want
    UNION ALL SELECT way.url, name, source, leads.target, step + 1
    FROM way JOIN leads ON leads.url = way.at WHERE step < 10)
SELECT url, name, source FROM way WHERE at IN (SELECT url FROM have WHERE name = '')
AND NOT EXISTS (SELECT 1 FROM have WHERE have.url = way.at AND have.name = way.name)
ORDER BY url, name, source
"""


class Missing(msgspec.Struct, frozen=True):
    """A fragment that its page does not have, and the pages that link to it."""

    url: str
    fragment: str
    pages: int
    sources: tuple[str, ...]


class Anchors:
    """Implements `interfaces.Sink`. Stores anchors and links on disk, because pages are visited in
    any order.
    """

    name = "anchors"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection

    def __enter__(self) -> Self:
        self._path.unlink(missing_ok=True)
        self._db = sqlite3.connect(self._path, check_same_thread=False)
        self._db.execute("PRAGMA synchronous = OFF")  # every check creates it anew
        self._db.executescript(_TABLES)
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        self._path.unlink(missing_ok=True)

    async def append(self, visits: Sequence[CrawlResult]) -> int:
        """Store the ids, fragment links and redirects of visited pages. Raises SinkError."""
        try:
            await asyncio.to_thread(self._write, visits)
        except sqlite3.Error as error:
            raise SinkError(f"{self._path}: {error}") from error
        return 0

    async def cut(self, mark: int) -> None:
        """Nothing to truncate: recording a page twice changes nothing."""

    def _write(self, visits: Sequence[CrawlResult]) -> None:
        have, want, leads = [], [], []
        for visit in visits:
            extract, url = visit.extract, visit.link.url
            if visit.outcome is Outcome.MOVED:
                leads.append((url, visit.found[0][0]))
            if extract is None or extract.anchors is None:
                continue
            have.append((url, ""))  # this page was parsed
            have += [(url, name) for name in extract.anchors]
            want += [(target, name, url) for target, name in extract.fragments]
        with self._db:
            self._db.executemany("INSERT OR IGNORE INTO have VALUES (?, ?)", have)
            self._db.executemany("INSERT OR REPLACE INTO leads VALUES (?, ?)", leads)
            self._db.executemany("INSERT OR IGNORE INTO want VALUES (?, ?, ?)", want)

    def missing(self) -> Iterator[Missing]:
        """Missing fragments of parsed pages, also of pages that redirects lead to."""
        rows = self._db.execute(_MISSING)
        for (url, name), group in groupby(rows, key=lambda row: (row[0], row[1])):
            pages, sources = 0, []
            for _, _, source in group:
                pages += 1
                if pages <= MAX_SOURCES:
                    sources.append(source)
            yield Missing(url, name, pages, tuple(sources))
