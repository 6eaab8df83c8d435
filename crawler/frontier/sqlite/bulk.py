"""Many rows by one statement, written and asked for.

At each step of a statement SQLite's thread gives up the interpreter's lock, the loop takes it, and
then each waits for the other: a row at a time, a third of what a commit cost (decision 0087).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

ROWS: Final = 32
"""Rows of one statement; what is missing is filled up with NULL, so that it is prepared once."""

FEW: Final = 4
"""Rows that are written one by one: filling up costs more."""


AT_ONCE: Final = 64
"""Values looked up by one question: 1.2 µs for a fingerprint, against 3.6 µs one by one."""


def ask(db: sqlite3.Connection, sql: str, values: Sequence[object]) -> Iterator[Any]:
    """The rows of a question about `AT_ONCE` values, put as often as it takes.

    What is missing is filled up with NULL, so that it is prepared once.
    """
    for start in range(0, len(values), AT_ONCE):
        some = values[start : start + AT_ONCE]
        yield from db.execute(sql, (*some, *(None,) * (AT_ONCE - len(some)))).fetchall()


class BulkStatement:
    """A statement over `{rows}`, a table with so many columns: column1, column2 …

    It must pass by rows of nothing but NULL, which are none.
    """

    def __init__(self, sql: str, columns: int) -> None:
        row = f"({', '.join('?' * columns)})"
        self._one = sql.format(rows=f"VALUES {row}")
        self._many = sql.format(rows=f"VALUES {', '.join([row] * ROWS)}")
        self._nothing = (None,) * columns

    def run(self, db: sqlite3.Connection, rows: Sequence[Sequence[object]]) -> None:
        """Run it over all rows, in their order. Raises what SQLite raises."""
        for start in range(0, len(rows), ROWS):
            some = rows[start : start + ROWS]
            if len(some) <= FEW:
                db.executemany(self._one, some)
            else:
                missing = (self._nothing,) * (ROWS - len(some))
                db.execute(self._many, tuple(chain(*some, *missing)))
