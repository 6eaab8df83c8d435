"""The tables that can be exported: columns with types, and rows streamed from a crawl's folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, get_type_hints

import msgspec

from crawler.config.workdir import FRONTIER
from crawler.errors import ConfigError, FatalError
from crawler.frontier.sqlite.lookup import FrontierReader
from crawler.output.graph import KINDS, NAME, read_edges
from crawler.output.record import Record
from crawler.utils.units import counted

Type = Literal["text", "int", "float", "bool", "time", "json"]
"""`time`: RFC 3339 in UTC. `json`: a list or an object as JSON text."""

Row = dict[str, Any]


class ExportTable(msgspec.Struct, frozen=True):
    """A table to export. Each call of `rows` iterates from the beginning; every row has every
    column.
    """

    name: str
    columns: dict[str, Type]
    rows: Callable[[], Iterator[Row]]


def require_run(folder: Path, run: int | None) -> None:
    """Raises ConfigError for a run number that the crawl does not have."""
    with FrontierReader(folder / FRONTIER) as reader:
        run_count = len(reader.spans("pages"))
    if run is not None and not 1 <= run <= run_count:
        raise ConfigError(f"--run {run}: {folder} has {counted(run_count, 'run')}")


def pages(folder: Path, run: int | None = None) -> ExportTable:
    """The lines of pages.jsonl with the run that wrote them. `run` None: all runs."""
    columns: dict[str, Type] = {"run": "int"}
    for name, hint in get_type_hints(Record).items():
        if name == "run":
            continue  # is the first column
        columns[name] = "time" if name == "fetched_at" else _column_type(hint)

    def rows() -> Iterator[Row]:
        for current_run, line in lines(folder, "pages.jsonl", run):
            yield {
                "run": current_run,
                **{name: line.get(name) for name in columns if name != "run"},
            }

    return ExportTable("pages", columns, rows)


def links(folder: Path, run: int | None = None) -> ExportTable:
    """The link graph: a row for each link of each page, in the order of visits. `run` None: all
    runs.
    """
    if not (folder / NAME).exists():
        raise ConfigError(f"{folder}: has no {NAME}; crawl without --no-graph to keep the links")
    columns: dict[str, Type] = {"run": "int", "source": "text", "target": "text", "kind": "text"}

    def rows() -> Iterator[Row]:
        with FrontierReader(folder / FRONTIER) as reader:
            for span in reader.spans("graph"):
                if run not in {None, span.run}:
                    continue
                for edges in read_edges(folder / NAME, span.start, span.end):
                    source = reader.links([edges.source]).get(edges.source)
                    for key, kind in zip(edges.keys, edges.kinds, strict=True):
                        target = reader.url_of(key)
                        if source is not None and target is not None:
                            yield {
                                "run": span.run,
                                "source": source[0],
                                "target": target,
                                "kind": KINDS[kind].value,
                            }

    return ExportTable("links", columns, rows)


def records(folder: Path, run: int | None = None) -> ExportTable:
    """What rules and plugins extracted, in one run or (None) in all. Columns are the union of the
    records' fields, with types that fit every value: one pass over records.jsonl determines them, a
    second one writes.
    """
    path = folder / "records.jsonl"
    if not path.exists():
        raise ConfigError(f"{folder}: has no records.jsonl; crawl with --rules or --plugin")
    columns: dict[str, Type] = {}
    with FrontierReader(folder / FRONTIER) as reader:
        several_runs = len(reader.spans("pages")) > 1
    for _, line in lines(folder, "records.jsonl", None):
        if run is not None and several_runs and "_run" not in line:
            raise ConfigError(f"--run: {path} was begun by a version that did not record runs")
        for name, value in line.items():
            columns[name] = _widen(columns.get(name), value)
            if len(columns) > MAX_COLUMNS:
                raise ConfigError(f"{path}: more than {MAX_COLUMNS} different fields: use jsonl")
    columns = {name: kind or "text" for name, kind in columns.items()}
    columns["_fetched_at"] = "time"

    def rows() -> Iterator[Row]:
        for _, line in lines(folder, "records.jsonl", None):
            if run not in {None, line.get("_run", 1)}:
                continue
            yield {name: _convert(line.get(name), kind) for name, kind in columns.items()}

    return ExportTable("records", columns, rows)


TABLES: Final = {"pages": pages, "links": links, "records": records}

MAX_COLUMNS: Final = 2000
"""A limit for records whose keys come from the content: they would add columns with every page."""

_TYPES: Final[dict[str, Type]] = {"str": "text", "int": "int", "float": "float", "bool": "bool"}


def _column_type(hint: Any) -> Type:
    names = {getattr(part, "__name__", "") for part in getattr(hint, "__args__", (hint,))}
    names.discard("NoneType")
    return _TYPES.get(names.pop(), "json") if len(names) == 1 else "json"


def _widen(current: Type | None, value: Any) -> Any:
    """The type that fits the values so far and this one; None: only nulls so far."""
    if value is None:
        return current
    seen: Type = (
        "bool" if isinstance(value, bool) else "int" if isinstance(value, int)
        else "float" if isinstance(value, float) else "text" if isinstance(value, str) else "json"
    )  # fmt: skip
    if seen == "int" and not -(2**63) <= value < 2**63:
        seen = "text"
    if current in {None, seen}:
        return seen
    if {current, seen} == {"int", "float"}:
        return "float"
    return "text" if current != "json" != seen else "json"


def _convert(value: Any, kind: Type) -> Any:
    if value is None:
        return None
    if kind == "float":
        return float(value)
    if kind == "text" and not isinstance(value, str):
        return json.dumps(value)
    return value


def lines(folder: Path, name: str, run: int | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Run and object of each line. An incomplete last line (a running crawl is writing it) is
    skipped. Raises ConfigError for a missing file, FatalError.
    """
    path = folder / name
    with FrontierReader(folder / FRONTIER) as reader:
        spans = reader.spans("pages") if name == "pages.jsonl" else []
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    starts = [(span.start, span.run) for span in spans] or [(0, 1)]
    offset, current_run, next_start = 0, 1, 1
    try:
        with path.open("rb") as file:
            for count, text in enumerate(file, 1):
                if not text.endswith(b"\n"):
                    return
                while next_start < len(starts) and offset >= starts[next_start][0]:
                    current_run, next_start = starts[next_start][1], next_start + 1
                offset += len(text)
                if run not in {None, current_run}:
                    continue
                try:
                    yield current_run, decode(text)
                except msgspec.DecodeError as error:
                    raise FatalError(f"{path}:{count}: {error}") from error
    except FileNotFoundError as error:
        raise ConfigError(f"{folder}: has no {name}") from error
    except OSError as error:
        raise FatalError(f"{path}: {error.strerror}") from error
