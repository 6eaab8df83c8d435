"""A crawl's frontier read as a book: what reports and exports look up, also while it runs.

Unlike `peek`, which counts, this hands out rows; everything comes in pieces, so that a crawl of
millions is read in bounded memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from crawler.errors import ConfigError, FrontierError
from crawler.frontier.sqlite.corruption import (
    NONSENSE,
    CorruptFrontier,
    damage,
    frontier_error,
    sound,
)
from crawler.frontier.sqlite.read_only import reader
from crawler.frontier.sqlite.seen_index import SeenIndex
from crawler.frontier.sqlite.statements import counted
from crawler.frontier.sqlite.store import SCHEMA_VERSION
from crawler.records import Counts

REMEMBERED: Final = 1 << 16
"""URLs kept by key: the links in a site's menus are looked up once."""

_PAGE: Final = 500  # ids in one question


class RunSpan(NamedTuple):
    """Where one run's part of a file begins and ends; `end` None: to the end of the file."""

    run: int
    start: int
    end: int | None


class LinkRecord(NamedTuple):
    """What a look-up by id tells of a link; `state` is one of `store.STATES`' numbers."""

    url: str
    state: int
    key: bytes


class FrontierReader:
    """Opened with `with`. Raises ConfigError when there is no crawl, else FrontierError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection

    def __enter__(self) -> Self:
        if not self._path.exists():
            raise ConfigError(f"{self._path.parent}: holds no crawl")
        try:
            self._db = reader(self._path)
            with sound(self._db):
                version = self._db.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.Error as error:
            raise frontier_error(self._path, error) from error
        if version != SCHEMA_VERSION:
            self._db.close()
            raise FrontierError(
                f"{self._path} has frontier version {version}, not {SCHEMA_VERSION}"
            )
        self._keys = SeenIndex(self._db)
        try:
            with sound(self._db):
                self._keys.recall()
        except sqlite3.Error as error:
            self._db.close()
            raise frontier_error(self._path, error) from error
        self.url_of = lru_cache(REMEMBERED)(self._url_of)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """What made no sense to who reads is the file's fault where that is damaged."""
        try:
            if isinstance(error, NONSENSE) and (wrong := damage(self._db)):
                raise frontier_error(self._path, CorruptFrontier(wrong)) from error
        finally:
            self._db.close()

    def rows(self, question: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """The answer to a question in SQL, row by row."""
        try:
            yield from self._db.execute(question, values)
        except sqlite3.Error as error:
            raise frontier_error(self._path, error) from error

    def counts(self) -> Counts:
        """How many links are in which state."""
        try:
            return counted(self._db)
        except sqlite3.Error as error:
            raise frontier_error(self._path, error) from error

    def one(self, question: str, *values: object) -> Any:
        """The single value that a question has."""
        return next(self.rows(question, *values))[0]

    def links(self, numbers: Iterable[int]) -> dict[int, LinkRecord]:
        """URL, state and key of links by their ids."""
        wanted = list(numbers)
        found: dict[int, LinkRecord] = {}
        for start in range(0, len(wanted), _PAGE):
            part = wanted[start : start + _PAGE]
            marks = ",".join("?" * len(part))
            for number, url, state, key in self.rows(
                f"SELECT id, url, state, key FROM link WHERE id IN ({marks})",  # noqa: S608 - ?s only
                *part,
            ):
                found[number] = LinkRecord(url, state, key)
        return found

    def _url_of(self, key: bytes) -> str | None:
        """The URL behind a key; None: the frontier does not know it."""
        try:
            number = self._keys.find([key]).get(key)
        except sqlite3.Error as error:
            raise frontier_error(self._path, error) from error
        row = next(self.rows("SELECT url FROM link WHERE id = ?", number), None)
        return None if row is None else str(row[0])

    def spans(self, name: str) -> list[RunSpan]:
        """The runs' parts of an output, the first run first; `name` is `pages` or `graph`."""
        assert name in {"pages", "graph"}
        starts = [(1, 0), *self.rows(f"SELECT number, {name} FROM run ORDER BY number")]  # noqa: S608
        ends = [start for _, start in starts[1:]]
        return [
            RunSpan(run, start, end)
            for (run, start), end in zip(starts, [*ends, None], strict=True)
        ]
