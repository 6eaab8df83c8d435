"""Many rows by one statement.

At each step of a statement SQLite's thread gives up the interpreter's lock, the loop takes it, and
then each waits for the other: a row at a time, a third of what a commit cost (decision 0087).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Final

ROWS: Final = 32
"""Rows of one statement; what is missing is filled up with NULL, so that it is prepared once."""

FEW: Final = 4
"""Rows that are written one by one: filling up costs more."""


class Bulk:
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
