"""Why hosts and links wait, stored for a restart and for `crawler status`."""

from __future__ import annotations

import sqlite3
from typing import Final

from crawler.policy.waits import Wait, longest, reason_of, retry_of

ADDED: Final = (
    "CREATE TABLE IF NOT EXISTS rest "
    "(host INTEGER PRIMARY KEY, why TEXT NOT NULL, url TEXT NOT NULL)"
)
"""Files of earlier releases have no such table; those releases take no notice of it."""


def note(db: sqlite3.Connection, host: int, until: float, why: str, url: str) -> None:
    """A host, by id, asked to be left alone until `until` (Unix time)."""
    longer = db.execute(
        "UPDATE host SET rest_until = ?1 WHERE id = ?2 AND rest_until < ?1", (until, host)
    )
    if longer.rowcount:
        db.execute("INSERT OR REPLACE INTO rest VALUES (?, ?, ?)", (host, why, url))


def why(db: sqlite3.Connection, host: int) -> tuple[str, str]:
    """Why the host rested last, and the URL that asked for it."""
    row = db.execute("SELECT why, url FROM rest WHERE host = ?", (host,)).fetchone()
    return row or ("", "")


def retries(db: sqlite3.Connection, now: float, most: int) -> list[Wait | None]:
    """The links whose next try is farthest away; `now` is Unix time."""
    rows = db.execute(
        "SELECT url, due - ?1, ?1 - visited_at, reason FROM link WHERE state = 1 "
        "ORDER BY due DESC LIMIT ?2",
        (now, most),
    )
    return [
        retry_of(url, seconds, waited or 0.0, reason or "") for url, seconds, waited, reason in rows
    ]


def waits(db: sqlite3.Connection, now: float, most: int) -> list[Wait]:
    """Hosts that rest or are parked, and links that wait for their next try, as stored."""
    known = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'rest'").fetchone()
    rested = db.execute(
        "SELECT name, rest_until - ?1, why, url FROM host LEFT JOIN rest ON rest.host = id "
        "WHERE rest_until > ?1 ORDER BY rest_until DESC LIMIT ?2"
        if known
        else "SELECT name, rest_until - ?1, '', '' FROM host "
        "WHERE rest_until > ?1 ORDER BY rest_until DESC LIMIT ?2",
        (now, most),
    )
    hosts = {
        name: Wait(name, left, reason_of(why or "", url or "")) for name, left, why, url in rested
    }
    for name, left, failures in db.execute(
        "SELECT key, parked_until - ?1, failures FROM pace WHERE parked_until > ?1 "
        "ORDER BY parked_until DESC LIMIT ?2",
        (now, most),
    ):
        if name not in hosts or hosts[name].seconds < left:
            hosts[name] = Wait(name, left, f"parked after {failures} failures in a row")
    return longest([*hosts.values(), *retries(db, now, most)], most)
