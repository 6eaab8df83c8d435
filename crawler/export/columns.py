"""Tables by name: their columns with types, and their rows, streamed from a crawl's folder."""

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
"""`time`: RFC 3339 in UTC. `json`: a list or an object, told as JSON text."""

Row = dict[str, Any]


class ExportTable(msgspec.Struct, frozen=True):
    """What is exported. `rows` starts anew each time it is called; every row has every column."""

    name: str
    columns: dict[str, Type]
    rows: Callable[[], Iterator[Row]]


def demand_run(folder: Path, run: int | None) -> None:
    """Raises ConfigError for a run that the crawl has not had."""
    with FrontierReader(folder / FRONTIER) as book:
        there = len(book.spans("pages"))
    if run is not None and not 1 <= run <= there:
        raise ConfigError(f"--run {run}: {folder} has had {counted(there, 'run')}")


def pages(folder: Path, run: int | None = None) -> ExportTable:
    """The lines of pages.jsonl, a row each, and the run that wrote it. `run` None: all of them."""
    columns: dict[str, Type] = {"run": "int"}
    for name, hint in get_type_hints(Record).items():
        if name == "run":
            continue  # comes first
        columns[name] = "time" if name == "fetched_at" else _type(hint)

    def rows() -> Iterator[Row]:
        for number, line in lines(folder, "pages.jsonl", run):
            yield {"run": number, **{name: line.get(name) for name in columns if name != "run"}}

    return ExportTable("pages", columns, rows)


def links(folder: Path, run: int | None = None) -> ExportTable:
    """The graph: a row for each link of each page, in the order of the visits."""
    if not (folder / NAME).exists():
        raise ConfigError(f"{folder}: has no {NAME}; crawl without --no-graph to keep the links")
    columns: dict[str, Type] = {"run": "int", "source": "text", "target": "text", "kind": "text"}

    def rows() -> Iterator[Row]:
        with FrontierReader(folder / FRONTIER) as book:
            for span in book.spans("graph"):
                if run not in {None, span.run}:
                    continue
                for edges in read_edges(folder / NAME, span.start, span.end):
                    source = book.links([edges.source]).get(edges.source)
                    for key, kind in zip(edges.keys, edges.kinds, strict=True):
                        target = book.url_of(key)
                        if source is not None and target is not None:
                            yield {
                                "run": span.run,
                                "source": source[0],
                                "target": target,
                                "kind": KINDS[kind].value,
                            }

    return ExportTable("links", columns, rows)


def records(folder: Path, run: int | None = None) -> ExportTable:
    """What rules and plugins found, in one run or (None) in all. The columns are the union of the
    records' fields, with types that fit every value: one pass over records.jsonl finds them,
    another writes.
    """
    path = folder / "records.jsonl"
    if not path.exists():
        raise ConfigError(f"{folder}: has no records.jsonl; crawl with --rules or --plugin")
    columns: dict[str, Type] = {}
    with FrontierReader(folder / FRONTIER) as book:
        several = len(book.spans("pages")) > 1
    for _, line in lines(folder, "records.jsonl", None):
        if run is not None and several and "_run" not in line:
            raise ConfigError(f"--run: {path} was begun by a version that told no runs apart")
        for name, value in line.items():
            columns[name] = _wider(columns.get(name), value)
            if len(columns) > MAX_COLUMNS:
                raise ConfigError(f"{path}: more than {MAX_COLUMNS} different fields: use jsonl")
    columns = {name: kind or "text" for name, kind in columns.items()}
    columns["_fetched_at"] = "time"

    def rows() -> Iterator[Row]:
        for _, line in lines(folder, "records.jsonl", None):
            if run not in {None, line.get("_run", 1)}:
                continue
            yield {name: _fitting(line.get(name), kind) for name, kind in columns.items()}

    return ExportTable("records", columns, rows)


TABLES: Final = {"pages": pages, "links": links, "records": records}

MAX_COLUMNS: Final = 2000
"""A record keyed by its content would make one column a page."""

_TYPES: Final[dict[str, Type]] = {"str": "text", "int": "int", "float": "float", "bool": "bool"}


def _type(hint: Any) -> Type:
    names = {getattr(one, "__name__", "") for one in getattr(hint, "__args__", (hint,))}
    names.discard("NoneType")
    return _TYPES.get(names.pop(), "json") if len(names) == 1 else "json"


def _wider(known: Type | None, value: Any) -> Any:
    """The type that holds what was seen and this value too; None: only nulls so far."""
    if value is None:
        return known
    here: Type = (
        "bool" if isinstance(value, bool) else "int" if isinstance(value, int)
        else "float" if isinstance(value, float) else "text" if isinstance(value, str) else "json"
    )  # fmt: skip
    if here == "int" and not -(2**63) <= value < 2**63:
        here = "text"
    if known in {None, here}:
        return here
    if {known, here} == {"int", "float"}:
        return "float"
    return "text" if known != "json" != here else "json"


def _fitting(value: Any, kind: Type) -> Any:
    if value is None:
        return None
    if kind == "float":
        return float(value)
    if kind == "text" and not isinstance(value, str):
        return json.dumps(value)
    return value


def lines(folder: Path, name: str, run: int | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Run and object of each line; a last line that is not whole (a crawl is writing) is not."""
    path = folder / name
    with FrontierReader(folder / FRONTIER) as book:
        spans = book.spans("pages") if name == "pages.jsonl" else []
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    starts = [(span.start, span.run) for span in spans] or [(0, 1)]
    place, number, at = 0, 1, 1
    try:
        with path.open("rb") as file:
            for count, text in enumerate(file, 1):
                if not text.endswith(b"\n"):
                    return
                while at < len(starts) and place >= starts[at][0]:
                    number, at = starts[at][1], at + 1
                place += len(text)
                if run not in {None, number}:
                    continue
                try:
                    yield number, decode(text)
                except msgspec.DecodeError as error:
                    raise FatalError(f"{path}:{count}: {error}") from error
    except FileNotFoundError as error:
        raise ConfigError(f"{folder}: has no {name}") from error
    except OSError as error:
        raise FatalError(f"{path}: {error.strerror}") from error
