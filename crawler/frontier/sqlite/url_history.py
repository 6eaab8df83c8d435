"""One URL's story, read from a crawl's frontier from outside: also while it runs."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from crawler.frontier.sqlite.overview import looking
from crawler.frontier.sqlite.seen_index import look_up
from crawler.frontier.sqlite.statements import DONE, RULES, STATES, rules_from
from crawler.policy.urls import registered_domain
from crawler.records import Kind, RobotsRecord

LONGEST: Final = 1000
"""Steps of a way that are followed back; a longer one is a trap's."""


class UrlState(msgspec.Struct, frozen=True):
    """What the frontier knows of a URL. Times are Unix seconds; None: never, or not so."""

    state: str
    kind: str
    depth: int
    hops: int
    attempts: int
    due: float | None
    visited_at: float | None
    status: int | None
    bytes: int | None
    reason: str | None
    digest: str | None
    duplicate_of: str | None
    target: str | None
    released: bool
    way: tuple[str, ...]  # the page it was found on, the page that one was found on … the seed
    ahead: int | None  # queued links of its host that come before it


class UrlHost(msgspec.Struct, frozen=True):
    """What the frontier knows of a URL's host and its template."""

    known: bool
    rest_until: float
    parked_until: float  # after failures in a row
    width: float | None  # requests at once, as learnt; None: nothing was
    queued: int
    rules: RobotsRecord | None
    brake: str  # why the URL's template is braked; nothing: it is not


class UrlHistory(msgspec.Struct, frozen=True):
    """`seen` is None for a URL that the crawl never met."""

    seen: UrlState | None
    host: UrlHost
    incomplete: int = 0  # pages of the crawl that were not read whole


def story(
    path: Path, *, key: bytes, host: str, origin: str, templates: tuple[str, ...]
) -> UrlHistory:
    """What the frontier at `path` knows of a URL, given by its fingerprint and what it belongs to.

    Raises ConfigError when there is no crawl, FrontierError when it cannot be read.
    """
    with looking(path) as db:
        number = look_up(db, key)
        seen = None if number is None else _seen(db, number)
        incomplete = 0 if seen is not None else db.execute(_INCOMPLETE).fetchone()[0]
        return UrlHistory(seen, _host(db, host, origin, templates), incomplete)


def _seen(db: sqlite3.Connection, number: int) -> UrlState | None:
    row = db.execute(_ONE, (number,)).fetchone()
    if row is None:
        return None
    (
        state, kind, depth, hops, tries, due, visited_at, status, volume, reason, digest, twin,
        target, released, host, rank,
    ) = row  # fmt: skip
    ahead = None
    if STATES[state] == "queued":
        ahead = db.execute(_AHEAD, (host, rank, rank, number)).fetchone()[0]
    return UrlState(
        state=STATES[state],
        kind=tuple(Kind)[kind].value,
        depth=depth,
        hops=hops,
        attempts=tries + (visited_at is not None and STATES[state] not in {"resting", "refused"}),
        due=due,
        visited_at=visited_at,
        status=status,
        bytes=volume,
        reason=reason,
        digest=digest,
        duplicate_of=twin,
        target=target,
        released=bool(released),
        way=tuple(url for (url,) in db.execute(_WAY, (number, LONGEST))),
        ahead=ahead,
    )


def _host(db: sqlite3.Connection, name: str, origin: str, templates: tuple[str, ...]) -> UrlHost:
    row = db.execute("SELECT id, rest_until FROM host WHERE name = ?", (name,)).fetchone()
    pace = db.execute(_PACE, (name, registered_domain(name), name)).fetchone()
    queued = 0
    if row is not None:
        queued = db.execute(
            "SELECT count(*) FROM link WHERE host = ? AND state = 0", (row[0],)
        ).fetchone()[0]
    rules = db.execute(
        f"SELECT {RULES} FROM robots WHERE origin = ?",  # noqa: S608 - our own words
        (origin,),
    ).fetchone()
    brakes = [
        db.execute("SELECT reason FROM trap WHERE name = ?", (one,)).fetchone() for one in templates
    ]
    return UrlHost(
        known=row is not None,
        rest_until=row[1] if row else 0.0,
        parked_until=pace[1] if pace else 0.0,
        width=pace[0] if pace else None,
        queued=queued,
        rules=rules_from(*rules) if rules else None,
        brake=next((brake[0] for brake in brakes if brake and brake[0]), ""),
    )


_INCOMPLETE: Final = f"SELECT count(*) FROM link WHERE state = {DONE} AND reason NOT NULL"  # noqa: S608 - a number

_ONE: Final = (
    "SELECT state, kind, depth, hops, attempt, due, visited_at, status, bytes, reason, digest, "
    "(SELECT url FROM link AS other WHERE other.id = link.twin), "
    "(SELECT url FROM link AS other WHERE other.id = link.target), "
    "released, host, rank FROM link WHERE id = ?"
)

# Its own budget, or the one it shares with its domain or its address, whichever was kept.
_PACE: Final = (
    "SELECT width, parked_until FROM pace WHERE key IN "
    "(?, ?, (SELECT address FROM host WHERE name = ?)) ORDER BY parked_until DESC LIMIT 1"
)

_AHEAD: Final = (
    "SELECT count(*) FROM link WHERE host = ? AND state = 0 AND (rank < ? OR (rank = ? AND id < ?))"
)

_WAY: Final = (
    "WITH RECURSIVE up (step, id, via, url) AS ("
    "SELECT 0, id, via, url FROM link WHERE id = ? "
    "UNION ALL SELECT step + 1, link.id, link.via, link.url FROM link JOIN up ON link.id = up.via "
    "WHERE step < ?) SELECT url FROM up WHERE step > 0 ORDER BY step"
)
