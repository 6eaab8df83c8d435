"""The frontier's SQLite file: blocking functions, run on the one thread that owns the connection.

Measured on this schema (2 cores, WAL, synchronous NORMAL): about 30,000 pages with 10 links each
a second when committed in groups. An append-ordered table with partial indexes for what is still
to do keeps inserts cheap: a table keyed by a random hash alone is ten times slower.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec

from crawler.errors import FrontierError
from crawler.frontier.keys import Keys
from crawler.model import Counts, Found, Kind, Link, Outcome, Rules, Visit

SCHEMA_VERSION: Final = 2

QUEUED, RESTING, DONE, MOVED, UNCHANGED, REFUSED, FAILED, SKIPPED = range(8)
"""States of a link. SKIPPED was refused where it was found, REFUSED when it was its turn."""

STATES: Final = ("queued", "resting", "done", "moved", "unchanged", "refused", "failed", "skipped")

_STATE_OF: Final = {
    Outcome.DONE: DONE,
    Outcome.MOVED: MOVED,
    Outcome.UNCHANGED: UNCHANGED,
    Outcome.REFUSED: REFUSED,
    Outcome.RETRY: RESTING,
    Outcome.FAILED: FAILED,
}
_KINDS: Final = tuple(Kind)
_KIND_NUMBER: Final[Mapping[str, int]] = {kind.value: n for n, kind in enumerate(_KINDS)}

RECENT_KEYS: Final = 1 << 17
"""Fingerprints remembered in memory, twice: about 25 MB at most. Most links on a page are old."""


class News(msgspec.Struct):
    """What a settlement changed for the schedule: new links per host name, and per depth."""

    number: int  # the host's id
    links: int = 0
    depths: Counter[int] = msgspec.field(default_factory=Counter)


class Manners(msgspec.Struct):
    """How a host wants to be treated, from earlier: Unix times, seconds."""

    rest_until: float
    robots: list[tuple[str, float, float | None]]  # origin, expiry, Crawl-delay


class Recent:
    """A bounded set of fingerprints, in two generations; forgets, but never invents."""

    def __init__(self, size: int = RECENT_KEYS) -> None:
        self._size = size
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def __contains__(self, key: bytes) -> bool:
        return key in self._young or key in self._old

    def clear(self) -> None:
        self._young, self._old = set(), set()

    def add(self, key: bytes) -> None:
        self._young.add(key)
        if len(self._young) >= self._size:
            self._old, self._young = self._young, set()


class Store:
    """Opens, migrates and owns the connection. Every method is blocking and atomic."""

    def __init__(
        self, path: Path | str, *, durable: str = "process", by_depth: bool = False
    ) -> None:
        self._path = str(path)
        self._durable = durable
        self._by_depth = by_depth
        self._admitted = Recent()
        self._skipped = Recent()
        self._host_ids: dict[str, int] = {}
        self._db: sqlite3.Connection
        self._keys: Keys

    # ── life ─────────────────────────────────────────────────────────────────────────────────

    def open(self) -> None:
        """Raises FrontierError: not a frontier, of another version, or not readable."""
        try:
            self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in {0, SCHEMA_VERSION}:
                raise FrontierError(
                    f"{self._path} has frontier version {version}, this program "
                    f"reads version {SCHEMA_VERSION}: use the release that wrote it"
                )
            self._db.execute("PRAGMA journal_mode = WAL")
            level = "FULL" if self._durable == "power" else "NORMAL"
            self._db.execute(f"PRAGMA synchronous = {level}")
            self._db.execute("PRAGMA cache_size = -65536")
            self._db.execute("PRAGMA temp_store = MEMORY")
            self._db.execute("PRAGMA wal_autocheckpoint = 16000")
            self._db.execute("PRAGMA journal_size_limit = 67108864")
            if version == 0:
                schema = resources.files(__package__).joinpath("schema.sql").read_text("utf-8")
                self._db.executescript(
                    f"BEGIN IMMEDIATE;\n{schema}\nPRAGMA user_version = {SCHEMA_VERSION};\nCOMMIT;"
                )
            self._keys = Keys(self._db)
            self._keys.recall()
        except sqlite3.Error as error:
            raise FrontierError(f"{self._path}: {error}") from error

    def close(self) -> None:
        try:
            self._db.execute("PRAGMA optimize")
        except sqlite3.Error:  # a full disk: what is committed is safe, the rest can wait
            pass
        finally:
            self._db.close()

    # ── writing ──────────────────────────────────────────────────────────────────────────────

    def add(self, found: Sequence[Found], depth: int) -> dict[str, News]:
        """Queue seeds and links from outside."""
        news: dict[str, News] = {}
        with self._transaction():
            self._enter(found, None, depth, 0, news)
        return news

    def settle(
        self, visits: Sequence[Visit], marks: Mapping[str, int], now: float
    ) -> dict[str, News]:
        """Visits crossed off, their links queued, marks kept: one transaction, all or nothing."""
        news: dict[str, News] = {}
        with self._transaction():
            for visit in visits:
                link = visit.link
                if visit.rules is not None:
                    self._learn(link.host, visit.rules)
                if link.id is not None:
                    self._db.execute(_CROSS_OFF, _row(visit, now))
                if visit.rest:
                    self._db.execute(
                        "UPDATE host SET rest_until = max(rest_until, ?) WHERE id = ?",
                        (now + visit.rest, self._host_id(link.host)),
                    )
                if visit.found:
                    moved = visit.outcome is Outcome.MOVED
                    depth = link.depth + (not moved)
                    self._enter(visit.found, link.id, depth, link.hops + 1 if moved else 0, news)
            self._db.executemany(
                "INSERT OR REPLACE INTO mark VALUES (?, ?)",
                marks.items(),
            )
        return news

    def wake(self, now: float) -> dict[str, News]:
        """Resting links whose time has come are queued again."""
        news: dict[str, News] = {}
        with self._transaction():
            rows = self._db.execute(
                "UPDATE link SET state = 0, due = NULL WHERE state = 1 AND due <= ? RETURNING host",
                (now,),
            ).fetchall()
        for number, links in Counter(row[0] for row in rows).items():
            name = self._db.execute("SELECT name FROM host WHERE id = ?", (number,)).fetchone()[0]
            news[name] = News(number, links)
        return news

    def note(self, **values: str | float) -> None:
        """Keep facts about the crawl as a whole (`meta`)."""
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    def _enter(
        self, found: Iterable[Found], via: int | None, depth: int, hops: int, news: dict[str, News]
    ) -> None:
        """Queue what is new; what was only skipped until now is queued too."""
        rank = depth if self._by_depth else 0
        rows: list[tuple[object, ...]] = []
        unsure = [
            one
            for one in found
            if one[2] not in self._admitted and not (one[4] and one[2] in self._skipped)
        ]
        known = self._keys.find(one[2] for one in unsure)
        for url, host, key, kind, reason in unsure:
            number = self._host_ids.get(host) or self._host_id(host)
            link = known.get(key)
            is_new = link is None
            if link is None:
                state = SKIPPED if reason else QUEUED
                link = known[key] = self._keys.add(key)
                rows.append(
                    (
                        link, key, number, url, via, _KIND_NUMBER[kind], depth, hops, rank,
                        state, reason or None,
                    )
                )  # fmt: skip
            elif not reason:
                self._write(rows)
                story = (via, _KIND_NUMBER[kind], depth, hops, rank, link)
                is_new = self._db.execute(_ADMIT, story).rowcount > 0
            (self._skipped if reason else self._admitted).add(key)
            if is_new and not reason:
                entry = news.get(host)
                if entry is None:
                    entry = news[host] = News(number)
                entry.links += 1
                if self._by_depth:
                    entry.depths[depth] += 1
        self._write(rows)

    def _write(self, rows: list[tuple[object, ...]]) -> None:
        self._db.executemany(_ENTER, rows)
        rows.clear()

    def _host_id(self, name: str) -> int:
        number = self._host_ids.get(name)
        if number is None:
            self._db.execute("INSERT OR IGNORE INTO host (name) VALUES (?)", (name,))
            row = self._db.execute("SELECT id FROM host WHERE name = ?", (name,)).fetchone()
            if len(self._host_ids) >= 100_000:
                self._host_ids.clear()
            number = self._host_ids[name] = int(row[0])
        return number

    def _learn(self, host: str, rules: Rules) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO robots VALUES (?, ?, ?, ?, ?, ?)",
            (
                rules.origin, self._host_id(host), rules.status, rules.body,
                rules.expires_at, rules.delay,
            ),
        )  # fmt: skip

    def _transaction(self) -> _Transaction:
        return _Transaction(self._db, self._keys, self._admitted, self._skipped, self._host_ids)

    # ── reading ──────────────────────────────────────────────────────────────────────────────

    def head(self, host: int, limit: int, out: set[int]) -> list[Link]:
        """The first `limit` queued links of a host, those in `out` left aside."""
        rows = self._db.execute(_HEAD, (host, limit + len(out))).fetchall()
        return [
            Link(url, name, depth, via, _KINDS[kind], hops, attempt, number)
            for number, url, name, depth, via, kind, hops, attempt in rows
            if number not in out
        ][:limit]

    def waiting(self) -> list[tuple[str, int, int]]:
        """Hosts with queued links: name, id, number of them."""
        return self._db.execute(
            "SELECT name, host.id, links FROM host JOIN "
            "(SELECT host, count(*) AS links FROM link WHERE state = 0 GROUP BY host) AS queue "
            "ON queue.host = host.id ORDER BY host.id"
        ).fetchall()

    def depths(self) -> list[tuple[int, int]]:
        """Unfinished links per depth."""
        return self._db.execute(
            "SELECT depth, count(*) FROM link WHERE state IN (0, 1) GROUP BY depth"
        ).fetchall()

    def manners(self, hosts: Iterable[int]) -> dict[int, Manners]:
        """What is known of how these hosts want to be treated, by id."""
        known = {}
        for number in hosts:
            rest = self._db.execute(
                "SELECT rest_until FROM host WHERE id = ?", (number,)
            ).fetchone()
            rows = self._db.execute(
                "SELECT origin, expires_at, delay FROM robots WHERE host = ?", (number,)
            ).fetchall()
            known[number] = Manners(rest[0], rows)
        return known

    def rules(self, home: str) -> Rules | None:
        row = self._db.execute(
            "SELECT origin, status, body, expires_at, delay FROM robots WHERE origin = ?", (home,)
        ).fetchone()
        return Rules(*row) if row else None

    def next_due(self) -> float | None:
        """When the first resting link wants its next try, Unix time."""
        due = self._db.execute("SELECT min(due) FROM link WHERE state = 1").fetchone()[0]
        return None if due is None else float(due)

    def marks(self) -> dict[str, int]:
        return dict(self._db.execute("SELECT sink, length FROM mark").fetchall())

    def notes(self) -> dict[str, str | float]:
        return dict(self._db.execute("SELECT name, value FROM meta").fetchall())

    def counts(self) -> Counts:
        """Read afresh from the table: 0.1 s a million links."""
        states = dict(
            self._db.execute("SELECT state, count(*) FROM link GROUP BY state").fetchall()
        )
        hosts = self._db.execute("SELECT count(*) FROM host").fetchone()[0]
        return Counts(
            queued=states.get(QUEUED, 0),
            resting=states.get(RESTING, 0),
            done=states.get(DONE, 0),
            moved=states.get(MOVED, 0),
            unchanged=states.get(UNCHANGED, 0),
            refused=states.get(REFUSED, 0) + states.get(SKIPPED, 0),
            failed=states.get(FAILED, 0),
            hosts=hosts,
        )

    def pages(self) -> int:
        """Finished pages, the number `max_pages` limits."""
        row = self._db.execute(
            "SELECT count(*) FROM link WHERE state = ? AND kind = ?",
            (DONE, _KIND_NUMBER[Kind.PAGE]),
        ).fetchone()
        return int(row[0])


class _Transaction:
    """BEGIN … COMMIT, or ROLLBACK; what is remembered forgets what was rolled back."""

    def __init__(
        self, db: sqlite3.Connection, keys: Keys, *caches: Recent | dict[str, int]
    ) -> None:
        self._db = db
        self._keys = keys
        self._caches = caches

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        done = False
        try:
            if kind is None:
                self._keys.fold()
                self._db.execute("COMMIT")
                done = True
        finally:
            if not done:
                for cache in self._caches:
                    cache.clear()
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                self._keys.recall()


def _row(visit: Visit, now: float) -> tuple[object, ...]:
    page, extract = visit.page, visit.extract
    again = visit.outcome is Outcome.RETRY
    return (
        _STATE_OF[visit.outcome],
        visit.link.attempt + again,
        now + (visit.retry_in or 0.0) if again else None,
        page.fetched_at if page else now,
        page.status if page else None,
        page.bytes_wire if page else None,
        visit.reason or None,
        extract.digest or None if extract else None,
        (page.header("etag") or None) if page else None,
        (page.header("last-modified") or None) if page else None,
        visit.link.id,
    )


_CROSS_OFF: Final = (
    "UPDATE link SET state = ?, attempt = ?, due = ?, visited_at = ?, status = ?, bytes = ?, "
    "reason = ?, digest = ?, etag = ?, modified = ? WHERE id = ?"
)

_ENTER: Final = (
    "INSERT INTO link (id, key, host, url, via, kind, depth, hops, rank, state, reason) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

# A link that was skipped where it was first found may be admitted from elsewhere (an image's
# address that is also a page's); any other link keeps its first story.
_ADMIT: Final = (
    "UPDATE link SET via = ?, kind = ?, depth = ?, hops = ?, rank = ?, state = 0, reason = NULL "
    "WHERE id = ? AND state = 7"
)

_HEAD: Final = (
    "SELECT link.id, link.url, host.name, link.depth, "
    "(SELECT parent.url FROM link AS parent WHERE parent.id = link.via), "
    "link.kind, link.hops, link.attempt FROM link JOIN host ON host.id = link.host "
    "WHERE link.host = ? AND link.state = 0 ORDER BY link.rank, link.id LIMIT ?"
)
