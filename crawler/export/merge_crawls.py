"""One crawl out of what several workers wrote: each URL exactly once.

A worker that dies, or loses its lease, after it wrote a record and before that was settled leaves a
record of a link that another one visits again. Of several records of one URL the last fetched
stands: that visit was the one to be settled. Records are compared on disk (a temporary SQLite
file), so memory does not grow with their number.
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
from crawler.export.atomic_output import building, clear_torn
from crawler.export.merge_warcs import WARC, MergedWarcs, collect, has_archive
from crawler.output.jsonl import JsonLines
from crawler.policy.urls import fingerprint, host_key

PAGES: Final = JsonLines.name
BATCH: Final = 10_000

BESIDE: Final = ("html", "text")
"""Folders with a file a page: what two workers wrote of one page lies in the same place."""


class RecordRank(msgspec.Struct, frozen=True, gc=False):
    """What decides which record of a URL stands."""

    url: str
    outcome: str
    fetched_at: str | None = None


class MergeResult(msgspec.Struct, frozen=True):
    """What came of it. `torn`: last lines of killed workers, cut off."""

    records: int
    repeated: int
    torn: int
    sources: int
    archive: MergedWarcs = MergedWarcs()


def sources_in(places: Sequence[str]) -> list[str]:
    """The workers' folders among and right below these; addresses of stores as they are."""
    found = []
    for place in places:
        if "://" in place:
            found.append(place)
            continue
        folder = Path(place)
        below = [path for path in sorted(folder.glob("*")) if (path / PAGES).is_file()]
        here = [folder] if (folder / PAGES).is_file() else []
        if not (here or below):
            raise ConfigError(f"{place}: holds no {PAGES}, nor does a folder in it")
        found += [str(path) for path in (*here, *below)]
    return list(dict.fromkeys(found))


def merge(
    out: Path, places: Sequence[str], *, without: Container[str] = (), again: bool = False
) -> MergeResult:
    """Write OUT/pages.jsonl, and bodies, texts and archives under OUT/html, text and warc.

    All of it is made in a folder of its own below OUT and moved to its place when it is whole,
    the records last: killed at any moment, OUT holds no merge that looks whole, and the same
    command makes it. Of places in a store only the records are taken.

    `without` are URLs whose records were never settled: they are visited again. `again`: what an
    earlier merge left in OUT is replaced.

    Raises ConfigError (OUT holds something, nothing to merge), FolderLocked (another merge is at
    work in OUT), SinkError.
    """
    sources = sources_in(places)
    folders = [Path(source) for source in sources if "://" not in source]
    try:
        out.mkdir(parents=True, exist_ok=True)
        clear_torn(out)
        for name in (PAGES, WARC):
            if (not again and (out / name).exists()) or str(out) in sources:
                raise ConfigError(f"{out}: already holds a {name}")
        with building(out) as room:
            merged = _merge(sources, room.new, without)
            archives = [folder for folder in folders if has_archive(folder)]
            if archives:
                archive = collect(room.new / WARC, archives)
                merged = msgspec.structs.replace(merged, archive=archive)
            for folder in folders:
                for name in BESIDE:
                    if (folder / name).is_dir():
                        shutil.copytree(folder / name, room.new / name, dirs_exist_ok=True)
            room.publish([WARC, *BESIDE, PAGES])
    except OSError as error:
        raise SinkError(f"{error.filename or out}: {error.strerror}") from error
    return merged


def _merge(sources: Sequence[str], new: Path, without: Container[str]) -> MergeResult:
    """Write the records that stand into the folder `new`."""
    with closing(sqlite3.connect(new / "index", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA cache_size = -65536")
        db.execute(
            "CREATE TABLE best (key BLOB PRIMARY KEY, rank TEXT, source INTEGER, line INTEGER) "
            "WITHOUT ROWID"
        )
        read, torn = _rank(db, sources, without)
        db.execute("CREATE INDEX place ON best (source, line)")
        written = 0
        with (new / PAGES).open("wb") as file:
            for number, source in enumerate(sources):
                wanted = db.execute(
                    "SELECT line FROM best WHERE source = ? ORDER BY line", (number,)
                )
                row = wanted.fetchone()
                for line, text in enumerate(_lines(source)):
                    if row is not None and row[0] == line:
                        file.write(text)
                        written += 1
                        row = wanted.fetchone()
            file.flush()
            os.fsync(file.fileno())
    return MergeResult(written, read - written, torn, len(sources))


def _rank(
    db: sqlite3.Connection, sources: Sequence[str], without: Container[str]
) -> tuple[int, int]:
    """Find the record of each URL that stands; records read, and torn lines."""
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
                one = decode(text)
            except msgspec.DecodeError as error:
                raise ConfigError(f"{source}/{PAGES} line {line + 1}: {error}") from error
            read += 1
            if one.url in without:
                continue
            rows.append((fingerprint(one.url, host_key(one.url)), one.fetched_at or "", number,
                         line))  # fmt: skip
            if len(rows) >= BATCH:
                _keep(db, rows)
                rows.clear()
        _keep(db, rows)
    db.execute("COMMIT")
    return read, torn


def _keep(db: sqlite3.Connection, rows: list[Any]) -> None:
    db.executemany(
        "INSERT INTO best VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
        "rank = excluded.rank, source = excluded.source, line = excluded.line "
        "WHERE excluded.rank >= rank",
        rows,
    )


def _lines(source: str) -> Iterator[bytes]:
    with _opened(f"{source.rstrip('/')}/{PAGES}") as file:
        yield from file


@contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
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
