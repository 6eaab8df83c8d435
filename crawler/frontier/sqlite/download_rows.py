"""Downloads in the frontier's file: what was ordered, how far it is, which are to be had again.

The blobs are opaque here: `crawler/downloads/download_request.py` writes and reads them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, TypeAlias

from crawler.frontier.sqlite.bulk import BulkStatement
from crawler.frontier.sqlite.corruption import frontier_error, sound
from crawler.frontier.sqlite.read_only import reader
from crawler.frontier.sqlite.statements import KINDS, STATES

Row: TypeAlias = tuple[str, bytes, bytes | None]
"""URL, order, progress."""

AT_ONCE: Final = 500
"""URLs named by one statement."""

_KEEP: Final = BulkStatement(
    "INSERT OR REPLACE INTO file SELECT * FROM ({rows}) WHERE column1 NOT NULL", columns=3
)

_AGAIN: Final = "UPDATE link SET state = 0, attempt = 0, due = NULL, status = NULL, reason = NULL"


def read(db: sqlite3.Connection) -> list[Row]:
    return db.execute("SELECT url, ordered, progress FROM file").fetchall()


def keep(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    _KEEP.run(db, rows)


def again(db: sqlite3.Connection, urls: Sequence[str]) -> None:
    for start in range(0, len(urls), AT_ONCE):
        some = urls[start : start + AT_ONCE]
        marks = ", ".join("?" * len(some))
        db.execute(f"{_AGAIN} WHERE url IN ({marks})", some)


def states(db: sqlite3.Connection) -> dict[str, str]:
    """State by URL of every link that is a download."""
    rows = db.execute("SELECT link.url, link.state FROM link JOIN file ON file.url = link.url")
    return {url: STATES[state] for url, state in rows}


def known_urls(path: Path) -> list[tuple[str, str]]:
    """URL and kind of every link of a crawl, in the order of discovery. Raises FrontierError."""
    try:
        with closing(reader(path)) as db, sound(db):
            rows = db.execute("SELECT url, kind FROM link ORDER BY id").fetchall()
            return [(url, KINDS[kind].value) for url, kind in rows]
    except sqlite3.Error as error:
        raise frontier_error(path, error) from error
