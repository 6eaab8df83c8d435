"""A link's row: its states, and the statements that write and read it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final

from crawler.frontier.bulk import Bulk
from crawler.model import Counts, Kind, Known, Outcome, Visit
from crawler.revisit import next_interval
from crawler.traps import is_brake
from crawler.verdict import COOKIE_WALL, cookies

QUEUED, RESTING, DONE, MOVED, UNCHANGED, REFUSED, FAILED, SKIPPED, BRAKED = range(9)
"""States of a link. SKIPPED was refused where it was found, REFUSED when it was its turn; BRAKED
looks like a trap and is parked until somebody releases it."""

STATES: Final = (
    "queued", "resting", "done", "moved", "unchanged", "refused", "failed", "skipped", "braked",
)  # fmt: skip

STATE_OF: Final = {
    Outcome.DONE: DONE,
    Outcome.MOVED: MOVED,
    Outcome.UNCHANGED: UNCHANGED,
    Outcome.REFUSED: REFUSED,
    Outcome.RETRY: RESTING,
    Outcome.FAILED: FAILED,
}
KINDS: Final = tuple(Kind)
KIND_NUMBER: Final[Mapping[str, int]] = {kind.value: n for n, kind in enumerate(KINDS)}


def state_of(reason: str) -> int:
    """Of a link just found: what looks like a trap is parked, not refused."""
    if not reason:
        return QUEUED
    return BRAKED if is_brake(reason) else SKIPPED


def counted(db: sqlite3.Connection) -> Counts:
    """How many links are in which state; those refused at either time are one number."""
    states = dict.fromkeys(STATES, 0)
    for state, number in db.execute("SELECT state, count(*) FROM link GROUP BY state"):
        states[STATES[state]] = number
    states["refused"] += states.pop("skipped")
    return Counts(**states, hosts=db.execute("SELECT count(*) FROM host").fetchone()[0])


NOTHING: Final = (None, None, None, None, None)


def values_of(visit: Visit, now: float) -> tuple[object, ...]:
    """What CROSS_OFF writes."""
    page = visit.page
    again = visit.outcome is Outcome.RETRY
    return (
        STATE_OF[visit.outcome],
        visit.link.attempt + again,
        now + (visit.retry_in or 0.0) if again else None,
        page.fetched_at if page else now,
        page.status if page else None,
        page.bytes_wire if page else None,
        visit.reason or None,
        *_lasting(visit),
        cookies(page) if page and visit.reason == COOKIE_WALL else None,
        visit.link.id,
    )


def _lasting(visit: Visit) -> tuple[object, ...]:
    """What the next run needs to know: digest, validators, digest of the text, revisit interval.

    A 304 or a failed try leaves them as they were; only a page that was read has new ones. Of a
    download's file its progress knows more (`downloads.py`).
    """
    page, extract, known = visit.page, visit.extract, visit.link.known
    if known is not None and visit.outcome in {Outcome.UNCHANGED, Outcome.RETRY}:
        interval = known.interval
        if visit.outcome is Outcome.UNCHANGED:
            interval = next_interval(interval, changed=False)
        return known.digest, known.etag, known.modified, known.text_digest, interval
    if visit.outcome is not Outcome.DONE or page is None or extract is None:
        return NOTHING
    if visit.link.kind is Kind.FILE:
        return NOTHING
    interval = None
    if known is not None:
        same = known.text_digest == (extract.text_digest or None) and (
            extract.text_digest != "" or known.digest == extract.digest
        )
        interval = next_interval(known.interval, changed=not same)
    return (
        extract.digest or None,
        page.header("etag") or None,
        page.header("last-modified") or None,
        extract.text_digest or None,
        interval,
    )


def known_of(
    digest: str | None,
    etag: str | None,
    modified: str | None,
    text_digest: str | None,
    interval: float | None,
) -> Known | None:
    """What HEAD read of an earlier visit; None: there was none that is worth anything."""
    return Known(etag, modified, digest, text_digest, interval) if digest else None


CROSS_OFF: Final = Bulk(
    "UPDATE link SET state = visit.column1, attempt = visit.column2, due = visit.column3, "
    "visited_at = visit.column4, status = visit.column5, bytes = visit.column6, "
    "reason = visit.column7, digest = visit.column8, etag = visit.column9, "
    "modified = visit.column10, text_digest = visit.column11, interval = visit.column12, "
    "cookie = ifnull(visit.column13, cookie) "
    "FROM ({rows}) AS visit WHERE link.id = visit.column14",
    columns=14,
)

ENTER: Final = Bulk(
    "INSERT INTO link (id, key, host, url, via, kind, depth, hops, rank, state, reason) "
    "SELECT * FROM ({rows}) WHERE column1 NOT NULL",
    columns=11,
)

# A link that was skipped or parked where it was first found may be admitted from elsewhere (an
# image's address that is also a page's); any other link keeps its first story.
ADMIT: Final = (
    "UPDATE link SET via = ?, kind = ?, depth = ?, hops = ?, rank = ?, state = 0, reason = NULL "
    "WHERE id = ? AND state IN (7, 8)"
)

# With depth as the order, what still waits is as deep as its shortest way that is known: a
# redirect, whose target is as deep as itself, is often visited after a page that links there.
DEEPER: Final = "SELECT depth FROM link WHERE id = ? AND state = 0 AND depth > ?"
PROMOTE: Final = (
    "UPDATE link SET via = ?, kind = ?, depth = ?, hops = ?, rank = ? WHERE id = ? AND state = 0"
)

HEAD: Final = (
    "SELECT link.id, link.url, host.name, link.depth, "
    "(SELECT parent.url FROM link AS parent WHERE parent.id = link.via), "
    "link.kind, link.hops, link.attempt, link.digest, link.etag, link.modified, "
    "link.text_digest, link.interval, link.cookie, link.released "
    "FROM link JOIN host ON host.id = link.host "
    "WHERE link.host = ? AND link.state = 0 ORDER BY link.rank, link.id LIMIT ?"
)
