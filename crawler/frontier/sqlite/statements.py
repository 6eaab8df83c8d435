"""A link's row: its states, and the statements that write and read it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Final

from crawler.frontier.sqlite.bulk import BulkStatement
from crawler.policy.end_message import left_of
from crawler.policy.outcome import COOKIE_WALL, cookies
from crawler.policy.revisit import next_interval
from crawler.policy.robots_txt import is_unreachable
from crawler.policy.trap_rules import is_brake
from crawler.records import Counts, CrawlResult, Kind, Outcome, RobotsRecord, Validators

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
SEED: Final = "seed:"
"""Before a URL in `meta`: a seed redirected to it, so it is one too. Its value: the kind of address
that it may have."""

KIND_NUMBER: Final[Mapping[str, int]] = {kind.value: n for n, kind in enumerate(KINDS)}


def state_of(reason: str) -> int:
    """Of a link just found: what looks like a trap is parked, not refused."""
    if not reason:
        return QUEUED
    return BRAKED if is_brake(reason) else SKIPPED


def counted(db: sqlite3.Connection) -> Counts:
    """How many links are in which state; those refused at either time are one number."""
    states = dict.fromkeys(STATES, 0)
    pages = incomplete = 0
    reasons: list[tuple[str, int]] = []
    for state, is_page, reason, number in db.execute(_COUNTED):
        states[STATES[state]] += number
        pages += number if is_page and state in {DONE, UNCHANGED} else 0
        if state >= REFUSED:
            reasons.append((reason or "", number))
        elif state == DONE and reason:
            incomplete += number
    states["refused"] += states.pop("skipped")
    hosts = db.execute("SELECT count(*) FROM host").fetchone()[0]
    left = left_of(reasons)
    return Counts(**states, hosts=hosts, pages=pages, left=left, incomplete=incomplete)


_COUNTED: Final = (
    f"SELECT state, kind = 0, CASE WHEN state >= {REFUSED} OR state = {DONE} THEN reason END, "  # noqa: S608 - our own numbers
    "count(*) FROM link GROUP BY 1, 2, 3"
)
"""Kind 0 is a page. States from REFUSED on have a reason that somebody may want to know, and so has
a page that was not read whole.
"""


RULES: Final = "origin, status, body, expires_at, delay"
"""The columns of a robots.txt as `rules_from` takes them."""


def rules_row(rules: RobotsRecord) -> tuple[int | None, bytes, float, float | None]:
    """Status, body, expiry and delay as columns. What gave no answer has no body to keep: why it
    did not stands in its place.
    """
    body = rules.trouble.encode() if rules.trouble else rules.body
    return rules.status, body, rules.expires_at, rules.delay


def rules_from(
    origin: str, status: int | None, body: bytes, expires_at: float, delay: float | None
) -> RobotsRecord:
    """What `rules_row` made columns of."""
    if not is_unreachable(status):
        return RobotsRecord(origin, status, body, expires_at, delay)
    return RobotsRecord(origin, status, b"", expires_at, delay, body.decode("utf-8", "replace"))


def adopted_in(db: sqlite3.Connection) -> dict[str, str]:
    """What seeds redirected to, with the kind of address that each may have."""
    rows = db.execute("SELECT name, value FROM meta WHERE name GLOB 'seed:*'")
    return {name.removeprefix(SEED): kind for name, kind in rows}


ENDED_RUN: Final = "ended_run"
"""In `meta`: the number of the last run that came to its end."""


def newest_run(db: sqlite3.Connection) -> int:
    """The number of the last run; 1 when there was no recrawl."""
    return int(db.execute("SELECT coalesce(max(number), 1) FROM run").fetchone()[0])


_KEEPING: Final = frozenset({Outcome.UNCHANGED, Outcome.RETRY, Outcome.FAILED, Outcome.REFUSED})
GONE: Final = frozenset({404, 410})

NOTHING: Final = (None, None, None, None, None)


def values_of(visit: CrawlResult, now: float) -> tuple[object, ...]:
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


def _lasting(visit: CrawlResult) -> tuple[object, ...]:
    """What the next run needs to know: digest, validators, digest of the text, revisit interval.

    A failure leaves them as they were, unless the page is gone; a 304 too, but for validators that
    it brings (RFC 9111 §4.3.4). Only a page that was read has new ones, and one that was not read
    whole has no validators: a 304 would say that all is well with it. Of a download's file its
    progress knows more (`downloads.py`).
    """
    page, extract, known = visit.page, visit.extract, visit.link.known
    if known is not None and visit.outcome in _KEEPING and not (page and page.status in GONE):
        etag, modified, interval = known.etag, known.modified, known.interval
        if visit.outcome is Outcome.UNCHANGED and page is not None:
            etag = page.header("etag") or etag
            modified = page.header("last-modified") or modified
            interval = next_interval(interval, changed=False)
        return known.digest, etag, modified, known.text_digest, interval
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
    whole = not extract.incomplete  # what was left out is to be had by reading it again only
    return (
        extract.digest or None,
        (page.header("etag") or None) if whole else None,
        (page.header("last-modified") or None) if whole else None,
        extract.text_digest or None,
        interval,
    )


def known_of(
    digest: str | None,
    etag: str | None,
    modified: str | None,
    text_digest: str | None,
    interval: float | None,
) -> Validators | None:
    """What HEAD read of an earlier visit; None: there was none that is worth anything."""
    return Validators(etag, modified, digest, text_digest, interval) if digest else None


CROSS_OFF: Final = BulkStatement(
    "UPDATE link SET state = visit.column1, attempt = visit.column2, due = visit.column3, "
    "visited_at = visit.column4, status = visit.column5, bytes = visit.column6, "
    "reason = visit.column7, digest = visit.column8, etag = visit.column9, "
    "modified = visit.column10, text_digest = visit.column11, interval = visit.column12, "
    "cookie = ifnull(visit.column13, cookie) "
    "FROM ({rows}) AS visit WHERE link.id = visit.column14",
    columns=14,
)

ENTER: Final = BulkStatement(
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
    "link.text_digest, link.interval, link.cookie, link.released, link.key "
    "FROM link JOIN host ON host.id = link.host "
    "WHERE link.host = ? AND link.state = 0 ORDER BY link.rank, link.id LIMIT ?"
)
