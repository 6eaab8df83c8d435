"""What a person can get wrong: one clear line, the documented exit code, nothing left behind."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from helpers.crawling import crawl, outcomes, settings
from helpers.website import Website, page, reply

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


async def test_a_body_that_finds_no_place_on_the_disk_ends_the_crawl_and_is_fetched_again(
    tmp_path: Path,
) -> None:
    """The kernel refuses to let any file grow beyond a megabyte: the body's, in the spool."""
    script = (
        "import resource, sys\nfrom crawler.cli.main import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))\nmain()"
    )
    large = reply(b"<title>large</title>" + b"x" * 3_000_000)
    folder = tmp_path / "crawl"
    args = ["-q", "--fast", "-s", "fetch.spool_above=100000"]
    async with Website({"/": page(links=["/large"]), "/large": large}) as site:

        async def run(*words: str) -> tuple[int, str]:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *words, stderr=asyncio.subprocess.PIPE
            )
            async with asyncio.timeout(40):
                _, said = await process.communicate()
            return process.returncode or 0, said.decode()

        code, said = await run("-c", script, "crawl", site.url, "-O", str(folder), *args)
        assert code == Exit.HOUSE, said
        assert f"crawler: error: {folder / 'spool'}: File too large" in said
        assert "bug" not in said
        assert outcomes(folder) == {"/": "done"}
        code, said = await run("-m", "crawler", "resume", str(folder), *args)
        assert code == Exit.OK, said
    assert outcomes(folder) == {"/": "done", "/large": "done"}
    assert list((folder / "spool").iterdir()) == []


def test_a_key_that_no_job_could_set_is_not_allowed_in_vain(
    file: Path,  # noqa: ARG001 - the folder it is in
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("starlette")
    assert _run(["serve", "--port", "0", "--allow", "fetch.proxi"]) == Exit.USAGE
    assert said(capsys) == "--allow: fetch.proxi: no such setting; did you mean fetch.proxy?"
