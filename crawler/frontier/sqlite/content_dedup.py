"""Which pages have the same bytes, and where redirects lead. SQL only, on the frontier's thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec

from crawler.frontier.sqlite.bulk import AT_ONCE, BulkStatement, ask
from crawler.records import CrawlResult, Kind, Outcome

LONGEST_LOOP: Final = 50
"""Redirects followed to see whether a chain comes back to its start."""

_REMEMBER: Final = BulkStatement(
    "INSERT OR IGNORE INTO content SELECT * FROM ({rows}) WHERE column1 NOT NULL", columns=2
)
# One by one inside: statistics of a small table, in which `IN` would be a scan, may be old.
_FIRSTS: Final = (
    "SELECT link.id, url, digest FROM "  # noqa: S608 - only question marks
    "(SELECT (SELECT link FROM content WHERE key = one.column1) AS first "
    f"FROM (VALUES {', '.join(['(?)'] * AT_ONCE)}) AS one) JOIN link ON link.id = first"
)


def recognise(db: sqlite3.Connection, visits: Sequence[CrawlResult]) -> list[CrawlResult]:
    """The visits, `duplicate_of` set where an earlier page, or one before it here, is the same.

    Which of two equal pages is the first depends on which was entered first. Exactly one is.
    """
    firsts = _firsts(db, [digest for visit in visits if (digest := digest_of(visit))])
    known = []
    for visit in visits:
        digest = digest_of(visit)
        if not digest:
            known.append(visit)
            continue
        first = firsts.setdefault(digest, (visit.link.id, visit.link.url))
        if first[0] != visit.link.id:
            visit = msgspec.structs.replace(visit, duplicate_of=first[1])  # noqa: PLW2901
        known.append(visit)
    return known


def enter(db: sqlite3.Connection, visits: Sequence[CrawlResult]) -> None:
    """Remember the visits' bytes where they are new, or whose they are."""
    read = [(digest, visit) for visit in visits if (digest := digest_of(visit))]
    originals = [(key_of(digest), v.link.id) for digest, v in read if v.duplicate_of is None]
    _REMEMBER.run(db, originals)
    copies = [(digest, v.link.id) for digest, v in read if v.duplicate_of is not None]
    firsts = _firsts(db, [digest for digest, _ in copies])
    db.executemany(
        "UPDATE link SET twin = ? WHERE id = ?",
        [(firsts[digest][0], number) for digest, number in copies if digest in firsts],
    )


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


def _firsts(db: sqlite3.Connection, digests: Sequence[str]) -> dict[str, tuple[int | None, str]]:
    """Id and URL of the page that first had these bytes, by digest, where there is one."""
    rows = ask(db, _FIRSTS, [key_of(one) for one in digests])
    # Half a digest can be met on purpose; the whole one cannot.
    return {digest: (number, url) for number, url, digest in rows}


def digest_of(visit: CrawlResult) -> str:
    extract = visit.extract
    if extract is None or visit.outcome is not Outcome.DONE or visit.link.kind is Kind.ROBOTS:
        return ""
    return extract.digest if extract.bytes_body else ""


def key_of(digest: str) -> int:
    return int(digest.rpartition(":")[2][:16], 16) - (1 << 63)
