"""A crawl's frontier and records, read while the job runs or later. All of it blocks.

Every read is bounded: a page of rows, a window of a file. Only the committed part of `pages.jsonl`
is read, so a line that a client has seen is never withdrawn.
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
from crawler.errors import ConfigError, CrawlerError, FrontierError
from crawler.frontier.sqlite.read_only import reader
from crawler.frontier.sqlite.seen_index import look_up
from crawler.frontier.sqlite.statements import STATES
from crawler.frontier.sqlite.store import SCHEMA_VERSION
from crawler.frontier.sqlite.url_history import story
from crawler.policy.trap_rules import template_names
from crawler.policy.urls import Urls, fingerprint, host_key, origin
from crawler.records import Kind

SCAN_BYTES_MAX: Final = 8 * 1024 * 1024
"""Bytes of pages.jsonl that are searched for one page of results; the cursor continues there."""

QUERY_TIMEOUT_S: Final = 5.0
"""Seconds that one query of a frontier may take."""

PATH_LENGTH_MAX: Final = 100
"""Pages on the path from a seed that are listed."""

_KINDS: Final = tuple(kind.value for kind in Kind)


class ResultsNotKept(CrawlerError):
    """The requested results of a job are not stored anywhere; the message says which are."""


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
    """One host of a crawl. `resting`: seconds until it may get a request, 0: now. Fields are None
    when workers run the job, because they are not counted by host then.
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
    """All that is known of one URL: its link, the path to it, its robots.txt."""

    link: LinkResult
    path: tuple[str, ...]  # from a seed to this URL
    robots_status: int | None
    robots_delay: float | None
    ahead: int | None = None  # queued links of its host that come before it
    duplicate_of: str | None = None  # the page that had the same bytes before
    target: str | None = None  # where its redirect leads
    brake: str = ""  # why URLs of this pattern are parked as a trap


_LINK_COLUMNS: Final = (
    "SELECT link.id, link.url, link.state, link.kind, link.depth, "
    "(SELECT parent.url FROM link AS parent WHERE parent.id = link.via), "
    "link.status, link.reason, link.attempt, link.bytes, link.visited_at, link.due FROM link "
)


def links(
    folder: Path, *, states: Collection[str] = (), after: int = 0, limit: int = 100
) -> list[LinkResult]:
    """Links in the order of discovery, with an id greater than `after`."""
    state_numbers = [STATES.index(state) for state in states]
    condition = (
        f"AND link.state IN ({', '.join('?' * len(state_numbers))})" if state_numbers else ""
    )
    with open_frontier(folder) as db:
        rows = db.execute(
            f"{_LINK_COLUMNS} WHERE link.id > ? {condition} ORDER BY link.id LIMIT ?",
            (after, *state_numbers, limit),
        ).fetchall()
    return [_link(row) for row in rows]


def explain(folder: Path, url: str, rules: UrlsConfig) -> UrlStory | None:
    """All that is known of a URL; None: the crawl has not found it, or it is not a URL."""
    canonical = Urls(rules).canonical(url)
    if canonical is None:
        return None
    key = fingerprint(canonical, host_key(canonical))
    with open_frontier(folder) as db:
        number = look_up(db, key)
        if number is None:
            return None
        row = db.execute(f"{_LINK_COLUMNS} WHERE link.id = ?", (number,)).fetchone()
        path = db.execute(
            "WITH RECURSIVE way (id, url, via, step) AS ("
            "SELECT id, url, via, 0 FROM link WHERE id = ? UNION ALL "
            "SELECT link.id, link.url, link.via, step + 1 FROM link JOIN way ON link.id = way.via "
            "WHERE step < ?) SELECT url FROM way ORDER BY step DESC",
            (row[0], PATH_LENGTH_MAX),
        ).fetchall()
        robots = db.execute(
            "SELECT status, delay FROM robots WHERE origin = ?", (origin(canonical),)
        ).fetchone()
    status, delay = robots or (None, None)
    history = story(
        folder / FRONTIER,
        key=key,
        host=host_key(canonical),
        origin=origin(canonical),
        templates=template_names(canonical),
    )
    seen = history.seen
    return UrlStory(
        _link(row),
        tuple(url for (url,) in path),
        status,
        delay,
        seen.ahead if seen else None,
        seen.duplicate_of if seen else None,
        seen.target if seen else None,
        history.host.brake,
    )


def hosts(folder: Path, limit: int = 100) -> list[HostResult]:
    """Hosts with the most queued links first, then by number of links."""
    now = time.time()
    with open_frontier(folder) as db:
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
    """Records of pages.jsonl that match the filters, from byte `after` on, and the byte where the
    next page continues; None: there are no more.

    There may be fewer than `limit` records, even none, because at most SCAN_BYTES_MAX bytes are
    searched. Raises ConfigError when no line starts at `after`.
    """
    committed = _committed_length(folder)
    found: list[dict[str, Any]] = []
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    path = folder / "pages.jsonl"
    position = min(after, committed)
    if position and not _at_line_start(path, position):
        raise ConfigError("cursor: not a value that this API returned")
    scan_end = min(committed, position + SCAN_BYTES_MAX)
    if position >= committed:
        return [], None
    with path.open("rb") as file:
        file.seek(position)
        for line in file:
            if position + len(line) > committed or (position >= scan_end and found):
                break
            position += len(line)
            record = decode(line)
            if outcomes and record["outcome"] not in outcomes:
                if position >= scan_end:
                    break
                continue
            if statuses and record["status"] not in statuses:
                if position >= scan_end:
                    break
                continue
            found.append(record)
            if len(found) == limit:
                break
    return found, position if position < committed else None


def _link(row: Sequence[Any]) -> LinkResult:
    number, url, state, kind, *rest = row
    return LinkResult(number, url, STATES[state], _KINDS[kind], *rest)


def _committed_length(folder: Path) -> int:
    """Bytes of pages.jsonl that the frontier has committed."""
    try:
        with open_frontier(folder) as db:
            row = db.execute("SELECT length FROM mark WHERE sink = 'pages.jsonl'").fetchone()
    except FileNotFoundError:
        return 0
    return int(row[0]) if row else 0


def _at_line_start(path: Path, position: int) -> bool:
    with path.open("rb") as file:
        file.seek(position - 1)
        return file.read(1) == b"\n"


@contextmanager
def open_frontier(folder: Path) -> Iterator[sqlite3.Connection]:
    """Open the frontier read-only, for QUERY_TIMEOUT_S. Raises FileNotFoundError, FrontierError."""
    path = folder / FRONTIER
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        db = reader(path, timeout=QUERY_TIMEOUT_S)
    except sqlite3.Error as error:
        raise FrontierError(f"{path.name}: {error}") from error
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:  # it is being created
            raise FileNotFoundError(path)
        if version != SCHEMA_VERSION:
            raise FrontierError(f"{path.name} has version {version}, not {SCHEMA_VERSION}")
        deadline = time.monotonic() + QUERY_TIMEOUT_S
        db.set_progress_handler(lambda: time.monotonic() > deadline, 100_000)
        yield db
    except sqlite3.Error as error:
        raise FrontierError(f"{path.name}: {error}") from error
    finally:
        db.close()
