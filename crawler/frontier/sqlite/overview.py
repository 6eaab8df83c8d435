"""A look at a crawl's frontier from outside: read-only, also while it runs."""

from __future__ import annotations

import fcntl
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from crawler.config.workdir import LOOPS, WORKER
from crawler.errors import ConfigError, FrontierError
from crawler.frontier.sqlite import cooldowns
from crawler.frontier.sqlite.corruption import frontier_error, sound
from crawler.frontier.sqlite.read_only import reader
from crawler.frontier.sqlite.statements import ENDED_RUN, adopted_in, counted, newest_run
from crawler.frontier.sqlite.store import SCHEMA_VERSION
from crawler.policy.waits import Wait
from crawler.records import Counts

TOP = 10


class FrontierOverview(msgspec.Struct, frozen=True):
    """What a frontier's file says."""

    counts: Counts
    bytes_wire: int
    statuses: dict[int, int]
    reasons: dict[str, int]  # of visits that were not done
    skipped: dict[str, int]  # not followed, by reason
    braked: dict[str, int]  # parked, by reason
    duplicates: int
    hosts: dict[str, int]  # the largest, by links
    resting: dict[str, float]  # seconds that hosts asked to be left alone for, from now
    parked: dict[str, float]  # … that hosts are parked for after failures in a row
    waits: tuple[Wait, ...]  # those that wait longest, hosts and URLs, and why
    crawl_delays: dict[str, float]  # the longest that robots.txt files ask for, by origin
    idle: float | None  # seconds since the last visit; None: there was none
    running: bool


def peek(path: Path) -> FrontierOverview:
    """Raises ConfigError when there is no crawl, FrontierError when it cannot be read."""
    with looking(path) as db:
        return _look(db, path)


@contextmanager
def looking(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write. Raises as `peek` does."""
    if not path.exists():
        raise ConfigError(f"{path.parent}: {missing(path.parent)}")
    try:
        with closing(reader(path)) as db, sound(db):
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version != SCHEMA_VERSION:
                raise FrontierError(f"{path} has frontier version {version}, not {SCHEMA_VERSION}")
            yield db
    except sqlite3.Error as error:
        raise frontier_error(path, error) from error


def missing(folder: Path) -> str:
    """Why there is nothing to look at."""
    if (folder / WORKER).exists():
        return (
            "holds a worker's share of a crawl on Redis, where a finished URL has no story: "
            "crawler frontier jobs shows it, crawler frontier export brings it home"
        )
    if (folder / LOOPS).exists():
        return (
            "holds a crawl of several loops, where a finished URL has no story: its records are in "
            "pages.jsonl, crawler resume goes on with it"
        )
    return "holds no crawl"


def queued(path: Path) -> Iterator[str]:
    """The URLs that are still to be visited, as the hosts' queues have them."""
    with looking(path) as db:
        yield from (
            url
            for (url,) in db.execute(
                "SELECT url FROM link WHERE state IN (0, 1) ORDER BY host, rank, id"
            )
        )


def adopted(path: Path) -> list[str]:
    """What seeds redirected to: seeds, too."""
    with looking(path) as db:
        return [*adopted_in(db)]


def left_in_run(path: Path) -> tuple[int, int]:
    """The number of the last run, and how many links it has still to visit; 0: it has ended."""
    with looking(path) as db:
        run = newest_run(db)
        ended = db.execute("SELECT value FROM meta WHERE name = ?", (ENDED_RUN,)).fetchone()
        if ended is not None and ended[0] == run:
            return run, 0
        left = db.execute("SELECT count(*) FROM link WHERE state IN (0, 1)").fetchone()[0]
        return run, left


def _look(db: sqlite3.Connection, path: Path) -> FrontierOverview:
    now = time.time()
    volume, last = db.execute("SELECT total(bytes), max(visited_at) FROM link").fetchone()
    return FrontierOverview(
        counts=counted(db),
        bytes_wire=int(volume),
        statuses=dict(
            db.execute(
                "SELECT status, count(*) FROM link WHERE status IS NOT NULL GROUP BY 1 ORDER BY 1"
            ).fetchall()
        ),
        reasons=_reasons(db, "0, 1, 2, 3, 4, 5, 6"),
        skipped=_reasons(db, "7"),
        braked=_reasons(db, "8"),
        duplicates=db.execute("SELECT count(*) FROM link WHERE twin IS NOT NULL").fetchone()[0],
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
        waits=tuple(cooldowns.waits(db, now, TOP)),
        crawl_delays=dict(
            db.execute(
                "SELECT origin, delay FROM robots WHERE delay > 0 ORDER BY delay DESC LIMIT ?",
                (TOP,),
            ).fetchall()
        ),
        idle=None if last is None else max(0.0, now - last),
        running=_is_locked(path.with_suffix(".lock")),
    )


def _reasons(db: sqlite3.Connection, states: str) -> dict[str, int]:
    return dict(
        db.execute(
            "SELECT reason, count(*) FROM link WHERE reason IS NOT NULL "  # noqa: S608 - our numbers
            f"AND state IN ({states}) GROUP BY 1 ORDER BY 2 DESC LIMIT ?",
            (TOP,),
        ).fetchall()
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
