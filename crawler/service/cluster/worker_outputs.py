"""The records that workers wrote, as one list: each URL once, whichever of them fetched it.

Each worker writes pages.jsonl in a folder of its own, and the server knows how much of it is
committed. A small index in the job's folder says where the record of a URL stands; it is brought up
to date while the crawl runs. Of several records of one URL the last fetched stands, as with
`crawler merge`, at the place in the list where the first stood: who pages through sees a URL once.
All of it blocks.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from crawler.config.workdir import WORKER
from crawler.errors import FrontierError, SinkError
from crawler.export.merge_crawls import PAGES
from crawler.policy.urls import fingerprint, host_key

INDEX: Final = "shares.db"

SPAN: Final = 16 * 1024 * 1024
"""Bytes of a share taken in at once: a bounded piece of memory and of time."""

NEWS: Final = 50
"""Records that are told on when they come in, for whoever looks on."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS share (id INTEGER PRIMARY KEY, path TEXT UNIQUE, taken INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS page (
  id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, fetched TEXT NOT NULL, share INTEGER NOT NULL,
  place INTEGER NOT NULL, length INTEGER NOT NULL, outcome TEXT NOT NULL, status INTEGER
);
"""

_PUT: Final = (
    "INSERT INTO page (key, fetched, share, place, length, outcome, status) "
    "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET fetched = excluded.fetched, "
    "share = excluded.share, place = excluded.place, length = excluded.length, "
    "outcome = excluded.outcome, status = excluded.status WHERE excluded.fetched >= fetched"
)


class IndexedRecord(msgspec.Struct, frozen=True, gc=False):
    """What the index wants of a record."""

    url: str
    outcome: str
    status: int | None = None
    fetched_at: str | None = None


def shares_of(root: Path, job: str) -> dict[str, Path]:
    """The folders that workers keep for a job below `root`, by the worker's name in it."""
    found = {}
    for path in sorted(root.glob(f"*/{job}/{WORKER}")):
        try:
            known = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
            found[known["worker"]] = path.parent
        except (OSError, msgspec.DecodeError, KeyError):
            continue  # being written at this moment; seen the next time
    return found


def take_in(folder: Path, root: Path, marks: Mapping[str, int]) -> list[IndexedRecord]:
    """Bring the index of the job's `folder` up to `marks`, the committed lengths by worker.

    Gives the last of the records that are new. Raises FrontierError, SinkError.
    """
    fresh: deque[IndexedRecord] = deque(maxlen=NEWS)
    decode = msgspec.json.Decoder(IndexedRecord).decode
    with _open(folder) as db:
        for worker, share in shares_of(root, folder.name).items():
            committed = marks.get(worker, 0)
            db.execute("INSERT OR IGNORE INTO share (path, taken) VALUES (?, 0)", (str(share),))
            number, taken = db.execute(
                "SELECT id, taken FROM share WHERE path = ?", (str(share),)
            ).fetchone()
            while taken < committed:
                text = _piece(share / PAGES, taken, min(committed - taken, SPAN))
                if not text:
                    break  # what others can read of it yet: on a network's file system
                rows, place = [], taken
                for line in text.splitlines(keepends=True):
                    try:
                        one = decode(line)
                    except msgspec.DecodeError as error:
                        raise SinkError(f"{share / PAGES} at byte {place}: {error}") from error
                    rows.append((
                        fingerprint(one.url, host_key(one.url)), one.fetched_at or "", number,
                        place, len(line), one.outcome, one.status,
                    ))  # fmt: skip
                    place += len(line)
                    fresh.append(one)
                with db:
                    db.executemany(_PUT, rows)
                    db.execute("UPDATE share SET taken = ? WHERE id = ?", (place, number))
                taken = place
    return list(fresh)


def pages(
    folder: Path,
    *,
    after: int = 0,
    limit: int = 100,
    outcomes: Collection[str] = (),
    statuses: Collection[int] = (),
) -> tuple[list[dict[str, Any]], int | None]:
    """Records from the index on, in the order in which their URLs came in. See `runner.Runner`.

    Raises FileNotFoundError: nothing was taken in yet.
    """
    found = numbered(folder, after=after, limit=limit + 1, outcomes=outcomes, statuses=statuses)
    shown = [record for _, record in found[:limit]]
    return shown, found[limit - 1][0] if len(found) > limit else None


def numbered(
    folder: Path,
    *,
    after: int = 0,
    limit: int = 100,
    outcomes: Collection[str] = (),
    statuses: Collection[int] = (),
) -> list[tuple[int, dict[str, Any]]]:
    """Records and their numbers, those with a greater one than `after`. Raises as `pages`."""
    rule, values = "", []
    for column, wanted in (("outcome", outcomes), ("status", statuses)):
        if wanted:
            rule += f" AND page.{column} IN ({', '.join('?' * len(wanted))})"
            values += list(wanted)
    with _known(folder) as db:
        rows = db.execute(
            "SELECT page.id, share.path, place, length FROM page JOIN share "  # noqa: S608 - ours
            f"ON share.id = page.share WHERE page.id > ?{rule} ORDER BY page.id LIMIT ?",
            (after, *values, limit),
        ).fetchall()
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    with _files() as line_of:
        return [(row[0], decode(line_of(*row[1:]))) for row in rows]


def record_of(folder: Path, url: str) -> dict[str, Any] | None:
    """The record of a canonical URL; None: there is none yet. Raises FrontierError."""
    try:
        with _known(folder) as db:
            row = db.execute(
                "SELECT share.path, place, length FROM page JOIN share ON share.id = page.share "
                "WHERE key = ?",
                (fingerprint(url, host_key(url)),),
            ).fetchone()
    except FileNotFoundError:
        return None
    if row is None:
        return None
    with _files() as line_of:
        return msgspec.json.decode(line_of(*row), type=dict[str, Any])


def write_out(folder: Path) -> int:
    """Write the job's own pages.jsonl, and the bodies, out of the shares; how many records.

    Raises FrontierError, SinkError: then what was there before is as it was.
    """
    unfinished = folder / f"{PAGES}.part"
    number = 0
    try:
        with _open(folder) as db, unfinished.open("wb") as file, _files() as line_of:
            for row in db.execute(
                "SELECT share.path, place, length FROM page JOIN share ON share.id = page.share "
                "ORDER BY page.id"
            ):
                file.write(line_of(*row))
                number += 1
            paths = [path for (path,) in db.execute("SELECT path FROM share")]
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(folder / PAGES)
        for path in paths:
            if (bodies := Path(path) / "html").is_dir():
                shutil.copytree(bodies, folder / "html", dirs_exist_ok=True)
    except OSError as error:
        raise SinkError(f"{error.filename or folder}: {error.strerror}") from error
    return number


def throw_away(root: Path, job: str) -> None:
    """Delete what workers wrote of a job."""
    for share in shares_of(root, job).values():
        shutil.rmtree(share, ignore_errors=True)


def _piece(path: Path, place: int, most: int) -> bytes:
    """Whole lines from a place on, at most so many bytes, or one line that is longer."""
    try:
        with path.open("rb") as file:
            file.seek(place)
            text = file.read(most)
            end = text.rfind(b"\n") + 1
            if not end and len(text) == most:
                text += file.readline()
                end = len(text) if text.endswith(b"\n") else 0
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise SinkError(f"{path}: {error.strerror}") from error
    return text[:end]


@contextmanager
def _files() -> Iterator[Any]:
    """Reads lines of many files, each opened once. Raises FrontierError when one is gone."""
    opened: dict[str, Any] = {}

    def line_of(share: str, place: int, length: int) -> bytes:
        try:
            if share not in opened:
                opened[share] = Path(share, PAGES).open("rb")  # noqa: SIM115 - closed below
            opened[share].seek(place)
            line: bytes = opened[share].read(length)
        except OSError as error:
            raise FrontierError(f"{share}: a worker's share is gone: {error.strerror}") from error
        if len(line) != length or not line.endswith(b"\n"):
            raise FrontierError(f"{share}/{PAGES}: is not what it was")
        return line

    try:
        yield line_of
    finally:
        for file in opened.values():
            file.close()


@contextmanager
def _known(folder: Path) -> Iterator[sqlite3.Connection]:
    """The index that is there. Raises FileNotFoundError: nothing was taken in yet."""
    if not (folder / INDEX).exists():
        raise FileNotFoundError(folder / INDEX)
    with _open(folder) as db:
        yield db


@contextmanager
def _open(folder: Path) -> Iterator[sqlite3.Connection]:
    """The index, made where there is none. Raises FrontierError."""
    path = folder / INDEX
    try:
        with closing(sqlite3.connect(path, timeout=10.0)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.executescript(_SCHEMA)
            yield db
    except sqlite3.Error as error:
        raise FrontierError(f"{path}: {error}") from error
