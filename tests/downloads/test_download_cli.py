"""`crawler download` as a person and a program use it; the guide's commands run."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import OpenSite
from helpers.downloading import names_in, noise, ranged
from helpers.places import ROOT
from helpers.website import gate, page, redirect, reply, text

from crawler.cli.exits import Exit, download_code
from crawler.cli.main import crawler, main

GUIDE = ROOT / "docs" / "guide" / "download.md"

PDF = b"%PDF-1.4 not much of one\n"


async def run(*args: str, cwd: Path, stdin: str = "") -> tuple[int, str, str]:
    """Code, stdout, stderr of `crawler download …`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "crawler", "download", *args, "-s", "retry.base=0.01", cwd=cwd,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env=dict(os.environ),
    )  # fmt: skip
    async with asyncio.timeout(40):
        out, err = await process.communicate(stdin.encode())
    assert b"Traceback" not in err, err.decode()
    return process.returncode or 0, out.decode(), err.decode()


def events(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


async def test_lists_from_stdin_json_events_and_the_gravest_code(
    website: OpenSite, tmp_path: Path
) -> None:
    site = await website({"/a.txt": text("a"), "/b": text("b")})
    lines = f"{site.at('/a.txt')}\n{site.at('/gone')}\n{site.at('/b')}\n  checksum=md5={'0' * 32}\n"
    code, out, _ = await run("-i", "-", "-O", "out", "--json", cwd=tmp_path, stdin=lines)
    assert code == Exit.MISMATCH
    seen = events(out)
    files = {one["url"].rpartition("/")[2]: one for one in seen if one["event"] == "file"}
    assert {name: one["status"] for name, one in files.items()} == {
        "a.txt": "done", "gone": "failed", "b": "failed",
    }  # fmt: skip
    assert files["a.txt"]["path"] == "out/a.txt"
    assert files["gone"]["reason"] == "status:404"
    assert files["b"]["aside"] == "out/b.wrong"
    assert seen[-1]["event"] == "summary"
    assert seen[-1]["exit"] == Exit.MISMATCH
    assert (seen[-1]["done"], seen[-1]["failed"], seen[-1]["reason"]) == (1, 2, "finished")


async def test_the_summary_names_what_failed(website: OpenSite, tmp_path: Path) -> None:
    site = await website({"/a": text("a")})
    code, out, err = await run(site.at("/{a,b}"), cwd=tmp_path)
    assert (code, out) == (Exit.SERVER, "")
    assert f"failed: {site.at('/b')}: status:404" in err
    assert "finished: 1 file, 1 failed" in err
    code, _, err = await run(site.at("/a"), cwd=tmp_path)
    assert code == Exit.OK
    assert "1 was there" in err
    assert site.hits["/a"] == 1


async def test_a_dry_run_fetches_nothing(website: OpenSite, tmp_path: Path) -> None:
    site = await website({})
    args = (site.at("/x/[1-2].zip"), "-o", "{host}/{n}{ext}", "-O", "out")
    code, out, _ = await run(*args, "--dry-run", cwd=tmp_path)
    assert code == Exit.OK
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["fetch", f"127.0.0.1_{site.port}/{n}.zip"] for n in (1, 2)
    ]
    _, out, _ = await run(*args, "--dry-run", "--json", cwd=tmp_path)
    assert [one["exists"] for one in events(out)] == [False, False]
    assert site.log == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "nothing to download"),
        (("ftp://h/a",), "not a http or https URL"),
        (("http://h/a", "--checksum", "md5:1"), "md5 has 32 digits"),
        (("http://h/{a,b}", "-o", "name"), "are for one URL"),
        (("http://h/a", "-o", "{colour}"), "{colour} is none of"),
        (("http://h/a", "-o", "../a"), "not below the download folder"),
        (("-i", "nope.txt"), "nope.txt: No such file"),
        (("--from", "."), "holds no crawl"),
        (("http://h/a", "--type", "pdf"), "--from DIR"),
        (("http://h/a", "--max-filesize", "big"), "is not a size"),
        (("http://h/a", "--limit-rate", "0"), "--limit-rate"),
        (("http://h/a", "-O", "file"), "file/.crawler-download: Not a directory"),
    ],
)
def test_one_clear_line_for_what_cannot_be_used(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: tuple[str, ...],
    said: str,
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["download", *args])
    err = capsys.readouterr().err
    assert ended.value.code in {Exit.USAGE, Exit.HOUSE}
    assert said in err
    assert len(err.splitlines()) == 1


async def test_a_signal_leaves_what_came_and_the_same_command_goes_on(
    website: OpenSite, tmp_path: Path
) -> None:
    body = noise(3_000_000)
    site = await website({"/f.bin": ranged(body, pause=0.04), "/g": gate(text("g"))})
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "crawler", "download", site.at("/f.bin"), site.at("/g"),
        "--grace", "0", cwd=tmp_path, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    part = tmp_path / "f.bin.part"
    async with asyncio.timeout(20):
        while not part.exists() or not any(part.read_bytes()[:10]):  # noqa: ASYNC110 - no bell
            await asyncio.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert process.returncode == Exit.INTERRUPTED, err.decode()
    assert b"the same command" in err
    assert names_in(tmp_path) == {"f.bin.part"}
    site.put("/g", text("g"))
    site.put("/f.bin", ranged(body))
    code, _, _ = await run(site.at("/f.bin"), site.at("/g"), cwd=tmp_path)
    assert code == Exit.OK
    assert (tmp_path / "f.bin").read_bytes() == body
    assert site.log[-1].headers.get("range") or site.log[-2].headers.get("range")


@pytest.mark.parametrize(
    ("reason", "failures", "code"),
    [
        ("finished", [], Exit.OK),
        ("finished", ["dns", "timeout:idle"], Exit.NETWORK),
        ("finished", ["tls:expired", "dns"], Exit.TLS),
        ("finished", ["status:429", "dns"], Exit.RATE_LIMITED),
        ("finished", ["status:404", "status:429"], Exit.SERVER),
        ("finished", ["mismatch:md5", "status:404"], Exit.MISMATCH),
        ("interrupted", ["mismatch:md5"], Exit.INTERRUPTED),
        ("hosts-down", [], Exit.NETWORK),
        ("size-limit", [], Exit.SIZE_LIMIT),
    ],
)
def test_exit_codes(reason: str, failures: list[str], code: Exit) -> None:
    assert download_code(reason, failures) is code


async def test_the_guides_commands_run(website: OpenSite, tmp_path: Path) -> None:
    pictures = {
        f"/{folder}/{n:02}.jpg": reply(b"jpeg", mime="image/jpeg")
        for folder in "ab"
        for n in (1, 2, 3)
    }
    iso = noise(100_000)
    site = await website(
        {
            "/": page(links=["/report.pdf"]),
            "/report.pdf": reply(PDF, mime="application/pdf"),
            "/big.iso": redirect("/mirror/big.iso"),
            "/mirror/big.iso": ranged(iso),
            **pictures,
        }
    )
    crawl = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "crawler", "crawl", site.url, "-O", "crawl", "-q", "--fast",
        "--processes", "1", cwd=tmp_path,
    )  # fmt: skip
    assert await crawl.wait() == 0
    (tmp_path / "list.txt").write_text(site.at("/report.pdf") + "\n")
    digest = hashlib.sha256(PDF).hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  report.pdf\n")
    commands = re.findall(r"^\$ crawler download (.+)$", GUIDE.read_text("utf-8"), re.MULTILINE)
    assert len(commands) >= 7
    for command in commands:
        ready = command.replace("https://example.com", site.at("")).replace(
            "ab12…", hashlib.sha256(iso).hexdigest()
        )
        code, _, err = await run(*shlex.split(ready), cwd=tmp_path)
        assert code == Exit.OK, (command, err)
    assert (tmp_path / "report.pdf").read_bytes() == (tmp_path / "files/report.pdf").read_bytes()
    assert len(names_in(tmp_path / "pictures")) == 6
    assert (tmp_path / "big.iso").read_bytes() == iso


async def test_the_guides_program_runs(website: OpenSite, tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.+?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    site = await website({"/a.zip": reply(b"PK", mime="application/zip")})
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program.replace("https://example.com", site.at("")), cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert out.decode().split()[:2] == ["done", "files/a.zip"]


def test_help_shows_the_defaults_of_a_download_not_those_of_a_crawl() -> None:
    told = " ".join(CliRunner().invoke(crawler, ["download", "--help"]).output.split())
    for words, default in (
        ("Open connections in all.", "16"), ("Requests at a time to one host.", "16"),
        ("Tries after the first.", "5"), ("what pages say to robots.", "no"),
    ):  # fmt: skip
        assert f"{words} [{default}]" in told
