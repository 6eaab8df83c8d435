"""A look at a crawl's frontier from outside: read-only, also while it runs."""

from __future__ import annotations

import fcntl
import sqlite3
import time
from pathlib import Path

import msgspec

from crawler.errors import ConfigError, FrontierError
from crawler.frontier.store import SCHEMA_VERSION, STATES
from crawler.model import Counts

TOP = 10


class View(msgspec.Struct, frozen=True):
    """What a frontier's file says."""

    counts: Counts
    bytes_wire: int
    statuses: dict[int, int]
    reasons: dict[str, int]
    hosts: dict[str, int]  # the largest, by links
    resting: dict[str, float]  # seconds that hosts asked to be left alone for, from now
    parked: dict[str, float]  # … that hosts are parked for after failures in a row
    crawl_delays: dict[str, float]  # the longest that robots.txt files ask for, by origin
    idle: float | None  # seconds since the last visit; None: there was none
    running: bool


def peek(path: Path) -> View:
    """Raises ConfigError when there is no crawl, FrontierError when it cannot be read."""
    if not path.exists():
        raise ConfigError(f"{path.parent}: holds no crawl")
    try:
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            return _look(db, path)
        finally:
            db.close()
    except sqlite3.Error as error:
        raise FrontierError(f"{path}: {error}") from error


def _look(db: sqlite3.Connection, path: Path) -> View:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA_VERSION:
        raise FrontierError(f"{path} has frontier version {version}, not {SCHEMA_VERSION}")
    states = dict.fromkeys(STATES, 0)
    for state, number in db.execute("SELECT state, count(*) FROM link GROUP BY state"):
        states[STATES[state]] = number
    skipped = states.pop("skipped")
    states["refused"] += skipped
    hosts = db.execute("SELECT count(*) FROM host").fetchone()[0]
    now = time.time()
    volume, last = db.execute("SELECT total(bytes), max(visited_at) FROM link").fetchone()
    return View(
        counts=Counts(**states, hosts=hosts),
        bytes_wire=int(volume),
        statuses=dict(
            db.execute(
                "SELECT status, count(*) FROM link WHERE status IS NOT NULL GROUP BY 1 ORDER BY 1"
            ).fetchall()
        ),
        reasons=dict(
            db.execute(
                "SELECT reason, count(*) FROM link WHERE reason IS NOT NULL "
                "GROUP BY 1 ORDER BY 2 DESC LIMIT ?",
                (TOP,),
            ).fetchall()
        ),
        hosts=dict(
            db.execute(
                "SELECT name, count(*) FROM link JOIN host ON host.id = link.host "
                "GROUP BY host ORDER BY 2 DESC LIMIT ?",
                (TOP,),
            ).fetchall()
        ),
        resting=dict(
            db.execute(
                "SELECT name, rest_until - ? FROM host WHERE rest_until > ? "
                "ORDER BY rest_until DESC LIMIT ?",
                (now, now, TOP),
            ).fetchall()
        ),
        parked=dict(
            db.execute(
                "SELECT key, parked_until - ? FROM pace WHERE parked_until > ? "
                "ORDER BY parked_until DESC LIMIT ?",
                (now, now, TOP),
            ).fetchall()
        ),
        crawl_delays=dict(
            db.execute(
                "SELECT origin, delay FROM robots WHERE delay > 0 ORDER BY delay DESC LIMIT ?",
                (TOP,),
            ).fetchall()
        ),
        idle=None if last is None else max(0.0, now - last),
        running=_is_locked(path.with_suffix(".lock")),
    )


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
