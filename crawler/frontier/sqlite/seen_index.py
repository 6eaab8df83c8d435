"""Which URLs are known, by fingerprint: an index that is written in bulk.

Fingerprints are random, so in a large index each new one lies on a page of its own: 2,500 new
links would rewrite 2,500 pages, and a link would cost twice as much in a frontier of a million as
in one of a hundred thousand (measured). The newest fingerprints are therefore kept in memory, up
to `FRESH`, and folded into the index together, in its order. Nothing is lost with the memory: they
stand in the `link` table too, behind the last one that was folded, and are read again from there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

from crawler.frontier.sqlite.bulk import AT_ONCE, ask

FRESH: Final = 1 << 15
"""Fingerprints in memory at most: 4 MB, and a tenth of a second to fold them into a million."""

_FIND: Final = f"SELECT key, link FROM seen WHERE key IN ({', '.join('?' * AT_ONCE)})"  # noqa: S608 - only question marks


class SeenIndex:
    """Blocking; belongs to the store's thread and takes part in its transactions."""

    def __init__(self, db: sqlite3.Connection, most: int = FRESH) -> None:
        self._db = db
        self._most = most
        self._fresh: dict[bytes, int] = {}
        self._last = 0  # the newest link's id
        self._folded = 0  # … and of those in the index; 0: it is empty

    def recall(self) -> None:
        """Read anew what is not folded yet: on opening, and after a rollback."""
        row = self._db.execute("SELECT value FROM meta WHERE name = 'folded'").fetchone()
        self._folded = row[0] if row is not None else 0
        rows = self._db.execute("SELECT key, id FROM link WHERE id > ?", (self._folded,))
        self._fresh = dict(rows.fetchall())
        self._last = max(self._fresh.values(), default=self._folded)

    def find(self, keys: Iterable[bytes]) -> dict[bytes, int]:
        """The links of those fingerprints that are known."""
        known, strangers = {}, []
        for key in keys:
            link = self._fresh.get(key)
            if link is None:
                strangers.append(key)
            else:
                known[key] = link
        if self._folded:
            known.update(ask(self._db, _FIND, strangers))
        return known

    def add(self, key: bytes) -> int:
        """The id of a new link, to be in the `link` table by the end of the transaction."""
        self._last += 1
        self._fresh[key] = self._last
        return self._last

    def fold(self) -> None:
        """Empty a full memory into the index; at the end of a transaction."""
        if len(self._fresh) < self._most:
            return
        self._db.executemany("INSERT INTO seen VALUES (?, ?)", sorted(self._fresh.items()))
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('folded', ?)", (self._last,))
        self._folded = self._last
        self._fresh.clear()


def look_up(db: sqlite3.Connection, key: bytes) -> int | None:
    """`SeenIndex.find` for a reader from outside, who has nothing in memory."""
    keys = SeenIndex(db)
    keys.recall()
    return keys.find([key]).get(key)
