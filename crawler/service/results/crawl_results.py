"""What a job's crawl knows and wrote, read from outside while it runs or not. All of it blocks.

Every read is bounded: a page of rows, a window of a file. Of `pages.jsonl` only what is committed
is shown, so a line that was seen once is never taken back.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from crawler.config.model import UrlsConfig
from crawler.config.workdir import FRONTIER
from crawler.errors import ConfigError, FrontierError
from crawler.frontier.sqlite.read_only import reader
from crawler.frontier.sqlite.seen_index import look_up
from crawler.frontier.sqlite.statements import STATES
from crawler.frontier.sqlite.store import SCHEMA_VERSION
from crawler.frontier.sqlite.url_history import story
from crawler.policy.trap_rules import template_names
from crawler.policy.urls import Urls, fingerprint, host_key, origin
from crawler.records import Kind

WINDOW: Final = 8 * 1024 * 1024
"""Bytes of pages.jsonl looked through for one page of results; the cursor goes on from there."""

PATIENCE: Final = 5.0
"""Seconds that one question to a frontier may take."""

ANCESTORS: Final = 100
"""Pages on the way from a seed that a story tells of."""

_KINDS: Final = tuple(kind.value for kind in Kind)


class LinkResult(msgspec.Struct, frozen=True):
    """One URL of a crawl, as its frontier knows it. Times are Unix seconds."""

    id: int
    url: str
    state: str
    kind: str
    depth: int
    via: str | None
    status: int | None
    reason: str | None
    attempts: int
    bytes: int | None
    visited_at: float | None
    due: float | None


class HostResult(msgspec.Struct, frozen=True):
    """One host of a crawl. `resting`: seconds until it may be asked again, 0: now. None: workers
    run the job, and nobody counts it by host.
    """

    host: str
    links: int | None
    queued: int
    done: int | None
    failed: int | None
    resting: float
    crawl_delay: float | None
    robots_status: int | None


class UrlStory(msgspec.Struct, frozen=True):
    """Everything about one URL: the link, how it was found, what its robots.txt said."""

    link: LinkResult
    path: tuple[str, ...]  # from a seed to it
    robots_status: int | None
    robots_delay: float | None
    ahead: int | None = None  # queued links of its host that come before it
    duplicate_of: str | None = None  # the page that had the same bytes before
    target: str | None = None  # where its redirect leads
    brake: str = ""  # why what looks like it is parked as a trap


_ROW: Final = (
    "SELECT link.id, link.url, link.state, link.kind, link.depth, "
    "(SELECT parent.url FROM link AS parent WHERE parent.id = link.via), "
    "link.status, link.reason, link.attempt, link.bytes, link.visited_at, link.due FROM link "
)


def links(
    folder: Path, *, states: Collection[str] = (), after: int = 0, limit: int = 100
) -> list[LinkResult]:
    """Links in the order of discovery, those with a greater id than `after`."""
    numbers = [STATES.index(state) for state in states]
    rule = f"AND link.state IN ({', '.join('?' * len(numbers))})" if numbers else ""
    with opened(folder) as db:
        rows = db.execute(
            f"{_ROW} WHERE link.id > ? {rule} ORDER BY link.id LIMIT ?",
            (after, *numbers, limit),
        ).fetchall()
    return [_link(row) for row in rows]


def why(folder: Path, url: str, rules: UrlsConfig) -> UrlStory | None:
    """The story of a URL; None: this crawl never saw it, or it is none."""
    canonical = Urls(rules).canonical(url)
    if canonical is None:
        return None
    key = fingerprint(canonical, host_key(canonical))
    with opened(folder) as db:
        number = look_up(db, key)
        if number is None:
            return None
        row = db.execute(f"{_ROW} WHERE link.id = ?", (number,)).fetchone()
        path = db.execute(
            "WITH RECURSIVE way (id, url, via, step) AS ("
            "SELECT id, url, via, 0 FROM link WHERE id = ? UNION ALL "
            "SELECT link.id, link.url, link.via, step + 1 FROM link JOIN way ON link.id = way.via "
            "WHERE step < ?) SELECT url FROM way ORDER BY step DESC",
            (row[0], ANCESTORS),
        ).fetchall()
        robots = db.execute(
            "SELECT status, delay FROM robots WHERE origin = ?", (origin(canonical),)
        ).fetchone()
    status, delay = robots or (None, None)
    told = story(
        folder / FRONTIER,
        key=key,
        host=host_key(canonical),
        origin=origin(canonical),
        templates=template_names(canonical),
    )
    seen = told.seen
    return UrlStory(
        _link(row),
        tuple(url for (url,) in path),
        status,
        delay,
        seen.ahead if seen else None,
        seen.duplicate_of if seen else None,
        seen.target if seen else None,
        told.host.brake,
    )


def hosts(folder: Path, limit: int = 100) -> list[HostResult]:
    """The hosts with the most work left, then the largest."""
    now = time.time()
    with opened(folder) as db:
        rows = db.execute(
            "SELECT host.name, count(*), sum(link.state IN (0, 1)) AS queued, "
            "sum(link.state = 2), sum(link.state = 6), host.rest_until, "
            "(SELECT max(delay) FROM robots WHERE robots.host = host.id), "
            "(SELECT max(status) FROM robots WHERE robots.host = host.id) "
            "FROM link JOIN host ON host.id = link.host "
            "GROUP BY host.id ORDER BY queued DESC, count(*) DESC LIMIT ?",
            (limit,),
        ).fetchall()
    return [
        HostResult(name, n, queued, done, failed, round(max(0.0, rest - now), 1), delay, status)
        for name, n, queued, done, failed, rest, delay, status in rows
    ]


def pages(
    folder: Path,
    *,
    after: int = 0,
    limit: int = 100,
    outcomes: Collection[str] = (),
    statuses: Collection[int] = (),
) -> tuple[list[dict[str, Any]], int | None]:
    """Records of pages.jsonl from a byte on, and the byte to go on from; None: that was all.

    Fewer than `limit`, even none, when the window holds no more that fit: then go on.
    """
    committed = _mark(folder)
    found: list[dict[str, Any]] = []
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    path = folder / "pages.jsonl"
    place = min(after, committed)
    if place and not _at_line_start(path, place):
        raise ConfigError("cursor: not one of ours")
    until = min(committed, place + WINDOW)
    if place >= committed:
        return [], None
    with path.open("rb") as file:
        file.seek(place)
        for line in file:
            if place + len(line) > committed or (place >= until and found):
                break
            place += len(line)
            record = decode(line)
            if outcomes and record["outcome"] not in outcomes:
                if place >= until:
                    break
                continue
            if statuses and record["status"] not in statuses:
                if place >= until:
                    break
                continue
            found.append(record)
            if len(found) == limit:
                break
    return found, place if place < committed else None


def _link(row: Sequence[Any]) -> LinkResult:
    number, url, state, kind, *rest = row
    return LinkResult(number, url, STATES[state], _KINDS[kind], *rest)


def _mark(folder: Path) -> int:
    try:
        with opened(folder) as db:
            row = db.execute("SELECT length FROM mark WHERE sink = 'pages.jsonl'").fetchone()
    except FileNotFoundError:
        return 0
    return int(row[0]) if row else 0


def _at_line_start(path: Path, place: int) -> bool:
    with path.open("rb") as file:
        file.seek(place - 1)
        return file.read(1) == b"\n"


@contextmanager
def opened(folder: Path) -> Iterator[sqlite3.Connection]:
    """The frontier, read-only, with a deadline. Raises FileNotFoundError, FrontierError."""
    path = folder / FRONTIER
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        db = reader(path, timeout=PATIENCE)
    except sqlite3.Error as error:
        raise FrontierError(f"{path.name}: {error}") from error
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:  # being made at this moment
            raise FileNotFoundError(path)
        if version != SCHEMA_VERSION:
            raise FrontierError(f"{path.name} has version {version}, not {SCHEMA_VERSION}")
        late = time.monotonic() + PATIENCE
        db.set_progress_handler(lambda: time.monotonic() > late, 100_000)
        yield db
    except sqlite3.Error as error:
        raise FrontierError(f"{path.name}: {error}") from error
    finally:
        db.close()
