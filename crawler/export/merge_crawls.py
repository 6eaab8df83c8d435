"""Merge the outputs of several workers into one crawl: each URL exactly once.

A worker that dies or loses its lease after it wrote a record, but before the link was settled,
leaves a record of a link that another worker visits again. Of several records of a URL the last
fetched is kept: that visit was the settled one. Records are compared on disk (a temporary SQLite
file), so memory is bounded.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Container, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from crawler.errors import ConfigError, SinkError
from crawler.export.atomic_output import atomic_output, recover_interrupted
from crawler.export.merge_warcs import WARC, MergedWarcs, has_archive, merge_archives
from crawler.output.jsonl import JsonLines
from crawler.policy.urls import fingerprint, host_key

PAGES: Final = JsonLines.name
INSERT_BATCH_ROWS: Final = 10_000

PAGE_FOLDERS: Final = ("html", "text")
"""Folders with one file per page; two workers' files of the same page have the same path."""


class RecordRank(msgspec.Struct, frozen=True, gc=False):
    """The fields that decide which record of a URL is kept."""

    url: str
    outcome: str
    fetched_at: str | None = None


class MergeResult(msgspec.Struct, frozen=True):
    """Counts of records written, `repeated` records dropped, and `torn` last lines of killed
    workers, which are cut off.
    """

    records: int
    repeated: int
    torn: int
    sources: int
    archive: MergedWarcs = MergedWarcs()


def sources_in(locations: Sequence[str]) -> list[str]:
    """The workers' folders: these locations or the folders directly below them. URLs of object
    stores are returned as they are. Raises ConfigError for a folder without records.
    """
    found = []
    for location in locations:
        if "://" in location:
            found.append(location)
            continue
        folder = Path(location)
        below = [path for path in sorted(folder.glob("*")) if (path / PAGES).is_file()]
        here = [folder] if (folder / PAGES).is_file() else []
        if not (here or below):
            raise ConfigError(f"{location}: has no {PAGES}, and no folder in it has one")
        found += [str(path) for path in (*here, *below)]
    return list(dict.fromkeys(found))


def merge(
    out: Path, locations: Sequence[str], *, unsettled: Container[str] = (), replace: bool = False
) -> MergeResult:
    """Write OUT/pages.jsonl, and bodies, texts and archives under OUT/html, text and warc.

    All of it is built in a work folder below OUT and moved into place when complete, the records
    last: if killed at any moment, OUT contains no incomplete merge, and the same command can be
    repeated. From object stores only the records are read.

    `unsettled` are URLs whose records were not settled: they will be visited again. `replace`:
    replace the result of an earlier merge in OUT.

    Raises ConfigError (OUT has content, nothing to merge), FolderLocked (another merge runs in
    OUT), SinkError.
    """
    sources = sources_in(locations)
    folders = [Path(source) for source in sources if "://" not in source]
    try:
        out.mkdir(parents=True, exist_ok=True)
        recover_interrupted(out)
        for name in (PAGES, WARC):
            if (not replace and (out / name).exists()) or str(out) in sources:
                raise ConfigError(f"{out}: already holds a {name}")
        with atomic_output(out) as output:
            merged = _merge_records(sources, output.new, unsettled)
            archives = [folder for folder in folders if has_archive(folder)]
            if archives:
                archive = merge_archives(output.new / WARC, archives)
                merged = msgspec.structs.replace(merged, archive=archive)
            for folder in folders:
                for name in PAGE_FOLDERS:
                    if (folder / name).is_dir():
                        shutil.copytree(folder / name, output.new / name, dirs_exist_ok=True)
            output.publish([WARC, *PAGE_FOLDERS, PAGES])
    except OSError as error:
        raise SinkError(f"{error.filename or out}: {error.strerror}") from error
    return merged


def _merge_records(sources: Sequence[str], new: Path, unsettled: Container[str]) -> MergeResult:
    """Write the records that are kept into the folder `new`."""
    with closing(sqlite3.connect(new / "index", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA cache_size = -65536")
        db.execute(
            "CREATE TABLE best (key BLOB PRIMARY KEY, rank TEXT, source INTEGER, line INTEGER) "
            "WITHOUT ROWID"
        )
        read, torn = _rank(db, sources, unsettled)
        db.execute("CREATE INDEX place ON best (source, line)")
        written = 0
        with (new / PAGES).open("wb") as file:
            for number, source in enumerate(sources):
                chosen = db.execute(
                    "SELECT line FROM best WHERE source = ? ORDER BY line", (number,)
                )
                row = chosen.fetchone()
                for line, text in enumerate(_lines(source)):
                    if row is not None and row[0] == line:
                        file.write(text)
                        written += 1
                        row = chosen.fetchone()
            file.flush()
            os.fsync(file.fileno())
    return MergeResult(written, read - written, torn, len(sources))


def _rank(
    db: sqlite3.Connection, sources: Sequence[str], unsettled: Container[str]
) -> tuple[int, int]:
    """Determine which record of each URL is kept; returns the numbers of records read and of torn
    lines.
    """
    read = torn = 0
    decode = msgspec.json.Decoder(RecordRank).decode
    db.execute("BEGIN")
    for number, source in enumerate(sources):
        rows: list[Any] = []
        for line, text in enumerate(_lines(source)):
            if not text.endswith(b"\n"):
                torn += 1
                break
            try:
                record = decode(text)
            except msgspec.DecodeError as error:
                raise ConfigError(f"{source}/{PAGES} line {line + 1}: {error}") from error
            read += 1
            if record.url in unsettled:
                continue
            key = fingerprint(record.url, host_key(record.url))
            rows.append((key, record.fetched_at or "", number, line))
            if len(rows) >= INSERT_BATCH_ROWS:
                _insert(db, rows)
                rows.clear()
        _insert(db, rows)
    db.execute("COMMIT")
    return read, torn


def _insert(db: sqlite3.Connection, rows: list[Any]) -> None:
    db.executemany(
        "INSERT INTO best VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
        "rank = excluded.rank, source = excluded.source, line = excluded.line "
        "WHERE excluded.rank >= rank",
        rows,
    )


def _lines(source: str) -> Iterator[bytes]:
    with _open(f"{source.rstrip('/')}/{PAGES}") as file:
        yield from file


@contextmanager
def _open(name: str) -> Iterator[IO[bytes]]:
    if "://" not in name:
        with Path(name).open("rb") as file:
            yield file
        return
    try:
        import fsspec  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise ConfigError(f"{name} needs fsspec: pip install crawler[upload]") from error
    try:
        with fsspec.open(name, "rb") as stored:
            yield stored
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{name}: {error}") from error
