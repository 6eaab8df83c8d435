"""Write tables as JSON Lines, CSV, Parquet or SQLite: row by row, in bounded memory.

A file is written under a temporary name and renamed when complete, so a failed export leaves no
partial file and no damaged old file.
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
from crawler.export.output_file import TextOutput, open_output

BATCH_ROWS: Final = 5000
"""Rows in one batch of a Parquet row group and in one SQLite insert."""

_FORMULA_PREFIXES: Final = ("=", "+", "-", "@", "\t", "\r")
"""Prefixes with which a spreadsheet runs a cell as a formula (OWASP, CSV Injection)."""


def write_jsonl(table: ExportTable, path: Path) -> int:
    """Write a JSON object per line; returns the number of rows."""
    encode = msgspec.json.Encoder().encode
    with open_output(path) as file:
        number = 0
        for number, row in enumerate(table.rows(), 1):  # noqa: B007 - counted
            file.write(encode(row) + b"\n")
        return number


def write_csv(table: ExportTable, path: Path) -> int:
    """Write RFC 4180 with LF, UTF-8 and a header line; lists as JSON. A text cell that a
    spreadsheet would run as a formula is prefixed with an apostrophe; numbers stay numbers. Returns
    the number of rows.
    """
    texts = [name for name, kind in table.columns.items() if kind in {"text", "json"}]
    jsons = [name for name, kind in table.columns.items() if kind == "json"]
    with open_output(path) as raw:
        lines = csv.writer(TextOutput(raw), lineterminator="\n")
        lines.writerow([defuse_formula(name) for name in table.columns])
        number = 0
        for number, row in enumerate(table.rows(), 1):  # noqa: B007 - counted
            for name in jsons:
                row[name] = _as_json(row[name])
            for name in texts:
                row[name] = defuse_formula(row[name])
            lines.writerow(row.values())
        return number


def defuse_formula(cell: Any) -> Any:
    """The cell as a text that a spreadsheet shows and never runs; without NUL, which ends a cell.
    Other types are returned unchanged.
    """
    if not isinstance(cell, str):
        return cell
    cell = cell.replace("\0", "")
    return f"'{cell}" if cell.startswith(_FORMULA_PREFIXES) else cell


def write_parquet(table: ExportTable, path: Path) -> int:
    """Write typed columns, compressed with zstd; returns the number of rows. Raises ConfigError
    without pyarrow (`pip install 'crawler[parquet]'`).
    """
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
        open_output(path) as file,
        parquet.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        for rows in _batches(table):
            columns = [
                pa.array([_for_parquet(row[name], kind) for row in rows], types[kind])
                for name, kind in table.columns.items()
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            number += len(rows)
    return number


def write_sqlite(table: ExportTable, path: Path) -> int:
    """Write a table of the same name into an SQLite file, whose other tables are kept; returns the
    number of rows.

    A new file appears when complete. In an existing file the table is replaced in one transaction:
    if killed, the file still has its old table.
    """
    if str(path) == "-":
        raise ConfigError("sqlite: needs a file, -o FILE")
    is_new = not path.exists()
    target = path.with_name(f".{path.name}.part") if is_new else path
    try:
        if is_new:
            _remove_database(target)  # left by a killed export
        number = _replace_table(table, target)
        if is_new:
            target.replace(path)
    except (sqlite3.Error, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise FatalError(f"{path}: {reason}") from error
    finally:
        if is_new:
            with suppress(OSError):  # nothing was created
                _remove_database(target)
    return number


def _remove_database(database: Path) -> None:
    for ending in ("", "-journal"):
        database.with_name(database.name + ending).unlink(missing_ok=True)


def _replace_table(table: ExportTable, path: Path) -> int:
    """Replace the table in one transaction; returns the number of rows."""
    names = ", ".join(_quote(name) for name in table.columns)
    columns = ", ".join(
        f"{_quote(name)} {_SQL_TYPES[kind]}" for name, kind in table.columns.items()
    )
    target = _quote(table.name)
    placeholders = ", ".join("?" * len(table.columns))
    number = 0
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("BEGIN")
        db.execute(f"DROP TABLE IF EXISTS {target}")
        db.execute(f"CREATE TABLE {target} ({columns})")
        for rows in _batches(table):
            db.executemany(
                f"INSERT INTO {target} ({names}) VALUES ({placeholders})",  # noqa: S608 - quoted names
                [
                    [_for_sqlite(row[name], kind) for name, kind in table.columns.items()]
                    for row in rows
                ],
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


def _batches(table: ExportTable) -> Iterator[list[Row]]:
    rows = table.rows()
    while batch := list(islice(rows, BATCH_ROWS)):
        yield batch


def _for_sqlite(value: Any, kind: Type) -> Any:
    """A value for a typed column; lone surrogates, which UTF-8 does not have, are replaced."""
    if kind == "json":
        return _as_json(value)
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return value


def _for_parquet(value: Any, kind: Type) -> Any:
    if kind == "time" and value is not None:
        return datetime.fromisoformat(value)
    return _for_sqlite(value, kind)


def _as_json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""').replace("\0", "") + '"'
