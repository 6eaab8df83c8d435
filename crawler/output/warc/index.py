"""What is in the archive and where: one row a capture, beside the WARC files. Blocking.

Everything made of an archive (CDXJ, WACZ, mirror) reads this table instead of unpacking files, and
the sink looks up in it whether a payload is there already. A position is a file's number and an
offset in one integer, so positions grow in the order of writing and a mark is one too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from crawler.errors import SinkError, SinkLost
from crawler.utils.file_identity import trouble

OFFSET_BITS: Final = 40
"""A terabyte a file, eight million files, in SQLite's 63 bits."""

_SCHEMA: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE capture (
    position INTEGER PRIMARY KEY,  -- file number << 40 | offset of the record
    length   INTEGER NOT NULL,     -- of the record, compressed
    url      TEXT NOT NULL,
    at       INTEGER NOT NULL,     -- Unix microseconds
    status   INTEGER NOT NULL,
    mime     TEXT NOT NULL,        -- as decided when read, else as claimed; may be empty
    charset  TEXT NOT NULL,        -- as decided; empty: not text, or not read
    digest   TEXT NOT NULL,        -- of the payload, as in WARC-Payload-Digest
    target   TEXT,                 -- of a redirect, absolute
    title    TEXT NOT NULL,
    original INTEGER               -- a revisit's: the capture that has the payload
);
CREATE TABLE payload (
    digest   TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) WITHOUT ROWID;
"""

VERSION: Final = 1


def position_of(number: int, offset: int) -> int:
    return number << OFFSET_BITS | offset


def place_of(position: int) -> tuple[int, int]:
    """File number and offset."""
    return position >> OFFSET_BITS, position & ((1 << OFFSET_BITS) - 1)


class Capture(msgspec.Struct, frozen=True, gc=False):
    """One row; see the table."""

    position: int
    length: int
    url: str
    at: int
    status: int
    mime: str
    charset: str
    digest: str
    target: str | None
    title: str
    original: int | None


class WarcIndex:
    """The table, open. `writable=False`: as it is, also while a crawl writes it."""

    def __init__(self, path: Path, *, writable: bool, durable: str = "process") -> None:
        """Raises SinkError when it cannot be opened or is of another version."""
        self._path = path
        try:
            mode = "rwc" if writable else "ro"
            self._db = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode={mode}",
                uri=True,
                isolation_level=None,
                check_same_thread=False,  # one thread at a time: the sink's
            )
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0 and writable:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.executescript(
                    f"BEGIN IMMEDIATE;\n{_SCHEMA}\nPRAGMA user_version = {VERSION};\nCOMMIT;"
                )
            elif version != VERSION:
                raise SinkError(f"{path}: archive index of version {version}, not {VERSION}")
            self._db.execute(f"PRAGMA synchronous = {'FULL' if durable == 'power' else 'NORMAL'}")
            self._opened = path.stat()
        except sqlite3.Error as error:
            raise SinkError(f"{path}: {error}") from error
        except OSError as error:
            raise SinkError(f"{path}: {error.strerror}") from error

    def close(self) -> None:
        with suppress(sqlite3.Error):  # somebody reads: then it stays as it is
            self._db.execute("PRAGMA journal_mode = DELETE")  # readable from a medium, too
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Raises SinkError."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.look()
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise SinkError(f"{self._path}: {error}") from error

    def look(self) -> None:
        """Raises SinkError when the file is not at its path any more."""
        try:
            wrong = trouble(self._path, self._opened)
        except OSError as error:
            raise SinkError(f"{self._path}: {error.strerror}") from error
        if wrong:
            raise SinkLost(f"{self._path}: {wrong}")

    def note(self, name: str, value: str | int) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def noted(self, name: str) -> str | int | None:
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def add(self, capture: Capture) -> None:
        """Enter a capture; its payload is known from now on, unless it is a revisit."""
        self._db.execute(
            "INSERT INTO capture VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            msgspec.structs.astuple(capture),
        )
        if capture.original is None:
            self._db.execute(
                "INSERT OR IGNORE INTO payload VALUES (?, ?)", (capture.digest, capture.position)
            )

    def forget(self, mark: int) -> None:
        """Drop what was entered at `mark` or behind it."""
        newer = "(SELECT 1 FROM capture WHERE position >= ?)"
        self._db.execute(
            f"DELETE FROM payload WHERE position >= ? AND EXISTS {newer}",  # noqa: S608 - no input
            (mark, mark),
        )
        self._db.execute("DELETE FROM capture WHERE position >= ?", (mark,))

    def with_payload(self, digest: str) -> Capture | None:
        """The capture that holds this payload."""
        return self._one(
            "SELECT capture.* FROM payload JOIN capture USING (position) WHERE payload.digest = ?",
            digest,
        )

    def latest_of(self, url: str) -> Capture | None:
        """The last answer of status 200 from this URL: what a 304 speaks of."""
        self._db.execute("CREATE INDEX IF NOT EXISTS capture_url ON capture (url)")  # 304s only
        return self._one(
            "SELECT * FROM capture WHERE url = ? AND status = 200 ORDER BY position DESC LIMIT 1",
            url,
        )

    def at(self, position: int) -> Capture | None:
        return self._one("SELECT * FROM capture WHERE position = ?", position)

    def every(self) -> Iterator[Capture]:
        """All captures in the order of writing."""
        for row in self._db.execute("SELECT * FROM capture ORDER BY position"):
            yield Capture(*row)

    def _one(self, query: str, value: object) -> Capture | None:
        row = self._db.execute(query, (value,)).fetchone()
        return Capture(*row) if row else None
