"""Tables written as JSON lines, CSV, Parquet or SQLite: row by row, in bounded memory.

A file is written beside its place and moved there once it is whole, so an export that fails leaves
nothing half done and no good file damaged.
"""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from crawler.errors import ConfigError, FatalError
from crawler.export.columns import ExportTable, Row, Type
from crawler.export.output_file import TextOutput, output

BATCH: Final = 5000
"""Rows in one Parquet row group's piece, and in one SQLite transaction."""

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet run a cell (OWASP, CSV Injection)."""


def write_jsonl(table: ExportTable, path: Path) -> int:
    """A JSON object a line; the number of rows."""
    encode = msgspec.json.Encoder().encode
    with output(path) as file:
        number = 0
        for number, row in enumerate(table.rows(), 1):  # noqa: B007 - counted
            file.write(encode(row) + b"\n")
        return number


def write_csv(table: ExportTable, path: Path) -> int:
    """RFC 4180 with LF, UTF-8, a header line; lists as JSON. A text cell that a spreadsheet would
    run as a formula gets an apostrophe in front; numbers stay numbers.
    """
    texts = [name for name, kind in table.columns.items() if kind in {"text", "json"}]
    jsons = [name for name, kind in table.columns.items() if kind == "json"]
    with output(path) as raw:
        lines = csv.writer(TextOutput(raw), lineterminator="\n")
        lines.writerow([defused(name) for name in table.columns])
        number = 0
        for number, row in enumerate(table.rows(), 1):  # noqa: B007 - counted
            for name in jsons:
                row[name] = _as_json(row[name])
            for name in texts:
                row[name] = defused(row[name])
            lines.writerow(row.values())
        return number


def defused(cell: Any) -> Any:
    """A text that a spreadsheet shows and never runs. Without a zero byte, which ends a cell."""
    if not isinstance(cell, str):
        return cell
    cell = cell.replace("\0", "")
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def write_parquet(table: ExportTable, path: Path) -> int:
    """Typed columns, zstd. Needs pyarrow (`pip install 'crawler[parquet]'`)."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError("parquet needs pyarrow: pip install 'crawler[parquet]'") from error
    types = {
        "text": pa.string(), "json": pa.string(), "int": pa.int64(),
        "float": pa.float64(), "bool": pa.bool_(),
        "time": pa.timestamp("ms", "UTC"),
    }  # fmt: skip
    schema = pa.schema([(name, types[kind]) for name, kind in table.columns.items()])
    number = 0
    with (
        output(path) as file,
        parquet.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        for rows in _pieces(table):
            columns = [
                pa.array([_typed(row[name], kind) for row in rows], types[kind])
                for name, kind in table.columns.items()
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            number += len(rows)
    return number


def write_sqlite(table: ExportTable, path: Path) -> int:
    """A table of its name in an SQLite file; other tables of that file stay as they are.

    A new file appears when it is whole. In one that is there the table is replaced by one
    transaction: killed in the middle, the file has the table that it had.
    """
    if str(path) == "-":
        raise ConfigError("sqlite: needs a file, -o FILE")
    fresh = not path.exists()
    target = path.with_name(f".{path.name}.part") if fresh else path
    try:
        if fresh:
            _remove(target)  # left by one that was killed
        number = _fill(table, target)
        if fresh:
            target.replace(path)
    except (sqlite3.Error, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise FatalError(f"{path}: {reason}") from error
    finally:
        if fresh:
            with suppress(OSError):  # where nothing can be made there is nothing to remove
                _remove(target)
    return number


def _remove(database: Path) -> None:
    for ending in ("", "-journal"):
        database.with_name(database.name + ending).unlink(missing_ok=True)


def _fill(table: ExportTable, path: Path) -> int:
    """Replace the table by one transaction; the number of rows."""
    names = ", ".join(_name(name) for name in table.columns)
    columns = ", ".join(f"{_name(name)} {_SQL_TYPES[kind]}" for name, kind in table.columns.items())
    target = _name(table.name)
    marks = ", ".join("?" * len(table.columns))
    number = 0
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("BEGIN")
        db.execute(f"DROP TABLE IF EXISTS {target}")
        db.execute(f"CREATE TABLE {target} ({columns})")
        for rows in _pieces(table):
            db.executemany(
                f"INSERT INTO {target} ({names}) VALUES ({marks})",  # noqa: S608 - quoted names
                [[_plain(row[name], kind) for name, kind in table.columns.items()] for row in rows],
            )
            number += len(rows)
    return number


WRITERS: Final[dict[str, Callable[[ExportTable, Path], int]]] = {
    "jsonl": write_jsonl, "csv": write_csv, "parquet": write_parquet, "sqlite": write_sqlite,
}  # fmt: skip

_SQL_TYPES: Final[dict[Type, str]] = {
    "text": "TEXT", "json": "TEXT", "int": "INTEGER", "float": "REAL", "bool": "INTEGER",
    "time": "TEXT",
}  # fmt: skip


def _pieces(table: ExportTable) -> Iterator[list[Row]]:
    rows = table.rows()
    while piece := list(islice(rows, BATCH)):
        yield piece


def _plain(value: Any, kind: Type) -> Any:
    """A value as a typed column takes it: lone surrogates are no UTF-8."""
    if kind == "json":
        return _as_json(value)
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return value


def _typed(value: Any, kind: Type) -> Any:
    if kind == "time" and value is not None:
        return datetime.fromisoformat(value)
    return _plain(value, kind)


def _as_json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _name(name: str) -> str:
    return '"' + name.replace('"', '""').replace("\0", "") + '"'
