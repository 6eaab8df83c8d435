"""The index written in bulk knows what a set would know, folded or not, after any ending."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.config.model import PaceConfig
from crawler.frontier.sqlite.seen_index import SeenIndex, look_up
from crawler.frontier.sqlite.sqlite_frontier import SqliteFrontier
from crawler.frontier.sqlite.store import Store
from crawler.policy.urls import fingerprint

TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE link (id INTEGER PRIMARY KEY, key BLOB NOT NULL);
CREATE TABLE seen (key BLOB PRIMARY KEY, link INTEGER NOT NULL) WITHOUT ROWID;
"""

TRANSACTIONS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 60), max_size=12),
        st.sampled_from(["commit", "rollback", "reopen"]),
    ),
    max_size=15,
)


def key(number: int) -> bytes:
    return b"k%015d" % number


@given(TRANSACTIONS, st.integers(1, 20))
def test_knows_what_a_set_knows(transactions: list[tuple[list[int], str]], most: int) -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.executescript(TABLES)
    keys = SeenIndex(db, most)
    keys.recall()
    known: dict[int, int] = {}
    for numbers, ending in transactions:
        before = dict(known)
        db.execute("BEGIN")
        for number in dict.fromkeys(numbers):
            found = keys.find([key(number)]).get(key(number))
            assert found == known.get(number)
            if found is None:
                known[number] = keys.add(key(number))
                db.execute("INSERT INTO link VALUES (?, ?)", (known[number], key(number)))
        keys.fold()
        if ending == "rollback":
            db.execute("ROLLBACK")
            keys.recall()
            known = before
        else:
            db.execute("COMMIT")
        if ending == "reopen":
            keys = SeenIndex(db, most)
            keys.recall()
        everything = [key(number) for number in range(61)]
        assert keys.find(everything) == {key(n): link for n, link in known.items()}
    for number in range(0, 61, 7):
        assert look_up(db, key(number)) == known.get(number)
    db.close()


async def test_a_full_disk_leaves_no_trace_of_what_was_not_committed(tmp_path: Path) -> None:
    path = tmp_path / "frontier.db"

    def found(number: int) -> tuple[str, str, bytes, str, str]:
        url = f"http://h.test/{number}"
        return url, "h.test", fingerprint(url, "h.test"), "page", ""

    async with SqliteFrontier(path, PaceConfig(fast=True), robots=False) as frontier:
        assert await frontier.add([found(0)]) == 1
        store: Store = frontier._store
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(Exception, match="full"):
            await frontier.add([found(number) for number in range(1, 5000)])
        store._db.execute("PRAGMA max_page_count = 1000000")
        assert await frontier.add([found(number) for number in range(5000)]) == 4999
        assert (await frontier.counts()).seen == 5000
