"""mirror.db: which URL has which file in a mirror, of this pass and of the previous one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

from crawler.export.mirror_paths import mirror_path, to_be_hashed
from crawler.export.warc_reader import WarcReader
from crawler.output.warc.index import Capture
from crawler.parse.reader import HTML
from crawler.policy.urls import Urls

MAX_REDIRECTS: Final = 20
"""Redirects followed from one link."""

_RESOLVE_CACHE: Final = 1 << 16
"""URLs whose paths are kept in memory."""

_SCHEMA: Final = """
CREATE TABLE copy (
    url      TEXT PRIMARY KEY,
    position INTEGER,  -- of the last good response; NULL: there was none
    target   TEXT,     -- where it led when it was last a redirect; NULL: nowhere
    path     TEXT      -- of its file; NULL: it has none
) WITHOUT ROWID;
"""


class PreviousMirror:
    """What the last pass wrote; empty when there was none, or its mirror.db is damaged."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(":memory:")
        self._db.execute("CREATE TABLE copy (path TEXT, position INTEGER)")
        if path.exists():
            try:
                stored = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
                try:
                    stored.execute("SELECT path, position FROM copy LIMIT 1").fetchall()
                except sqlite3.DatabaseError:
                    stored.close()
                    raise
            except sqlite3.DatabaseError:
                return
            self._db.close()
            self._db = stored

    def position(self, path: str) -> int | None:
        """The position of the capture that the file was made from; None: no such file."""
        row = self._db.execute("SELECT position FROM copy WHERE path = ?", (path,)).fetchone()
        return None if row is None else int(row[0])

    def paths(self) -> Iterator[str]:
        """The paths of all files."""
        for (path,) in self._db.execute("SELECT path FROM copy WHERE path IS NOT NULL"):
            yield path

    def close(self) -> None:
        self._db.close()


class MirrorIndex:
    """The URLs of an archive with their captures, redirects and paths, in a new mirror.db."""

    def __init__(self, db: sqlite3.Connection, archive: WarcReader, urls: Urls) -> None:
        self._db = db
        self._archive = archive
        self._urls = urls
        db.executescript(_SCHEMA)
        self.path_of = lru_cache(_RESOLVE_CACHE)(self._resolve)

    def record_captures(self) -> None:
        """Record the last good response and the last redirect of every URL."""
        for capture in self._archive.captures.every():
            if capture.status == 200:
                self._db.execute(
                    "INSERT INTO copy (url, position) VALUES (?1, ?2) ON CONFLICT (url) "
                    "DO UPDATE SET position = ?2, target = NULL",
                    (capture.url, capture.position),
                )
            elif capture.target is not None:
                self._db.execute(
                    "INSERT INTO copy (url, target) VALUES (?1, ?2) ON CONFLICT (url) "
                    "DO UPDATE SET target = ?2",
                    (capture.url, self._urls.canonical(capture.target)),
                )

    def assign_paths(self) -> str | None:
        """Give every copy its path. Returns that of the first HTML page, else of the first copy;
        None: there is no copy.
        """
        start = first = None
        # Sorted before the first row is returned, so the table may change meanwhile.
        rows = self._db.execute("SELECT url FROM copy WHERE position IS NOT NULL ORDER BY position")
        for (url,) in rows:
            mime = self._assign_path(url)
            first = first or url
            if start is None and mime in HTML:
                start = url
        self._separate_case_variants()
        row = self._db.execute("SELECT path FROM copy WHERE url = ?", (start or first,)).fetchone()
        return None if row is None else str(row[0])

    def copies(self) -> Iterator[tuple[Capture, str]]:
        """Each capture that has a file, with the file's path, in the order of the archive."""
        query = "SELECT position, path FROM copy WHERE path IS NOT NULL ORDER BY position"
        for position, path in self._db.execute(query):
            yield self._capture(position), path

    def has_path(self, path: str) -> bool:
        """Whether a copy has this path."""
        query = "SELECT 1 FROM copy WHERE path = ?"
        return self._db.execute(query, (path,)).fetchone() is not None

    def _capture(self, position: int) -> Capture:
        capture = self._archive.captures.at(position)
        assert capture is not None
        return capture

    def _assign_path(self, url: str, *, hashed: bool = False) -> str:
        """Give a copy its path; returns its MIME type."""
        query = "SELECT position FROM copy WHERE url = ?"
        capture = self._capture(self._db.execute(query, (url,)).fetchone()[0])
        path = mirror_path(url, capture.mime, hashed=hashed)
        self._db.execute("UPDATE copy SET path = ? WHERE url = ?", (path, url))
        return capture.mime

    def _separate_case_variants(self) -> None:
        """Add a hash to paths that are the same on a file system that folds case."""
        self._db.execute("CREATE INDEX copy_exact ON copy (path)")
        self._db.execute("CREATE INDEX copy_folded ON copy (path COLLATE NOCASE)")
        shared = self._db.execute(
            "SELECT path FROM copy WHERE path IS NOT NULL GROUP BY path COLLATE NOCASE "
            "HAVING count(*) > 1"
        ).fetchall()
        for (path,) in shared:
            same = self._db.execute(
                "SELECT url, path FROM copy WHERE path = ? COLLATE NOCASE", (path,)
            ).fetchall()
            for url in to_be_hashed(same):
                self._assign_path(url, hashed=True)
        self._db.execute("DROP INDEX copy_folded")
        self._db.execute("CREATE UNIQUE INDEX copy_path ON copy (path COLLATE NOCASE)")

    def _resolve(self, url: str) -> str | None:
        """The path of what a URL leads to, through redirects; None: it is not in the mirror."""
        path: str | None = None
        for _ in range(MAX_REDIRECTS):
            row = self._db.execute("SELECT path, target FROM copy WHERE url = ?", (url,)).fetchone()
            if row is None:
                return path
            path = row[0] or path
            if row[1] is None or row[1] == url:
                return path
            url = row[1]
        return path
