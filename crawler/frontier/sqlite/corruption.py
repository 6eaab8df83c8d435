"""Detect a corrupt frontier file and report it in one line.

SQLite keeps no checksums: a byte that turned over in a text is a text like any other. So what
cannot be made sense of is looked at once more, all of it, before anybody is blamed: the file where
something in it is wrong, else this program.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from crawler.errors import FrontierError, FrontierLost
from crawler.frontier.sqlite.statements import KINDS, STATES
from crawler.policy.urls import fingerprint

NONSENSE: Final = (TypeError, ValueError, LookupError, AttributeError)
"""What code raises that was given something else than what was written (UnicodeError, too)."""

_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_TYPES: Final = {
    "INTEGER": "'integer', 'null'", "REAL": "'real', 'integer', 'null'", "TEXT": "'text', 'null'",
    "BLOB": "'blob', 'null'",
}  # fmt: skip
"""Declared types and those that values of them have."""

_HOST: Final = 4  # bytes of a key that are the host's


class CorruptFrontier(sqlite3.DatabaseError):
    """The file can be read, but what stands in it makes no sense. Mapped as SQLite's own errors."""


def frontier_error(path: str | Path, error: sqlite3.Error) -> FrontierError:
    """SQLite's error as ours, in one line: naming the file and, where it is damaged, a way out."""
    said = str(error)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte; the others say more
    if said.startswith("Could not decode"):
        said = "a text in it is not UTF-8"
    elif not isinstance(error, CorruptFrontier) and code not in _DAMAGED:
        return FrontierError(f"{path}: {said}")
    return FrontierLost(
        f"{path}: is damaged: {said}; put a copy back, or start over: crawler crawl … --fresh"
    )


def damage(db: sqlite3.Connection) -> str:
    """What is wrong with the file, the first that is found; "": nothing. Reads all of it."""
    try:
        for (said,) in db.execute("PRAGMA quick_check(1)"):
            if said != "ok":
                return str(said)
        if wrong := _mistyped(db):
            return wrong
        for number, *row in db.execute("SELECT id, key, url, kind, state FROM link"):
            if not _is_sound(*row):
                return f"link {number} is not what was written"
        for (name,) in db.execute("SELECT name FROM host"):
            if not isinstance(name, str):
                return "a host's name is no text"
        strangers = "SELECT id FROM link WHERE host NOT IN (SELECT id FROM host) LIMIT 1"
        for (number,) in db.execute(strangers):
            return f"link {number} belongs to no host"
    except sqlite3.Error as error:
        said = str(error)
        return "a text in it is not UTF-8" if said.startswith("Could not decode") else said
    except NONSENSE:  # SQLite's own words for it quote what it read
        return "what it says of itself cannot be read"
    return ""


def _mistyped(db: sqlite3.Connection) -> str:
    """The first column that has a value of another type than it was declared with: SQLite stores
    none such by itself. "": there is none.
    """
    tables = db.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*'"
    ).fetchall()
    for (table,) in tables:
        for _, column, declared, *_ in db.execute(f'PRAGMA table_info("{table}")').fetchall():
            if declared not in _TYPES:
                continue
            asked = (
                f'SELECT 1 FROM "{table}" '  # noqa: S608 - its own names
                f'WHERE typeof("{column}") NOT IN ({_TYPES[declared]}) LIMIT 1'
            )
            if db.execute(asked).fetchone() is not None:
                return f"{table}.{column} has a value that is not what was written"
    return ""


@contextmanager
def sound(db: sqlite3.Connection) -> Iterator[None]:
    """What makes no sense inside the block is the file's fault where that is damaged: Damaged."""
    try:
        yield
    except NONSENSE as error:
        if wrong := damage(db):
            raise CorruptFrontier(wrong) from error
        raise


def is_of(key: bytes, url: str) -> bool:
    """Whether a URL is the one that its fingerprint was made of. 2 µs."""
    return fingerprint(url, "")[_HOST:] == key[_HOST:]


def _is_sound(key: object, url: object, kind: object, state: object) -> bool:
    return (
        isinstance(key, bytes)
        and isinstance(url, str)
        and kind in range(len(KINDS))
        and state in range(len(STATES))
        and is_of(key, url)
    )
