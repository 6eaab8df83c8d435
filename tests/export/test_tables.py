"""Tables: the same rows in every form, typed, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers.crawling import crawl, records, settings
from helpers.website import Website, page, redirect
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from crawler.cli.main import crawler
from crawler.errors import ConfigError, FatalError
from crawler.export.columns import ExportTable, Row, _convert, _widen, links, pages
from crawler.export.columns import records as found_records
from crawler.export.graph_formats import write_edges, write_graphml
from crawler.export.tables import WRITERS, defuse_formula, write_csv, write_parquet, write_sqlite

Open = Callable[..., Awaitable[Website]]

FORMULA = "=HYPERLINK(1)"


@pytest.fixture
async def folder(website: Open, tmp_path: Path) -> Path:
    site = await website(
        {
            "/": page(FORMULA, ["/a", "/b", "/missing"], text="ä"),
            "/a": page('A, "quoted"\n', ["/"]),
            "/b": redirect("/a"),
        }
    )  # fmt: skip
    await crawl(settings(site.url), tmp_path / "crawl")
    return tmp_path / "crawl"


def test_every_form_has_the_same_pages(folder: Path, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet")
    lines = [{"run": 1, **line} for line in records(folder)]
    table = pages(folder)
    for form, write in WRITERS.items():
        assert write(table, tmp_path / f"x.{form}") == len(lines) == 4
    with (tmp_path / "x.jsonl").open() as file:
        assert [json.loads(line) for line in file] == lines
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    titles = [line["title"] for line in lines]
    assert [row["title"] for row in rows] == [
        f"'{title}" if title == FORMULA else title or "" for title in titles
    ]
    assert [row["status"] for row in rows] == [str(line["status"]) for line in lines]
    assert [json.loads(row["problems"]) for row in rows] == [line["problems"] for line in lines]
    db = sqlite3.connect(tmp_path / "x.sqlite")
    assert db.execute("SELECT title, status, fetch_ms FROM pages").fetchall() == [
        (line["title"], line["status"], line["fetch_ms"]) for line in lines
    ]
    db.close()
    arrow = pyarrow.read_table(tmp_path / "x.parquet")
    assert arrow.column("title").to_pylist() == titles
    assert arrow.column("status").to_pylist() == [line["status"] for line in lines]
    assert str(arrow.schema.field("fetched_at").type) == "timestamp[ms, tz=UTC]"
    assert (
        arrow.column("fetched_at").to_pylist()[0].isoformat()[:19] == (lines[0]["fetched_at"][:19])
    )


def test_the_graph_in_every_form(folder: Path, tmp_path: Path) -> None:
    home = records(folder)[0]["url"]
    expected = {
        (home, home + "a"), (home, home + "b"), (home, home + "missing"),
        (home + "a", home), (home + "b", home + "a"),
    }  # fmt: skip
    assert {(row["source"], row["target"]) for row in links(folder).rows()} == expected
    assert write_edges(folder, tmp_path / "x.tsv") == 5
    text = (tmp_path / "x.tsv").read_text()
    assert {tuple(line.split("\t")) for line in text.splitlines()} == expected
    assert write_graphml(folder, tmp_path / "x.graphml") == 5
    space = "{http://graphml.graphdrawing.org/xmlns}"
    graph = ET.parse(tmp_path / "x.graphml").getroot().find(f"{space}graph")
    assert graph is not None
    edges = {(edge.get("source"), edge.get("target")) for edge in graph.iter(f"{space}edge")}
    assert edges == expected
    nodes = {node.get("id"): node[0].text for node in graph.iter(f"{space}node")}
    assert nodes[home + "b"] == "moved"
    assert nodes[home + "missing"] == "failed"


@given(st.text())
def test_no_text_cell_is_a_formula_and_none_loses_its_text(cell: str) -> None:
    safe = defuse_formula(cell)
    assert not safe.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert safe.removeprefix("'").replace("'", "") == cell.replace("\0", "").replace("'", "")
    assert defuse_formula(-5) == -5


values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=3), st.integers()),
)  # fmt: skip


@settings_of_hypothesis(max_examples=40)
@given(rows=st.lists(values, min_size=1, max_size=6))
def test_a_column_has_a_type_that_every_value_fits(
    rows: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    kind: Any = None
    for value in rows:
        kind = _widen(kind, value)
    kind = kind or "text"
    table = ExportTable(
        "t", {"c": kind}, lambda: iter([{"c": _convert(value, kind)} for value in rows])
    )
    folder = tmp_path_factory.mktemp("t")
    assert write_sqlite(table, folder / "x.db") == len(rows)
    assert write_csv(table, folder / "x.csv") == len(rows)
    assert write_parquet(table, folder / "x.parquet") == len(rows)


def test_an_export_that_fails_leaves_the_old_file_whole(tmp_path: Path) -> None:
    def rows() -> Iterator[Row]:
        yield {"c": 1}
        raise FatalError("the disk is full")

    table = ExportTable("t", {"c": "int"}, rows)
    for form, write in WRITERS.items():
        path = tmp_path / f"x.{form}"
        if form == "sqlite":
            write(ExportTable("t", {"c": "int"}, lambda: iter([{"c": 7}])), path)
        else:
            path.write_text("old")
        before = path.read_bytes()
        with pytest.raises(FatalError):
            write(table, path)
        if form == "sqlite":
            db = sqlite3.connect(path)
            assert db.execute("SELECT c FROM t").fetchall() == [(7,)]
            db.close()
        else:
            assert path.read_bytes() == before
    assert sorted(one.suffix for one in tmp_path.iterdir()) == [
        ".csv", ".jsonl", ".parquet", ".sqlite"
    ]  # fmt: skip


def test_what_is_not_there_is_said_in_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no records\.jsonl"):
        found_records(folder)
    with pytest.raises(ConfigError, match="holds no crawl"):
        list(pages(tmp_path).rows())
    (folder / "graph.bin").unlink()
    with pytest.raises(ConfigError, match="--no-graph"):
        links(folder)


def test_the_commands(folder: Path) -> None:
    result = CliRunner().invoke(crawler, ["export", "csv", str(folder), "-o", "-"])
    assert len(list(csv.reader(io.StringIO(result.stdout)))) == 5, result.output
    result = CliRunner().invoke(crawler, ["export", "links", str(folder), "-o", "-"])
    assert len(result.stdout.splitlines()) == 5
    CliRunner().invoke(crawler, ["export", "sqlite", str(folder)])
    CliRunner().invoke(crawler, ["export", "sqlite", str(folder), "--table", "links"])
    db = sqlite3.connect(folder / "export.sqlite")
    assert db.execute("SELECT count(*) FROM pages").fetchone() == (4,)
    assert db.execute("SELECT count(*) FROM links WHERE kind = 'page'").fetchone() == (5,)
    db.close()
