"""The frontier's SQLite file: blocking functions, run on the one thread that owns the connection.

Measured on this schema (2 cores, WAL, synchronous NORMAL): about 30,000 pages with 10 links each
a second when committed in groups. An append-ordered table with partial indexes for what is still
to do keeps inserts cheap: a table keyed by a random hash alone is ten times slower.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec

from crawler.config.model import ScopeConfig
from crawler.errors import FrontierError, FrontierLost
from crawler.frontier.scheduling.slot import SlotState
from crawler.frontier.sqlite import content_dedup, cooldowns, download_rows
from crawler.frontier.sqlite.corruption import (
    CorruptFrontier,
    check_small_tables,
    damage,
    frontier_error,
    is_queued_row,
    sound,
)
from crawler.frontier.sqlite.rejected_outbox import MARK, RejectedOutbox
from crawler.frontier.sqlite.seen_index import SeenIndex
from crawler.frontier.sqlite.start_recrawl import begin
from crawler.frontier.sqlite.statements import (
    ADMIT,
    CROSS_OFF,
    DEEPER,
    DONE,
    ENTER,
    FAILED,
    HEAD,
    KIND_NUMBER,
    KINDS,
    PROMOTE,
    REFUSED,
    RULES,
    SEED,
    SKIPPED,
    UNCHANGED,
    adopted_in,
    counted,
    known_of,
    newest_run,
    rules_from,
    rules_row,
    state_of,
    values_of,
)
from crawler.frontier.sqlite.transaction import RecentFingerprints, Transaction
from crawler.frontier.sqlite.trap_detector import TrapDetector
from crawler.policy.robots_txt import UNREACHABLE
from crawler.policy.scope import Scope
from crawler.policy.trap_rules import is_brake
from crawler.policy.urls import registered_domain
from crawler.policy.waits import Wait
from crawler.records import (
    Counts,
    CrawlResult,
    CrawlUrl,
    Kind,
    Outcome,
    Outlink,
    Refusal,
    RobotsRecord,
)
from crawler.utils.file_identity import trouble

SCHEMA_VERSION: Final = 2

_ASSET: Final = Kind.ASSET.value

NOTED: Final = (Outcome.DONE, Outcome.REFUSED)
"""Visits whose reason goes to skipped.jsonl: not made, or of a page that was not read whole."""


class QueueDelta(msgspec.Struct):
    """What a settlement changed for the schedule: new links per host name, and per depth."""

    number: int  # the host's id
    links: int = 0
    depths: Counter[int] = msgspec.field(default_factory=Counter)
    stale: bool = False  # some of its queued links may have to be parked: read them anew


class HostPolicy(msgspec.Struct):
    """How a host wants to be treated, from earlier: Unix times, seconds."""

    rest_until: float
    address: str | None
    robots: list[tuple[str, float, float | None]]  # origin, expiry, Crawl-delay
    why: str = ""  # it rests
    url: str = ""  # … which asked for it


class Store:
    """Opens, migrates and owns the connection. Every method is blocking and atomic."""

    def __init__(
        self,
        path: Path | str,
        *,
        durable: str = "process",
        by_depth: bool = False,
        traps: ScopeConfig | None = None,
        scope: Scope | None = None,
        refusals: bool = False,
    ) -> None:
        self._path = str(path)
        self._durable = durable
        self._by_depth = by_depth
        self._scope = scope
        self._admitted = RecentFingerprints()
        self._skipped = RecentFingerprints()
        self._host_ids: dict[str, int] = {}
        self._new: list[tuple[object, ...]] = []  # rows of links that ENTER has still to write
        self._deepest = 0  # of the links that wait, at least
        self._leased: Collection[int] = ()
        self._brakes = TrapDetector(traps or ScopeConfig(trap="off"))
        self._outbox = RejectedOutbox(wanted=refusals)
        self._opened: list[tuple[Path, os.stat_result]] = []  # what must stay at its path
        self._db: sqlite3.Connection
        self._keys: SeenIndex

    # ── life ─────────────────────────────────────────────────────────────────────────────────

    def open(self) -> None:
        """Raises FrontierError: not a frontier, of another version, or not readable."""
        try:
            self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            with sound(self._db):
                self._set_up()
            if self._path != ":memory:":
                files = (Path(self._path), Path(f"{self._path}-wal"))
                self._opened = [(one, one.stat()) for one in files if one.exists()]
        except sqlite3.Error as error:
            raise frontier_error(self._path, error) from error
        except OSError as error:
            raise FrontierError(f"{self._path}: {error.strerror}") from error

    def _set_up(self) -> None:
        """Look whose file it is, make what it lacks, and remember what it says."""
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
        self._db.execute(cooldowns.ADDED)
        if version:
            check_small_tables(self._db)
        self._keys = SeenIndex(self._db)
        self._keys.recall()
        self._brakes.open(self._db, self._keys)
        self._outbox.open(self._db)
        self._rank()

    def _rank(self) -> None:
        """Depth is the order of what is to do, also of what was queued when it was not."""
        if self._by_depth:
            self._db.execute("UPDATE link SET rank = depth WHERE state IN (0, 1) AND rank <> depth")
            row = self._db.execute("SELECT max(depth) FROM link WHERE state = 0").fetchone()
            self._deepest = row[0] or 0

    def look(self) -> None:
        """Raises FrontierError when the file is not at its path any more: SQLite would go on."""
        for path, opened in self._opened:
            try:
                wrong = trouble(path, opened)
            except OSError as error:
                raise FrontierError(f"{path}: {error.strerror}") from error
            if wrong:
                raise FrontierLost(f"{path}: {wrong}")

    def close(self) -> None:
        try:
            self._db.execute("PRAGMA optimize")
        except sqlite3.Error:  # a full disk: what is committed is safe, the rest can wait
            pass
        finally:
            self._db.close()

    # ── writing ──────────────────────────────────────────────────────────────────────────────

    def add(self, found: Sequence[Outlink], depth: int) -> dict[str, QueueDelta]:
        """Queue seeds and links from outside; no brake holds what a person asked for."""
        found = [(*one[:4], "" if is_brake(one[4]) else one[4]) for one in found]
        news: dict[str, QueueDelta] = {}
        with self._transaction():
            self._enter(found, None, depth, 0, news)
            self._write()
        return news

    def settle(
        self,
        visits: Sequence[CrawlResult],
        marks: Mapping[str, int],
        now: float,
        taught: Sequence[SlotState] = (),
        met: Mapping[int, str] | None = None,
        leased: Collection[int] = (),
    ) -> dict[str, QueueDelta]:
        """Visits crossed off, their links queued, marks kept: one transaction, all or nothing.

        `taught` are hosts' paces (Unix times), `met` addresses by host id, that came with them.
        `leased`: ids of links whose depth must stay as it is.
        """
        self._leased = leased
        news: dict[str, QueueDelta] = {}
        adopted = {visit.found[0][0]: visit.adopts for visit in visits if visit.adopts}
        with self._transaction():
            crossed = [visit for visit in visits if visit.link.id is not None]
            CROSS_OFF.run(self._db, [values_of(visit, now) for visit in crossed])
            for visit in visits:
                link = visit.link
                if visit.rules is not None:
                    self._learn(link.host, visit.rules)
                if visit.rest:
                    host, until = self._host_id(link.host), now + visit.rest
                    cooldowns.note(self._db, host, until, visit.rest_why, link.url)
                if visit.outcome in NOTED and visit.reason and link.id is not None:
                    self._outbox.note(link.id, now)
                fruitful = False
                if visit.found:
                    moved = visit.outcome is Outcome.MOVED
                    listed = link.kind in {Kind.SITEMAP, Kind.FEED}  # a list is no click
                    nested = listed and visit.found[0][3] != Kind.PAGE
                    depth = link.depth + (not (moved or listed))
                    hops = link.hops + 1 if moved or nested else 0
                    fruitful = self._enter(visit.found, link.id, depth, hops, news, link.url)
                    if moved and link.id is not None:
                        self._write()
                        (target,) = self._keys.find([visit.found[0][2]]).values()
                        content_dedup.lead(self._db, link.id, target)
                if self._brakes.learn(visit, fruitful=fruitful):
                    self._news_of(link.host, news).stale = True
            self._write()
            if adopted:
                self._adopt(adopted, news)
            content_dedup.enter(self._db, visits)
            self._brakes.save()
            if MARK in marks:
                self._outbox.written()
            self._db.executemany(
                "INSERT OR REPLACE INTO mark VALUES (?, ?)",
                marks.items(),
            )
            if taught:
                self._db.executemany("INSERT OR REPLACE INTO pace VALUES (?, ?, ?, ?, ?)", taught)
            if met:
                self._db.executemany(
                    "UPDATE host SET address = ? WHERE id = ?",
                    [(address, number) for number, address in met.items()],
                )
        return news

    def hasten(self, hosts: Iterable[int], due: float) -> None:
        """Resting links of these hosts are tried again at `due`, Unix time, if not before."""
        with self._transaction():
            self._db.executemany(
                "UPDATE link SET due = min(due, ?) WHERE state = 1 AND host = ?",
                [(due, number) for number in hosts],
            )

    def revisit(self, now: float, *, only_due: bool) -> tuple[int, dict[str, QueueDelta]]:
        """Queue again what was visited: a new run. Its number and what is new; 0: nothing is."""
        with self._transaction():
            number, queued = begin(self._db, now, only_due=only_due)
            self._rank()
        news: dict[str, QueueDelta] = {}
        for (host, depth), links in queued.items():
            name = self._db.execute("SELECT name FROM host WHERE id = ?", (host,)).fetchone()[0]
            entry = news.setdefault(name, QueueDelta(host))
            entry.links += links
            if self._by_depth:
                entry.depths[depth] += links
        return number, news

    def wake(self, now: float) -> dict[str, QueueDelta]:
        """Resting links whose time has come are queued again."""
        news: dict[str, QueueDelta] = {}
        with self._transaction():
            rows = self._db.execute(
                "UPDATE link SET state = 0, due = NULL WHERE state = 1 AND due <= ? RETURNING host",
                (now,),
            ).fetchall()
        for number, links in Counter(row[0] for row in rows).items():
            name = self._db.execute("SELECT name FROM host WHERE id = ?", (number,)).fetchone()[0]
            news[name] = QueueDelta(number, links)
        return news

    def retry(self, reason: str, statuses: Sequence[range]) -> int:
        """Queue failed links again as if never tried, and lift their hosts' parking; how many.

        Links refused because their robots.txt could not be had count as failed, and such a file is
        asked for again. `reason` is a glob (SQLite's GLOB: `*`, `?`, `[…]`). No `statuses`:
        whatever there was.
        """
        bounds: list[tuple[int | None, int | None]]
        bounds = [(span.start, span.stop - 1) for span in statuses] or [(None, None)]
        rows: list[tuple[int]] = []
        with self._transaction():
            for least, most in bounds:
                rows += self._db.execute(
                    "UPDATE link SET state = 0, attempt = 0, status = NULL, reason = NULL "
                    "WHERE (state = ?1 OR (state = ?2 AND reason GLOB ?3 || '*')) "
                    "AND reason GLOB ?4 "
                    "AND (?5 IS NULL OR status BETWEEN ?5 AND ?6) RETURNING host",
                    (FAILED, REFUSED, UNREACHABLE, reason, least, most),
                ).fetchall()
            for (number,) in set(rows):
                self._db.execute(
                    "UPDATE robots SET expires_at = 0 WHERE host = ? "
                    "AND (status IS NULL OR status = 429 OR status >= 500)",
                    (number,),
                )
                name, address = self._db.execute(
                    "SELECT name, address FROM host WHERE id = ?", (number,)
                ).fetchone()
                self._db.executemany(
                    "UPDATE pace SET failures = 0, parks = 0, parked_until = 0 WHERE key = ?",
                    [(key,) for key in {name, address, registered_domain(name)}],
                )
        return len(rows)

    def meet(self, name: str) -> int:
        """The id of a host, made when it is new."""
        with self._transaction():
            return self._host_id(name)

    def note(self, **values: str | float) -> None:
        """Keep facts about the crawl as a whole (`meta`)."""
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    def _enter(
        self,
        found: Iterable[Outlink],
        via: int | None,
        depth: int,
        hops: int,
        news: dict[str, QueueDelta],
        parent: str | None = None,
    ) -> bool:
        """Queue what is new; what was only skipped or parked until now is queued too.

        `via` and `parent` are the id and the URL of the page. True when it was worth its visit.
        """
        fruitful = False
        brakes = self._brakes
        refused: list[int] = []
        rank = depth if self._by_depth else 0
        nearer = self._by_depth and depth < self._deepest
        self._deepest = max(self._deepest, depth)
        unsure = [
            one
            for one in found
            if (nearer or one[2] not in self._admitted) and not (one[4] and one[2] in self._skipped)
        ]
        known = self._keys.find(one[2] for one in unsure)
        for url, host, key, kind, reason in unsure:
            number = self._host_ids.get(host) or self._host_id(host)
            link = known.get(key)
            is_new = link is None
            if not reason and (reason := brakes.judge(url, host, parent)) and key in self._skipped:
                continue
            if link is None:
                state = state_of(reason)
                link = known[key] = self._keys.add(key)
                self._new.append(
                    (
                        link, key, number, url, via, KIND_NUMBER[kind], depth, hops, rank,
                        state, reason or None,
                    )
                )  # fmt: skip
            elif not reason:
                self._write()
                story = (via, KIND_NUMBER[kind], depth, hops, rank, link)
                is_new = self._db.execute(ADMIT, story).rowcount > 0
                if nearer and not is_new and link not in self._leased:
                    self._promote(story, depth, self._news_of(host, news))
            (self._skipped if reason else self._admitted).add(key)
            if not is_new:
                continue
            if reason:
                refused.append(link)
                fruitful = fruitful or (reason == "kind" and brakes.shows(parent))
                continue
            fruitful = fruitful or (
                brakes.shows(parent) if kind == _ASSET else brakes.promises(url, parent)
            )
            entry = self._news_of(host, news)
            entry.links += 1
            entry.stale |= brakes.found(url, host)
            if self._by_depth:
                entry.depths[depth] += 1
        if refused and self._outbox.noting:
            self._write()
            for link in refused:
                self._outbox.note(link, time.time())
        return fruitful

    def _adopt(self, seeds: Mapping[str, str], news: dict[str, QueueDelta]) -> None:
        """Keep what seeds redirected to; links that are in scope only because of it are queued."""
        self._db.executemany(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)",
            [(SEED + url, kind) for url, kind in seeds.items()],
        )
        if self._scope is None:
            return
        for number, url, host, key, kind, depth in self._db.execute(
            _OUTSIDE, (SKIPPED,)
        ).fetchall():
            if self._scope.judge(url, host, depth, KINDS[kind]) or self._brakes.judge(
                url, host, None
            ):
                continue
            self._db.execute("UPDATE link SET state = 0, reason = NULL WHERE id = ?", (number,))
            self._admitted.add(key)
            entry = self._news_of(host, news)
            entry.links += 1
            if self._by_depth:
                entry.depths[depth] += 1

    def adopted(self) -> dict[str, str]:
        """What seeds redirected to, with the kind of address that each may have."""
        return adopted_in(self._db)

    def _promote(self, story: Sequence[Any], depth: int, news: QueueDelta) -> None:
        """A link that waits at a greater depth is as deep as this way there."""
        row = self._db.execute(DEEPER, (story[-1], depth)).fetchone()
        if row is not None:
            self._db.execute(PROMOTE, story)
            news.depths[row[0]] -= 1
            news.depths[depth] += 1

    def _news_of(self, host: str, news: dict[str, QueueDelta]) -> QueueDelta:
        entry = news.get(host)
        if entry is None:
            entry = news[host] = QueueDelta(self._host_id(host))
        return entry

    def _write(self) -> None:
        """The rows of what was found; before anything reads them, and at the transaction's end."""
        ENTER.run(self._db, self._new)
        self._new.clear()

    def _host_id(self, name: str) -> int:
        number = self._host_ids.get(name)
        if number is None:
            self._db.execute("INSERT OR IGNORE INTO host (name) VALUES (?)", (name,))
            row = self._db.execute("SELECT id FROM host WHERE name = ?", (name,)).fetchone()
            if len(self._host_ids) >= 100_000:
                self._host_ids.clear()
            number = self._host_ids[name] = int(row[0])
        return number

    def _learn(self, host: str, rules: RobotsRecord) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO robots VALUES (?, ?, ?, ?, ?, ?)",
            (rules.origin, self._host_id(host), *rules_row(rules)),
        )

    def files(self) -> list[download_rows.Row]:
        return download_rows.read(self._db)

    def keep_files(self, rows: Sequence[download_rows.Row]) -> None:
        with self._transaction():
            download_rows.keep(self._db, rows)

    def file_states(self) -> dict[str, str]:
        return download_rows.states(self._db)

    def again(self, urls: Sequence[str]) -> None:
        """Queue these links as if never visited; before the frontier is opened."""
        with self._transaction():
            download_rows.again(self._db, urls)

    def _transaction(self) -> Transaction:
        """What is committed must be found again. Raises FrontierError."""
        self.look()
        memories = (self._admitted, self._skipped, self._host_ids, self._brakes, self._new)
        return Transaction(self._db, self._keys, *memories)

    # ── reading ──────────────────────────────────────────────────────────────────────────────

    def head(self, host: int, limit: int, out: set[int]) -> tuple[list[CrawlUrl], Counter[int]]:
        """The first `limit` queued links of a host, those in `out` left aside.

        Links of a template that has been braked since they were queued are parked instead; how many
        of each depth comes back beside the rest.
        """
        rows = self._db.execute(HEAD, (host, limit + len(out))).fetchall()
        rows = [row for row in rows if row[0] not in out][:limit]
        for row in rows:
            if not is_queued_row(row):
                raise CorruptFrontier(f"link {row[0]} is not what was written")
        parked: Counter[int] = Counter()
        if self._brakes.engaged:
            rows, parked = self._park(rows)
        return [
            CrawlUrl(
                url,
                name,
                depth,
                via,
                KINDS[kind],
                hops,
                attempt,
                number,
                cookie or "",
                known_of(*known),
            )
            for number, url, name, depth, via, kind, hops, attempt, *known, cookie, _, _ in rows
        ], parked

    def _park(self, rows: list[Any]) -> tuple[list[Any], Counter[int]]:
        kept: list[Any] = []
        parked: list[tuple[str, int]] = []
        depths: Counter[int] = Counter()
        for row in rows:
            number, url, _, depth, via, *_, released, _ = row
            reason = "" if released else self._brakes.judge_again(url, via)
            if reason:
                parked.append((reason, number))
                depths[depth] += 1
            else:
                kept.append(row)
        if parked:
            with self._transaction():
                self._db.executemany("UPDATE link SET state = 8, reason = ? WHERE id = ?", parked)
                for _, number in parked:
                    self._outbox.note(number, time.time())
        return kept, depths

    def sound(self) -> AbstractContextManager[None]:
        """See `damage.sound`."""
        return sound(self._db)

    def damage(self) -> str:
        """See `damage.damage`."""
        return damage(self._db)

    def recognise(self, visits: Sequence[CrawlResult]) -> list[CrawlResult]:
        """See `protocols.Frontier.recognise`."""
        return content_dedup.recognise(self._db, visits)

    def refusals(self, limit: int) -> list[Refusal]:
        """What was refused and is not in skipped.jsonl, `limit` at a time; it is once settled."""
        return self._outbox.take(limit)

    def waiting(self) -> list[tuple[str, int, int, int]]:
        """Hosts with something to do: name, id, number of links queued, and resting."""
        return self._db.execute(
            "SELECT name, host.id, sum(queued), sum(resting) FROM host JOIN ("
            "SELECT host, count(*) AS queued, 0 AS resting FROM link WHERE state = 0 GROUP BY host "
            "UNION ALL SELECT host, 0, count(*) FROM link WHERE state = 1 GROUP BY host"
            ") AS queue ON queue.host = host.id GROUP BY host.id ORDER BY host.id"
        ).fetchall()

    def depths(self) -> list[tuple[int, int]]:
        """Unfinished links per depth."""
        return self._db.execute(
            "SELECT depth, count(*) FROM link WHERE state IN (0, 1) GROUP BY depth"
        ).fetchall()

    def manners(self, hosts: Iterable[int]) -> dict[int, HostPolicy]:
        """What is known of how these hosts want to be treated, by id."""
        known = {}
        for number in hosts:
            name, rest_until, address = self._db.execute(
                "SELECT name, rest_until, address FROM host WHERE id = ?", (number,)
            ).fetchone()
            rows = self._db.execute(  # by its key: the table has a row for each host of the crawl
                "SELECT origin, expires_at, delay FROM robots WHERE origin IN (?, ?)",
                (f"http://{name}", f"https://{name}"),
            ).fetchall()
            why = cooldowns.why(self._db, number) if rest_until else ("", "")
            known[number] = HostPolicy(rest_until, address, rows, *why)
        return known

    def paces(self, keys: Iterable[str]) -> list[SlotState]:
        """What these budgets were taught by earlier runs."""
        rows = (
            self._db.execute("SELECT * FROM pace WHERE key = ?", (key,)).fetchone() for key in keys
        )
        return [SlotState(*row) for row in rows if row is not None]

    def newest_run(self) -> int:
        """The number of the last run; 1 when there was no recrawl."""
        return newest_run(self._db)

    def newest_host(self) -> int:
        """The largest id of a host; 0 when there is none."""
        return int(self._db.execute("SELECT coalesce(max(id), 0) FROM host").fetchone()[0])

    def rules(self, home: str) -> RobotsRecord | None:
        row = self._db.execute(
            f"SELECT {RULES} FROM robots WHERE origin = ?",  # noqa: S608 - our own words
            (home,),
        ).fetchone()
        return rules_from(*row) if row else None

    def retries(self, now: float, most: int) -> list[Wait | None]:
        """See `rests.retries`."""
        return cooldowns.retries(self._db, now, most)

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
        return counted(self._db)

    def pages(self) -> int:
        """Finished pages, the number `max_pages` limits."""
        row = self._db.execute(
            "SELECT count(*) FROM link WHERE state IN (?, ?) AND kind = ?",
            (DONE, UNCHANGED, KIND_NUMBER[Kind.PAGE]),
        ).fetchone()
        return int(row[0])


_OUTSIDE: Final = (
    "SELECT link.id, link.url, host.name, link.key, link.kind, link.depth FROM link "
    "JOIN host ON host.id = link.host WHERE link.state = ? AND link.reason = 'outOfScope'"
)
