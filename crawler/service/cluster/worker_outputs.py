"""The records of all workers as one list, with each URL once. All of it blocks.

Each worker writes pages.jsonl in its own folder, and Redis has the committed length of each file.
An index in the job's folder maps a URL to the position of its record; it is updated while the crawl
runs. Of several records of a URL the last fetched one counts, as with `crawler merge`, at the
position of the first, so that a client that pages through the list sees each URL once.
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

from crawler.errors import FrontierError, SinkError
from crawler.export.merge_crawls import PAGES
from crawler.policy.urls import fingerprint, host_key
from crawler.service.cluster.output_folders import line_reader, output_folders, read_lines

INDEX: Final = "shares.db"
"""The index file. Its table `share` has the workers' folders, `page` the positions of records."""

READ_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of a worker's file that are indexed at once: limits memory and time."""

NEW_RECORDS_MAX: Final = 50
"""New records that `update_index` returns, for display."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS share (id INTEGER PRIMARY KEY, path TEXT UNIQUE, taken INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS page (
  id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, fetched TEXT NOT NULL, share INTEGER NOT NULL,
  place INTEGER NOT NULL, length INTEGER NOT NULL, outcome TEXT NOT NULL, status INTEGER
);
"""

_UPSERT_PAGE: Final = (
    "INSERT INTO page (key, fetched, share, place, length, outcome, status) "
    "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET fetched = excluded.fetched, "
    "share = excluded.share, place = excluded.place, length = excluded.length, "
    "outcome = excluded.outcome, status = excluded.status WHERE excluded.fetched >= fetched"
)


class IndexedRecord(msgspec.Struct, frozen=True, gc=False):
    """The fields of a record that the index needs."""

    url: str
    outcome: str
    status: int | None = None
    fetched_at: str | None = None


def update_index(folder: Path, outputs: Path, marks: Mapping[str, int]) -> list[IndexedRecord]:
    """Update the index in the job's `folder` up to `marks`: worker name → committed bytes.

    Returns the last NEW_RECORDS_MAX of the new records. Raises FrontierError, SinkError.
    """
    new_records: deque[IndexedRecord] = deque(maxlen=NEW_RECORDS_MAX)
    with _open_index(folder) as db:
        for worker, share in output_folders(outputs, folder.name).items():
            db.execute("INSERT OR IGNORE INTO share (path, taken) VALUES (?, 0)", (str(share),))
            number, indexed = db.execute(
                "SELECT id, taken FROM share WHERE path = ?", (str(share),)
            ).fetchone()
            committed = marks.get(worker, 0)
            while indexed < committed:
                size = min(committed - indexed, READ_BYTES_MAX)
                text = read_lines(share / PAGES, indexed, size)
                if not text:
                    break  # not visible yet on a network file system
                rows, records = _parse_records(share / PAGES, text, indexed, number)
                indexed += len(text)
                with db:
                    db.executemany(_UPSERT_PAGE, rows)
                    db.execute("UPDATE share SET taken = ? WHERE id = ?", (indexed, number))
                new_records += records
    return list(new_records)


def _parse_records(
    path: Path, text: bytes, position: int, share: int
) -> tuple[list[tuple[Any, ...]], list[IndexedRecord]]:
    """Rows of table `page` for complete lines that begin at byte `position`, and their records."""
    rows: list[tuple[Any, ...]] = []
    records = []
    decode = msgspec.json.Decoder(IndexedRecord).decode
    for line in text.splitlines(keepends=True):
        try:
            record = decode(line)
        except msgspec.DecodeError as error:
            raise SinkError(f"{path} at byte {position}: {error}") from error
        rows.append((
            fingerprint(record.url, host_key(record.url)), record.fetched_at or "", share,
            position, len(line), record.outcome, record.status,
        ))  # fmt: skip
        position += len(line)
        records.append(record)
    return rows, records


def pages(
    folder: Path,
    *,
    after: int = 0,
    limit: int = 100,
    outcomes: Collection[str] = (),
    statuses: Collection[int] = (),
) -> tuple[list[dict[str, Any]], int | None]:
    """Records in the order in which their URLs arrived; see `JobRunner.pages`.

    Raises FileNotFoundError: there is no index yet.
    """
    found = indexed_records(
        folder, after=after, limit=limit + 1, outcomes=outcomes, statuses=statuses
    )
    shown = [record for _, record in found[:limit]]
    return shown, found[limit - 1][0] if len(found) > limit else None


def indexed_records(
    folder: Path,
    *,
    after: int = 0,
    limit: int = 100,
    outcomes: Collection[str] = (),
    statuses: Collection[int] = (),
) -> list[tuple[int, dict[str, Any]]]:
    """Records with their ids, only ids greater than `after`. Raises as `pages`."""
    conditions, values = "", []
    for column, wanted in (("outcome", outcomes), ("status", statuses)):
        if wanted:
            conditions += f" AND page.{column} IN ({', '.join('?' * len(wanted))})"
            values += list(wanted)
    with _existing_index(folder) as db:
        rows = db.execute(
            "SELECT page.id, share.path, place, length FROM page JOIN share "  # noqa: S608 - constant text
            f"ON share.id = page.share WHERE page.id > ?{conditions} ORDER BY page.id LIMIT ?",
            (after, *values, limit),
        ).fetchall()
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    with line_reader() as read_line:
        return [(row[0], decode(read_line(*row[1:]))) for row in rows]


def record_of(folder: Path, url: str) -> dict[str, Any] | None:
    """The record of a canonical URL; None: there is none yet. Raises FrontierError."""
    try:
        with _existing_index(folder) as db:
            row = db.execute(
                "SELECT share.path, place, length FROM page JOIN share ON share.id = page.share "
                "WHERE key = ?",
                (fingerprint(url, host_key(url)),),
            ).fetchone()
    except FileNotFoundError:
        return None
    if row is None:
        return None
    with line_reader() as read_line:
        return msgspec.json.decode(read_line(*row), type=dict[str, Any])


def merge_outputs(folder: Path) -> int:
    """Write the job's own pages.jsonl and bodies from the workers' folders.

    Returns the number of records. After FrontierError or SinkError the earlier file is unchanged.
    """
    partial = folder / f"{PAGES}.part"
    count = 0
    try:
        with _open_index(folder) as db, partial.open("wb") as file, line_reader() as read_line:
            for row in db.execute(
                "SELECT share.path, place, length FROM page JOIN share ON share.id = page.share "
                "ORDER BY page.id"
            ):
                file.write(read_line(*row))
                count += 1
            paths = [path for (path,) in db.execute("SELECT path FROM share")]
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / PAGES)
        for path in paths:
            if (bodies := Path(path) / "html").is_dir():
                shutil.copytree(bodies, folder / "html", dirs_exist_ok=True)
    except OSError as error:
        raise SinkError(f"{error.filename or folder}: {error.strerror}") from error
    return count


@contextmanager
def _existing_index(folder: Path) -> Iterator[sqlite3.Connection]:
    """Open the existing index. Raises FileNotFoundError: there is none yet."""
    if not (folder / INDEX).exists():
        raise FileNotFoundError(folder / INDEX)
    with _open_index(folder) as db:
        yield db


@contextmanager
def _open_index(folder: Path) -> Iterator[sqlite3.Connection]:
    """Open the index, or create it. Raises FrontierError."""
    path = folder / INDEX
    try:
        with closing(sqlite3.connect(path, timeout=10.0)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.executescript(_SCHEMA)
            yield db
    except sqlite3.Error as error:
        raise FrontierError(f"{path}: {error}") from error
