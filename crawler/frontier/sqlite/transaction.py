"""What the store remembers between transactions, and a transaction that makes it forget."""

from __future__ import annotations

import sqlite3
from typing import Final, Protocol

from crawler.frontier.sqlite.seen_index import SeenIndex

RECENT_KEYS: Final = 1 << 17
"""Fingerprints remembered in memory, twice: about 25 MB at most. Most links on a page are old."""


class RollbackAware(Protocol):
    """Memory of what is in the file; empty, it is slower but never wrong."""

    def clear(self) -> None: ...


class RecentFingerprints:
    """A bounded set of fingerprints, in two generations; forgets, but never invents."""

    def __init__(self, size: int = RECENT_KEYS) -> None:
        self._size = size
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def __contains__(self, key: bytes) -> bool:
        return key in self._young or key in self._old

    def clear(self) -> None:
        self._young, self._old = set(), set()

    def add(self, key: bytes) -> None:
        self._young.add(key)
        if len(self._young) >= self._size:
            self._old, self._young = self._young, set()


class Transaction:
    """BEGIN … COMMIT, or ROLLBACK; what is remembered forgets what was rolled back."""

    def __init__(self, db: sqlite3.Connection, keys: SeenIndex, *memories: RollbackAware) -> None:
        self._db = db
        self._keys = keys
        self._memories = memories

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        done = False
        try:
            if kind is None:
                self._keys.fold()
                self._db.execute("COMMIT")
                done = True
        finally:
            if not done:
                for memory in self._memories:
                    memory.clear()
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                self._keys.recall()
