"""Detect a corrupt frontier file and report it in one line.

SQLite keeps no checksums: a byte that turned over in a text is a text like any other. So what
cannot be made sense of is looked at once more, all of it, before anybody is blamed: the file where
something in it is wrong, else this program.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from crawler.errors import FrontierError, FrontierLost
from crawler.frontier.sqlite.statements import KINDS, STATES
from crawler.policy.urls import fingerprint

NONSENSE: Final = (TypeError, ValueError, LookupError, AttributeError, OverflowError)
"""What code raises that was given something else than what was written (UnicodeError, too)."""

_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_TYPES: Final = {
    "INTEGER": "'integer', 'null'", "REAL": "'real', 'integer', 'null'", "TEXT": "'text', 'null'",
    "BLOB": "'blob', 'null'",
}  # fmt: skip
"""Declared types and those that values of them have."""

_TIMES: Final = frozenset(
    {"rest_until", "parked_until", "expires_at", "due", "visited_at", "started_at", "at"}
)
"""Columns with Unix times. One after the year 5138 was not written by us."""

_LATEST: Final = 1e11

_LARGE: Final = frozenset({"link", "seen", "content"})
"""Tables with a row for each URL. Their rows are checked when they are read."""

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
        if wrong := mistyped(db) or _without_due(db):
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


def check_small_tables(db: sqlite3.Connection) -> None:
    """For a file that is opened to go on with. Raises CorruptFrontier. Links cost nothing here: the
    index of those that rest says whether one has no time.
    """
    if wrong := mistyped(db, without=_LARGE) or _without_due(db):
        raise CorruptFrontier(wrong)


def _without_due(db: sqlite3.Connection) -> str:
    """A link that rests has a time at which it is tried again. "": all have."""
    row = db.execute("SELECT id FROM link WHERE state = 1 AND due IS NULL LIMIT 1").fetchone()
    return f"link {row[0]} is not what was written" if row else ""


def mistyped(db: sqlite3.Connection, *, without: Container[str] = ()) -> str:
    """The first column with a value of another type than it was declared with (SQLite stores none
    such by itself), or with a time that cannot be. "": there is none.
    """
    tables = db.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*'"
    ).fetchall()
    for (table,) in tables:
        if table in without:
            continue
        for _, column, declared, *_ in db.execute(f'PRAGMA table_info("{table}")').fetchall():
            if declared not in _TYPES:
                continue
            asked = (
                f'SELECT 1 FROM "{table}" '  # noqa: S608 - its own names
                f'WHERE typeof("{column}") NOT IN ({_TYPES[declared]}) '
                + (f'OR abs("{column}") > {_LATEST} ' if column in _TIMES else "")
                + "LIMIT 1"
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


def damage_in(folder: Path) -> FrontierError | None:
    """Whether the frontier of a crawl is damaged, for a command that failed on what it read there.
    None: it is not, or there is none.
    """
    path = folder / "frontier.db"
    if not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as db:
            wrong = damage(db)
    except sqlite3.Error as error:
        return frontier_error(path, error)
    return frontier_error(path, CorruptFrontier(wrong)) if wrong else None


def is_of(key: bytes, url: str) -> bool:
    """Whether a URL is the one that its fingerprint was made of. 2 µs."""
    return fingerprint(url, "")[_HOST:] == key[_HOST:]


def is_queued_row(row: Sequence[Any]) -> bool:
    """Whether a row of `statements.HEAD` is as it was written. 3 µs."""
    _, url, _, depth, _, kind, hops, attempt, *known, _, key = row
    return (
        is_of(key, url)
        and type(depth) is type(kind) is type(hops) is type(attempt) is int
        and bytes not in map(type, known)
    )


def _is_sound(key: object, url: object, kind: object, state: object) -> bool:
    return (
        isinstance(key, bytes)
        and isinstance(url, str)
        and kind in range(len(KINDS))
        and state in range(len(STATES))
        and is_of(key, url)
    )
