"""Many rows by one statement.

SQLite's thread lets go of Python's lock at each step of a statement, the loop takes it, and both
wait for each other: a row at a time, a page cost the two of them a tenth more (decision 0087).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Final

ROWS: Final = 32
"""Rows of one statement; what is missing is filled up with NULL, so that it is prepared once."""

FEW: Final = 4
"""Rows that are written one by one: a statement of `ROWS` costs as much as so many of one."""


class Bulk:
    """A statement over `{rows}`, a table of `columns` columns: column1, column2 …

    Rows of nothing but NULL are none: the statement must pass them by.
    """

    def __init__(self, sql: str, columns: int) -> None:
        row = f"({', '.join('?' * columns)})"
        self._one = sql.format(rows=f"VALUES {row}")
        self._many = sql.format(rows=f"VALUES {', '.join([row] * ROWS)}")
        self._nothing = (None,) * columns

    def run(self, db: sqlite3.Connection, rows: Sequence[Sequence[object]]) -> None:
        """Run it over all rows, in their order."""
        for start in range(0, len(rows), ROWS):
            some = rows[start : start + ROWS]
            if len(some) <= FEW:
                db.executemany(self._one, some)
            else:
                missing = (self._nothing,) * (ROWS - len(some))
                db.execute(self._many, tuple(chain(*some, *missing)))
