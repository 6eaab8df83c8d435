"""Which pages have the same bytes, and where redirects lead. SQL only, on the frontier's thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec

from crawler.model import Kind, Outcome, Visit

LONGEST_LOOP: Final = 50
"""Redirects followed to see whether a chain comes back to its start."""


def recognise(db: sqlite3.Connection, visits: Sequence[Visit]) -> list[Visit]:
    """The visits, `duplicate_of` set where an earlier page, or one before it here, is the same.

    Which of two equal pages is the first depends on which was entered first. Exactly one is.
    """
    here: dict[str, tuple[int | None, str]] = {}
    known = []
    for visit in visits:
        digest = digest_of(visit)
        if not digest:
            known.append(visit)
            continue
        first = _first(db, digest) or here.setdefault(digest, (visit.link.id, visit.link.url))
        if first[0] != visit.link.id:
            visit = msgspec.structs.replace(visit, duplicate_of=first[1])  # noqa: PLW2901
        known.append(visit)
    return known


def enter(db: sqlite3.Connection, visit: Visit) -> None:
    """Remember the visit's bytes when they are new, or whose they are."""
    digest = digest_of(visit)
    if not digest:
        return
    if visit.duplicate_of is None:
        db.execute("INSERT OR IGNORE INTO content VALUES (?, ?)", (key_of(digest), visit.link.id))
        return
    first = _first(db, digest)
    if first is not None:
        db.execute("UPDATE link SET twin = ? WHERE id = ?", (first[0], visit.link.id))


def lead(db: sqlite3.Connection, start: int, target: int) -> None:
    """A redirect leads from one link to another; one that closes a loop fails the whole loop.

    Each hop is a record of its own and says `moved`, which is what the server said; that there is
    no page behind it is known when the last hop is, and stands in the frontier.
    """
    db.execute("UPDATE link SET target = ? WHERE id = ?", (target, start))
    loop = [start]
    here: int | None = target
    while here is not None and here != start and len(loop) <= LONGEST_LOOP:
        loop.append(here)
        here = db.execute("SELECT target FROM link WHERE id = ?", (here,)).fetchone()[0]
    if here == start:
        db.executemany(
            "UPDATE link SET state = 6, reason = 'redirect:loop' WHERE id = ?",
            [(one,) for one in loop],
        )


def _first(db: sqlite3.Connection, digest: str) -> tuple[int, str] | None:
    """Id and URL of the page that first had these bytes."""
    row = db.execute(
        "SELECT link.id, url, digest FROM content JOIN link ON link.id = content.link "
        "WHERE content.key = ?",
        (key_of(digest),),
    ).fetchone()
    # Half a digest can be met on purpose; the whole one cannot.
    return (row[0], row[1]) if row and row[2] == digest else None


def digest_of(visit: Visit) -> str:
    extract = visit.extract
    if extract is None or visit.outcome is not Outcome.DONE or visit.link.kind is Kind.ROBOTS:
        return ""
    return extract.digest if extract.bytes_body else ""


def key_of(digest: str) -> int:
    return int(digest.rpartition(":")[2][:16], 16) - (1 << 63)
