"""A recrawl begins: what was visited is queued again; where its outputs begin is noted."""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import Final

from crawler.policy.revisit import FIRST


def begin(
    db: sqlite3.Connection, now: float, *, only_due: bool
) -> tuple[int, Counter[tuple[int, int]]]:
    """In the caller's transaction. The number of the run, 0 when nothing is due, and how many
    links were queued, by host and depth.

    What never had its turn stays queued. With `only_due`, what was visited less than its revisit
    interval ago keeps its state. Validators and digests stay: they make the requests conditional.
    """
    due = now if only_due else float("inf")
    queued: Counter[tuple[int, int]] = Counter(db.execute(_QUEUE, (FIRST, due)))
    if not queued:
        return 0, queued
    number: int = db.execute("SELECT coalesce(max(number), 1) + 1 FROM run").fetchone()[0]
    marks = dict(db.execute("SELECT sink, length FROM mark").fetchall())
    db.execute(
        "INSERT INTO run VALUES (?, ?, ?, ?)",
        (number, now, marks.get("pages.jsonl", 0), marks.get("graph.bin", 0)),
    )
    return number, queued


_QUEUE: Final = (
    "UPDATE link SET state = 0, attempt = 0, due = NULL, reason = NULL "
    "WHERE state IN (2, 3, 4, 5, 6) AND coalesce(visited_at + coalesce(interval, ?), 0) <= ? "
    "RETURNING host, depth"
)
"""Done, moved, unchanged, refused, failed: what a visit ended. Others wait or were not asked."""
