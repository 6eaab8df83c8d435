"""What was refused, parked or not read whole and has still to be in skipped.jsonl: an outbox.

A refusal is noted in the transaction that decides it, written by the sink afterwards, and taken out
of the outbox in the transaction that commits the file's new length: each is written exactly once.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Final

from crawler.records import Refusal

MARK: Final = "skipped.jsonl"
"""The mark whose commit empties the outbox up to what was last taken."""


class RejectedOutbox:
    """On the frontier's thread. Notes nothing until it was asked for once; then it goes on."""

    def __init__(self, *, wanted: bool) -> None:
        self.noting = wanted
        self._taken = 0
        self._db: sqlite3.Connection

    def open(self, db: sqlite3.Connection) -> None:
        """Refusals from before it was wanted are noted now."""
        self._db = db
        asked = db.execute("SELECT value FROM meta WHERE name = 'refusals'").fetchone()
        if self.noting and not asked:
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO meta VALUES ('refusals', 1)")
            db.execute(
                "INSERT INTO refusal (link, via, depth, reason, at) SELECT id, via, depth, reason, "
                "ifnull(visited_at, ?) FROM link WHERE state IN (5, 7, 8) "
                "OR (state = 2 AND reason NOT NULL) ORDER BY id",
                (time.time(),),
            )
            db.execute("COMMIT")
        self.noting = self.noting or asked is not None

    def note(self, number: int, now: float) -> None:
        """A link was refused or parked, or its page not read whole."""
        if self.noting:
            self._db.execute(_NOTE, (now, number))

    def take(self, limit: int) -> list[Refusal]:
        """The next that were not taken yet, in order."""
        rows = self._db.execute(_TAKE, (self._taken, limit)).fetchall()
        if rows:
            self._taken = rows[-1][0]
        return [
            Refusal(url, via, depth, reason, at, self._seed(number))
            for number, url, via, depth, reason, at in rows
        ]

    def written(self) -> None:
        """What was taken is in the file; inside the transaction that commits its length."""
        self._db.execute("DELETE FROM refusal WHERE id <= ?", (self._taken,))
        self._taken = 0  # ids begin again when the table is empty

    def _seed(self, number: int) -> str | None:
        row = self._db.execute(_SEED, (number,)).fetchone()
        return row[0] if row else None


_NOTE: Final = (
    "INSERT INTO refusal (link, via, depth, reason, at) SELECT id, via, depth, reason, ? FROM link "
    "WHERE id = ?"
)

_TAKE: Final = (
    "SELECT refusal.id, link.url, parent.url, refusal.depth, refusal.reason, refusal.at "
    "FROM refusal JOIN link ON link.id = refusal.link "
    "LEFT JOIN link AS parent ON parent.id = refusal.via "
    "WHERE refusal.id > ? ORDER BY refusal.id LIMIT ?"
)

_SEED: Final = (
    "WITH RECURSIVE up (id, via, url) AS ("
    "SELECT link.id, link.via, link.url FROM link JOIN refusal ON refusal.link = link.id "
    "WHERE refusal.id = ? "
    "UNION SELECT link.id, link.via, link.url FROM link JOIN up ON link.id = up.via) "
    "SELECT url FROM up WHERE via IS NULL LIMIT 1"
)
