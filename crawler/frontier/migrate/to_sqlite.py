"""A crawl on many machines becomes one on one: its queue moves from Redis into a folder.

A finished URL is a fingerprint on Redis, so what was finished is told by its workers' records: of
each the URL, how it ended, its digest and validators. What is still to do, who asked to be left
alone and what hosts taught come from Redis. The job is paused and stays there until it is removed.

    on Redis                                  in the folder
    queued, resting, dead workers' leases     queued, resting: level, depth, attempts, cookie, order
    finished (with a record)                  done, moved, unchanged, refused, failed
    parked as a trap's                        braked
    robots.txt, rests, widths, parking        the same
    refused where it was found                nothing: it is refused again where it is found again
    what workers learnt of traps              nothing: it was in their memories only
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from crawler.errors import ConfigError, FolderLocked, FrontierError
from crawler.frontier.redis.codec import link_of, rules_of
from crawler.frontier.redis.redis_client import RedisClient
from crawler.frontier.redis.redis_jobs import JOBS, look
from crawler.frontier.redis.shards import SEEDS
from crawler.frontier.redis.worker_registry import pairs
from crawler.frontier.sqlite.content_dedup import key_of
from crawler.frontier.sqlite.statements import (
    BRAKED,
    KIND_NUMBER,
    QUEUED,
    RESTING,
    SEED,
    STATES,
    rules_row,
)
from crawler.frontier.sqlite.store import Store
from crawler.policy.urls import fingerprint, host_key
from crawler.records import CrawlUrl

SOME: Final = 1000  # elements in one answer


class FinishedUrl(msgspec.Struct, frozen=True, gc=False):
    """What a record says of a URL that was finished."""

    url: str
    outcome: str
    kind: str
    depth: int
    hops: int
    attempts: int
    via: str | None = None
    reason: str | None = None
    status: int | None = None
    bytes_wire: int | None = None
    fetched_at: str | None = None
    digest: str | None = None
    text_digest: str | None = None
    duplicate_of: str | None = None
    etag: str | None = None
    last_modified: str | None = None


class PendingUrl(msgspec.Struct, frozen=True, gc=False):
    """A link that is not finished. `due`: Unix time of the next try; None: at once."""

    link: CrawlUrl
    level: int
    state: int
    due: float | None = None
    reason: str = ""


async def held_still(wire: RedisClient, job: str) -> str:
    """Pause a job, for moving it; its settings. Raises ConfigError (none), FolderLocked (at
    work).
    """
    config = await wire.plain("HGET", JOBS, job)
    if config is None:
        raise ConfigError(f"{wire.name}: has no job {job!r}")
    for shard in range(wire.shards):
        await wire.call("pause", shard, job, 1)
    now = await _clock(wire)
    alive = 0
    for shard in range(wire.shards):
        alive += await wire.plain("ZCOUNT", f"{wire.tag(shard)}{job}:lease", now, "+inf")
    if alive:
        raise FolderLocked(
            f"{wire.name}: workers of {job!r} have {alive} links on lease. It is paused: stop "
            "them, or wait until their leases end, and ask again"
        )
    return str(config.decode())


async def waiting(wire: RedisClient, job: str) -> list[PendingUrl]:
    """All that is not finished, each host's links in their order. Of a paused job."""
    found: list[PendingUrl] = []
    for shard in range(wire.shards):
        key = f"{wire.tag(shard)}{job}:"
        flights = await wire.plain("HVALS", f"{key}fly")
        async for host, level, element, _ in _opened(wire, shard, flights):
            found.append(_waiting(host, level, element, QUEUED))
        for name in sorted(await wire.keys(_pattern(shard, job, "q:*"))):
            level, host = name[len(key.encode()) + 2 :].split(b":", 1)
            async for some in _listed(wire, name):
                found += [_waiting(host, level, element, QUEUED) for element in some]
        resting = _pairs(await wire.plain("ZRANGE", f"{key}rest", 0, -1, "WITHSCORES"))
        dues = iter([float(due) for _, due in resting])
        async for host, level, element, _ in _opened(wire, shard, [one for one, _ in resting]):
            found.append(_waiting(host, level, element, RESTING, next(dues) / 1000))
        async for some in _listed(wire, f"{key}braked".encode()):
            async for host, level, element, reason in _opened(wire, shard, some):
                found.append(_waiting(host, level, element, BRAKED, None, reason.decode()))
    return found


async def moved_out(
    wire: RedisClient, job: str, file: Path, left: Sequence[PendingUrl],
    done: Iterable[FinishedUrl],
    marks: dict[str, int],
) -> None:  # fmt: skip
    """Write `left` and `done` into a new frontier `file`, with the lengths of its outputs.

    It has its name only once it is whole. Raises ConfigError where records are missing,
    FrontierError where the file cannot be written.
    """
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    wanted = (await look(wire, job)).stats
    manners = [row for shard in range(wire.shards) for row in await _manners(wire, shard, job)]
    robots = [row for shard in range(wire.shards) for row in await _robots(wire, shard, job)]
    notes = await wire.plain("GET", f"{wire.tag(0)}{job}:notes")
    told = msgspec.json.decode(notes, type=dict[str, Any]) if notes else {}
    for url, kind in pairs(await wire.plain("HGETALL", f"{wire.tag(0)}{job}:{SEEDS}")):
        told[SEED + url.decode("utf-8", "surrogatepass")] = kind.decode()
    try:
        number = await asyncio.to_thread(
            _written, unfinished, left, done, marks, manners, robots, told
        )
        owed = wanted.done + wanted.moved + wanted.unchanged + wanted.failed
        if number < owed:
            raise ConfigError(
                f"{owed - number} of {owed} finished URLs have no record in these folders: name "
                "the folders of all workers"
            )
        unfinished.replace(file)
    except sqlite3.Error as error:
        raise FrontierError(f"{file}: {error}") from error
    except OSError as error:
        raise FrontierError(f"{error.filename or file}: {error.strerror}") from error
    finally:
        for name in ("", "-wal", "-shm"):
            unfinished.with_name(unfinished.name + name).unlink(missing_ok=True)


# ── what lies on Redis ───────────────────────────────────────────────────────────────────────────


def _waiting(
    host: bytes, level: bytes, element: bytes, state: int, due: float | None = None, why: str = ""
) -> PendingUrl:
    return PendingUrl(
        link_of(element, host.decode("utf-8", "surrogatepass"), 0), int(level), state, due, why
    )


async def _opened(
    wire: RedisClient, shard: int, packed: Sequence[bytes]
) -> AsyncIterator[tuple[bytes, bytes, bytes, bytes]]:
    """Host, level, element and reason of what only the server can unpack."""
    for start in range(0, len(packed), SOME):
        for row in await wire.call("opened", shard, *packed[start : start + SOME]):
            yield tuple(row)


async def _listed(wire: RedisClient, name: bytes) -> AsyncIterator[list[bytes]]:
    at = 0
    while some := await wire.plain("LRANGE", name, at, at + SOME - 1):
        yield some
        at += SOME


async def _manners(wire: RedisClient, shard: int, job: str) -> list[tuple[str, dict[str, float]]]:
    """What the job's hosts taught."""
    names = _fields(await wire.plain("HGETALL", f"{wire.tag(shard)}{job}:n"))
    found = []
    for host in names:
        key = f"{wire.tag(shard)}h:".encode() + host
        values = {
            name.decode(): float(value)
            for name, value in _fields(await wire.plain("HGETALL", key)).items()
            if name != b"ask"
        }
        found.append((host.decode("utf-8", "surrogatepass"), values))
    return found


async def _robots(wire: RedisClient, shard: int, job: str) -> list[tuple[Any, ...]]:
    found = []
    for key in await wire.keys(_pattern(shard, job, "robots:*")):
        written = await wire.plain("HGET", key, "rules")
        if written is not None:
            rules = rules_of(written)
            host = rules.origin.split("/", 3)[2]
            found.append((rules.origin, host, *rules_row(rules)))
    return found


async def _clock(wire: RedisClient) -> int:
    """The server's, in milliseconds; leases end by it."""
    return int(await wire.call("clock", 0))


def _pattern(shard: int, job: str, rest: str) -> str:
    quoted = "".join(f"\\{char}" if char in "*?[]^-\\" else char for char in job)
    return f"crawler:[{{]{shard}[}}]:{quoted}:{rest}"


def _pairs(answer: Any) -> list[tuple[bytes, float]]:
    """Members and scores; one protocol sends them flat, the other in pairs."""
    if answer and isinstance(answer[0], (list, tuple)):
        return [(one, float(score)) for one, score in answer]
    return [(one, float(score)) for one, score in zip(*[iter(answer)] * 2, strict=True)]


def _fields(answer: Any) -> dict[bytes, bytes]:
    return answer if isinstance(answer, dict) else dict(zip(*[iter(answer)] * 2, strict=True))


# ── what is written ──────────────────────────────────────────────────────────────────────────────


def _written(
    file: Path, left: Sequence[PendingUrl], done: Iterable[FinishedUrl], marks: dict[str, int],
    manners: Sequence[tuple[str, dict[str, float]]], robots: Sequence[tuple[Any, ...]],
    notes: dict[str, Any],
) -> int:  # fmt: skip
    """Blocking. How many URLs are finished that a worker wrote down whatever happened."""
    store = Store(file)
    store.open()  # makes the tables
    store.close()
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("BEGIN")
        page = _Page(db)
        for one in left:
            if one.state != BRAKED:
                page.wait(one)
        number = sum(page.finish(one) for one in done)
        for one in left:
            if one.state == BRAKED:
                page.wait(one)
        page.join()
        db.executemany("INSERT INTO mark VALUES (?, ?)", marks.items())
        db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", notes.items())
        now = time.time()
        for host, values in manners:
            db.execute("UPDATE host SET rest_until = ? WHERE id = ?",
                       (max(0.0, values.get("due", 0.0) / 1000), page.host(host)))  # fmt: skip
            if "w" in values or values.get("fails"):
                db.execute(
                    "INSERT OR REPLACE INTO pace VALUES (?, ?, ?, ?, ?)",
                    (
                        host, values.get("w", 1.0), int(values.get("fails", 0)),
                        int(values.get("parks", 0)), values.get("parked", 0.0) / 1000,
                    ),
                )  # fmt: skip
        db.execute("UPDATE host SET rest_until = 0 WHERE rest_until < ?", (now,))
        for origin, host, *rest in robots:
            db.execute("INSERT OR REPLACE INTO robots VALUES (?, ?, ?, ?, ?, ?)",
                       (origin, page.host(host), *rest))  # fmt: skip
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return number


class _Page:
    """Writes links, each once, whoever of several tells of it first."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._hosts: dict[str, int] = {}
        self._last = 0
        db.execute("CREATE TEMP TABLE parent (link INTEGER PRIMARY KEY, key BLOB)")
        db.execute("CREATE TEMP TABLE original (link INTEGER PRIMARY KEY, key BLOB)")

    def host(self, name: str) -> int:
        number = self._hosts.get(name)
        if number is None:
            self._db.execute("INSERT OR IGNORE INTO host (name) VALUES (?)", (name,))
            row = self._db.execute("SELECT id FROM host WHERE name = ?", (name,)).fetchone()
            number = self._hosts[name] = int(row[0])
        return number

    def wait(self, one: PendingUrl) -> None:
        link = one.link
        values = (
            KIND_NUMBER[link.kind.value], link.depth, link.hops, one.level, one.state,
            link.attempt, one.due, link.cookie or None, one.reason or None,
        )  # fmt: skip
        number = self._new(link.url, link.host, link.via)
        if number is not None:
            self._db.execute(
                "UPDATE link SET kind = ?, depth = ?, hops = ?, rank = ?, state = ?, attempt = ?, "
                "due = ?, cookie = ?, reason = ? WHERE id = ?",
                (*values, number),
            )

    def finish(self, one: FinishedUrl) -> bool:
        """False: it is refused, or was there."""
        host = host_key(one.url)
        number = self._new(one.url, host, one.via)
        if number is None:
            return False
        when = datetime.fromisoformat(one.fetched_at).timestamp() if one.fetched_at else time.time()
        values = (
            KIND_NUMBER[one.kind], one.depth, one.hops, one.depth, STATES.index(one.outcome),
            max(0, one.attempts - 1), when, one.status, one.bytes_wire, one.reason, one.digest,
            one.etag, one.last_modified, one.text_digest, number,
        )  # fmt: skip
        self._db.execute(
            "UPDATE link SET kind = ?, depth = ?, hops = ?, rank = ?, state = ?, attempt = ?, "
            "visited_at = ?, status = ?, bytes = ?, reason = ?, digest = ?, etag = ?, "
            "modified = ?, text_digest = ? WHERE id = ?",
            values,
        )
        if one.duplicate_of is not None:
            key = fingerprint(one.duplicate_of, host_key(one.duplicate_of))
            self._db.execute("INSERT INTO original VALUES (?, ?)", (number, key))
        elif one.digest and one.outcome == "done":
            self._db.execute(
                "INSERT OR IGNORE INTO content VALUES (?, ?)", (key_of(one.digest), number)
            )
        return one.outcome != "refused"

    def _new(self, url: str, host: str, via: str | None) -> int | None:
        key = fingerprint(url, host)
        added = self._db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (key, self._last + 1))
        if not added.rowcount:
            return None
        self._last += 1
        self._db.execute(
            "INSERT INTO link (id, key, host, url, kind, depth, rank, state) "
            "VALUES (?, ?, ?, ?, 0, 0, 0, 0)",
            (self._last, key, self.host(host), url),
        )
        if via is not None:
            self._db.execute(
                "INSERT INTO parent VALUES (?, ?)", (self._last, fingerprint(via, host_key(via)))
            )
        return self._last

    def join(self) -> None:
        """Links to the pages they were found on, which may have come after them."""
        for table, column in (("parent", "via"), ("original", "twin")):
            self._db.execute(
                f"UPDATE link SET {column} = (SELECT seen.link FROM {table} "  # noqa: S608 - ours
                f"JOIN seen ON seen.key = {table}.key WHERE {table}.link = link.id) "
                f"WHERE id IN (SELECT link FROM {table})"
            )
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('folded', ?)", (self._last,))
