"""What a person can get wrong: one clear line, the documented exit code, nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from crawling import crawl, settings
from website import Website, page

from crawler.cli.exits import Exit
from crawler.cli.main import _run


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line."""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("crawler: error: ")
    return line.removeprefix("crawler: error: ")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file where a folder should be: nothing can be made below it, not even by root."""
    monkeypatch.chdir(tmp_path)
    path = Path("file")
    path.write_text("not a folder")
    return path


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--ca-certificate", "missing.pem"), ("--certificate", "missing.pem"),
     ("--load-cookies", "missing.txt"), ("--allow-network", "1.2.3"), ("--proxy", "x"),
     ("--auth", "x"), ("--plugin", "missing.py:f"), ("--rules", "missing.toml"),
     ("--config", "missing.toml"), ("--include", "(")],
)  # fmt: skip
def test_a_setting_that_cannot_be_used_leaves_no_folder_in_the_way(
    flag: str, value: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(["crawl", "http://127.0.0.1:1/", "-O", "new", flag, value]) == Exit.USAGE
    assert value in said(capsys) or flag in {"--auth", "--plugin"}
    assert [path.name for path in Path().iterdir()] == [file.name]


@pytest.mark.parametrize("command", ["crawl", "check"])
@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_folder_that_cannot_be_made_is_named(
    command: str, where: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run([command, "http://127.0.0.1:1/", "-O", where, "-q"]) == Exit.HOUSE
    assert said(capsys).startswith(f"{where}: ")
    assert file.read_text() == "not a folder"


async def test_an_export_that_cannot_be_written_is_named(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Website({"/": page(links=["/a"]), "/a": page()}) as site:
        await crawl(settings(site.url), Path("crawl"))
    for form in ("csv", "jsonl", "links", "parquet", "sqlite"):
        assert _run(["export", form, "crawl", "-o", f"{file}/below"]) == Exit.HOUSE, form
        assert said(capsys).startswith(f"{file}"), form
        assert file.read_text() == "not a folder"
        assert _run(["export", form, f"{file}"]) in {Exit.HOUSE, Exit.USAGE}, form
        said(capsys)
