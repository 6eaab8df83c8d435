"""Many rows by one statement: each once, in order, whatever their number."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from crawler.frontier.sqlite.bulk import FEW, ROWS, BulkStatement

INSERT = BulkStatement("INSERT INTO fact SELECT * FROM ({rows}) WHERE column1 NOT NULL", columns=3)
UPDATE = BulkStatement(
    "UPDATE fact SET word = new.column1 FROM ({rows}) AS new WHERE fact.id = new.column2", columns=2
)


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.execute("CREATE TABLE fact (id INTEGER PRIMARY KEY, word TEXT, key BLOB)")
        yield db


@pytest.mark.parametrize(
    "number", [0, 1, FEW, FEW + 1, ROWS - 1, ROWS, ROWS + 1, ROWS + FEW + 1, 3 * ROWS]
)
def test_every_row_once(db: sqlite3.Connection, number: int) -> None:
    rows = [(n, None if n % 3 else str(n), bytes([n])) for n in range(1, number + 1)]
    INSERT.run(db, rows)
    assert db.execute("SELECT * FROM fact ORDER BY id").fetchall() == rows
    UPDATE.run(db, [(f"new {n}", n) for n, _, _ in rows[1:]])
    words = [word for (word,) in db.execute("SELECT word FROM fact ORDER BY id")]
    assert words == [word for _, word, _ in rows[:1]] + [f"new {n}" for n, _, _ in rows[1:]]


def test_of_two_rows_for_one_key_the_first_stays(db: sqlite3.Connection) -> None:
    ignore = BulkStatement(
        "INSERT OR IGNORE INTO fact SELECT * FROM ({rows}) WHERE column1 NOT NULL", 3
    )
    ignore.run(db, [(n // 2, str(n), b"") for n in range(2, 2 * ROWS)])
    words = [word for (word,) in db.execute("SELECT word FROM fact ORDER BY id")]
    assert words == [str(n) for n in range(2, 2 * ROWS, 2)]


def test_a_row_that_cannot_be_written_fails_with_all_of_its_statement(
    db: sqlite3.Connection,
) -> None:
    rows = [(n, "", b"") for n in range(1, ROWS)]
    with pytest.raises(sqlite3.IntegrityError):
        INSERT.run(db, [*rows, rows[0]])
    assert db.execute("SELECT count(*) FROM fact").fetchone() == (0,)
