"""`crawler export`, and the commands of the guide as they stand there."""

from __future__ import annotations

import io
import json
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from helpers.places import ROOT
from test_cli import FakeCrawl, wait_for_stop

from crawler.cli.main import _run
from crawler.cli.run_crawl import run
from crawler.cli.screen import Screen
from crawler.config.loader import with_settings
from crawler.demo.process import DemoWeb

GUIDE = ROOT / "docs" / "guide"


@pytest.fixture(scope="module")
def web() -> Iterator[DemoWeb]:
    with DemoWeb(pages=12, size=2000) as web:
        yield web


def commands(name: str) -> list[list[str]]:
    """What stands after `$` in a page of the guide."""
    text = (GUIDE / name).read_text("utf-8")
    return [shlex.split(line) for line in re.findall(r"^\$ (crawler .*)$", text, re.MULTILINE)]


@pytest.mark.parametrize("name", ["archive.md", "mirror.md"])
def test_the_guide_s_commands_do_what_they_say(
    web: DemoWeb, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = commands(name)
    assert found
    for _, *args in found:
        more = ["--fast", "-q"] if args[0] == "crawl" else []
        given = [web.url if one == "https://example.com/" else one for one in args]
        assert _run([*given, *more]) == 0, args
    left = {path.name for path in (tmp_path / "crawl").iterdir()}
    assert {"archive.md": {"warc", "crawl.wacz"}, "mirror.md": {"warc", "mirror"}}[name] <= left
    if name == "archive.md":
        with zipfile.ZipFile("crawl/crawl.wacz") as package:
            assert package.testzip() is None
        lines = Path("crawl/warc/index.cdxj").read_text().splitlines()
        assert lines == sorted(lines)
        assert {json.loads(line.split(" ", 2)[2])["status"] for line in lines} >= {"200"}
    else:
        start = re.findall(r'href="([^"]+)"', Path("crawl/mirror/index.html").read_text())[0]
        assert "<a " in (Path("crawl/mirror") / start).read_text("utf-8-sig")


@pytest.mark.parametrize("form", ["wacz", "cdxj", "mirror"])
def test_no_archive_is_one_line_and_code_2(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(["export", form, str(tmp_path)]) == 2
    assert "has no archive" in capsys.readouterr().err


def test_where_nothing_can_be_written_is_one_line_and_code_3(
    web: DemoWeb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "crawl"
    assert _run(["crawl", web.url, "-O", str(folder), "--warc", "--fast", "-q"]) == 0
    (tmp_path / "file").touch()
    for form in ("wacz", "cdxj", "sqlite"):
        for away in (str(tmp_path / "file" / "x"), "/proc/crawl"):  # nothing can be made there
            assert _run(["export", form, str(folder), "-o", away]) == 3
            (error,) = capsys.readouterr().err.splitlines()
            assert error.startswith("crawler: ")
            assert away.rpartition("/")[0] in error
    assert _run(["export", "cdxj", str(folder), "-o", "-"]) == 0
    assert capsys.readouterr().out.startswith("1,0,0,127")


KILLED_EXPORT = """
import os, signal, sys
from pathlib import Path
from crawler.export.columns import TABLES
from crawler.export.tables import WRITERS
import crawler.export.tables as tables

tables.BATCH_ROWS = 5
pieces = tables._batches

def dying(table):
    for number, rows in enumerate(pieces(table)):
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        yield rows

tables._batches = dying
WRITERS["sqlite"](TABLES["pages"](Path(sys.argv[1]), None), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("there", [False, True])
def test_a_killed_export_leaves_no_half_table(web: DemoWeb, tmp_path: Path, *, there: bool) -> None:
    folder, target = tmp_path / "crawl", tmp_path / "export.sqlite"
    assert _run(["crawl", web.url, "-O", str(folder), "--fast", "-q"]) == 0
    export = ["export", "sqlite", str(folder), "-o", str(target)]
    if there:
        assert _run(export) == 0
    command = [sys.executable, "-c", KILLED_EXPORT, str(folder), str(target)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert target.exists() == there

    def rows() -> int:
        with closing(sqlite3.connect(target)) as db:
            return int(db.execute("SELECT count(*) FROM pages").fetchone()[0])

    before = rows() if there else None
    assert _run(export) == 0
    assert before in {None, rows()}
    assert rows() > 10
    assert [path.name for path in tmp_path.iterdir() if "export" in path.name] == [target.name]


def test_a_package_that_others_cannot_read_is_said(
    web: DemoWeb, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for packed, said in (("zstd", True), ("gzip", False)):
        folder = tmp_path / packed
        words = ["crawl", web.url, "-O", str(folder), "--warc", "--fast", "-q", "--max-pages", "2"]
        assert _run([*words, "--warc-compression", packed]) == 0
        assert _run(["export", "wacz", str(folder)]) == 0
        assert ("zstd, which replayweb.page" in capsys.readouterr().err) == said


def test_what_does_not_exist_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["export", "nothing", "x"]) == 2
    assert "No such command 'nothing'" in capsys.readouterr().err


def test_the_archive_preset_is_what_it_says(web: DemoWeb, tmp_path: Path) -> None:
    preset = str(ROOT / "config" / "archive.toml")
    folder = tmp_path / "crawl"
    args = ["crawl", web.url, "-O", str(folder), "--config", preset, "--fast", "-q"]
    assert _run([*args, "--max-pages", "3"]) == 0
    assert list((folder / "warc").glob("*.warc.gz"))
    assert "requisites = true" in (folder / "crawl.toml").read_text()


def test_who_stops_a_crawl_is_not_kept_waiting_for_the_mirror(tmp_path: Path) -> None:
    @asynccontextmanager
    async def opener(*_: Any, **__: Any) -> AsyncIterator[FakeCrawl]:
        yield FakeCrawl(wait_for_stop)

    said = io.StringIO()
    config = with_settings(None, mirror=True)
    assert run(config, tmp_path, "new", Screen(stream=said), opener=opener) == 11
    assert "no mirror yet; of what is there: crawler export mirror" in said.getvalue()
    assert not (tmp_path / "mirror").exists()
