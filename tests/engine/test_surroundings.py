"""What a crawl finds where it is started: no place to write, no limits to speak of, no stderr.

Each either works or ends with one line and a documented exit code: no traceback, no core.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers.crawling import records
from helpers.places import ROOT
from helpers.website import Website, page

Open = Callable[..., Awaitable[Website]]

CRAWLER = f"{sys.executable} -m crawler"


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: bytes
    said: str


async def shell(command: str, cwd: Path, **env: str) -> Ended:
    """Run a line of bash; what it starts finds this source tree wherever it stands."""
    whole = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", command, cwd=cwd, env=whole,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        out, said = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out, said.decode("utf-8", "replace"))


SURROUNDINGS = {
    # what comes before the command, what follows it, the exit codes that are fine, what is said
    "stdin closed": ("", "0>&-", {0}, ""),
    "stdout closed": ("", "1>&-", {0}, ""),
    "stderr closed": ("", "2>&-", {0}, ""),
    "all closed": ("", "0>&- 1>&- 2>&-", {0}, ""),
    "stderr full": ("", "2>/dev/full", {0}, ""),
    "stdout full": ("", "--json >/dev/full", {3}, "error: No space left on device"),
    "stdout gone": ("", "--json | head -c 1", {0}, ""),
    "64 files": ("ulimit -n 64;", "", {0}, ""),
    "40 files": ("ulimit -n 40;", "", {0}, ""),
    "24 files": ("ulimit -n 24;", "", {3}, "error: 24 files may be open (ulimit -n)"),
    "12 files": ("ulimit -n 12;", "", {3}, "error: 12 files may be open (ulimit -n)"),
    "5 s of CPU": ("ulimit -t 5;", "", {0}, ""),
    "small files": ("ulimit -f 8;", "", {3}, "error: "),
    "150 MB": ("ulimit -v 150000;", "", {0, 3}, ""),
    "300 MB": ("ulimit -v 300000;", "", {0, 3}, ""),
    "no cwd": ("mkdir gone; cd gone; rmdir ../gone;", "", {0}, ""),
    "no cwd for a crawl": (
        "mkdir gone; cd gone; rmdir ../gone;",
        "-O crawl",
        {3},
        "error: crawl: No such file or directory",
    ),
    "long name": ("", f"-O {'x' * 300}", {3}, "File name too long"),
    "no home": ("unset HOME;", "", {0}, ""),
    "home is a file": ("export HOME=/dev/null;", "", {0}, ""),
    "no TMPDIR": ("export TMPDIR=/nonexistent;", "", {0}, ""),
    "C": ("export LC_ALL=C LANG=C;", "", {0}, ""),
    "POSIX": ("export LC_ALL=POSIX PYTHONUTF8=0 PYTHONCOERCECLOCALE=0;", "", {0}, ""),
    "dumb": ("export TERM=dumb;", "", {0}, ""),
    "optimised": ("export PYTHONOPTIMIZE=2;", "", {0}, ""),
    "warnings": ("export PYTHONWARNINGS=error;", "", {0}, ""),
    "safe path": ("export PYTHONSAFEPATH=1;", "", {0}, ""),
    "hang up ignored": ("trap '' HUP;", "", {0}, ""),
}


ALWAYS = {
    "all closed", "stdout full", "24 files", "300 MB", "no cwd", "POSIX", "5 s of CPU", "long name",
}  # fmt: skip
"""The others take a process and a second each: `make test-surroundings`."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.slow) for name in SURROUNDINGS],
)
async def test_a_crawl_works_or_says_in_one_line_why_not(
    name: str, website: Open, tmp_path: Path
) -> None:
    site = await website({"/": page(links=["/a"]), "/a": page()})
    before, after, codes, words = SURROUNDINGS[name]
    folder = tmp_path / "crawl"
    ended = await shell(
        f"set -o pipefail; {before} {CRAWLER} crawl {site.url} -O {folder} --fast --processes 1 "
        f"--warc --save all --text --no-color {after}",
        tmp_path,
    )
    assert ended.code in codes, ended
    assert words in ended.said
    assert "Traceback" not in ended.said
    assert "bug" not in ended.said
    if ended.code == 3:
        assert ended.said.count("crawler: error: ") == 1
    if ended.code == 0:
        assert site.hits["/a"] == 1
    assert not list(tmp_path.glob("core*"))


async def test_few_file_descriptors_cost_no_link(website: Open, tmp_path: Path) -> None:
    """More connections than descriptors would fail links that are there."""
    leaves = {f"/{number}": page() for number in range(200)}
    site = await website(*[{"/": page(), **leaves}] * 8)
    links = [f"{origin}/{number}" for origin in site.origins for number in range(25)]
    site.put("/", page(links=links))
    command = f"crawl {site.url} -O crawl --scope any --fast --private any --retries 0 --no-color"
    ended = await shell(f"ulimit -n 64; {CRAWLER} {command} --processes 2", tmp_path)
    assert ended.code == 0, ended
    assert "64 files may be open (ulimit -n): 5 connections at a time" in ended.said
    assert {line["outcome"] for line in records(tmp_path / "crawl")} == {"done"}


async def test_a_folder_whose_name_is_no_text_is_one_like_any_other(
    website: Open, tmp_path: Path
) -> None:
    site = await website({"/": page(links=["/a"]), "/a": page()})
    for command in (
        f"crawl {site.url} -O $D --fast --processes 1 --warc --mirror --text --save all",
        "resume $D --json", "status $D --json", "report $D", f"why $D {site.url}", "retry $D",
        "export links $D",
    ):  # fmt: skip
        ended = await shell(f"D=$(printf 'a\\377b'); {CRAWLER} {command}", tmp_path)
        assert ended.code == 0, ended
        assert "Traceback" not in ended.said
    ended = await shell(
        f"D=$(printf 'a\\377c'); {CRAWLER} crawl {site.url} -O $D --fast --loops 2", tmp_path
    )
    assert ended.code in {0, 2}, ended  # 2: no server for several loops, or it says what is wrong
    assert "bug" not in ended.said


async def test_nothing_is_imported_from_the_working_directory(
    website: Open, tmp_path: Path
) -> None:
    """A downloaded `ctypes.py` would run with the rights of the crawl."""
    site = await website({"/": page(links=["/a"]), "/a": page()})
    (tmp_path / "crawler").mkdir()
    for name in ("ctypes.py", "json.py", "crawler/__init__.py", "selectors.py", "signal.py"):
        (tmp_path / name).write_text("open('imported', 'a').write(__file__)\nraise SystemExit(9)\n")
    folder = tmp_path / "out"
    script = "import sys; from crawler.cli.main import main; sys.argv[0] = 'crawler'; main()"
    ended = await shell(
        f'{sys.executable} -P -c "{script}" crawl {site.url} -O {folder} --fast --processes 1',
        tmp_path,
    )
    assert ended.code == 0, ended
    assert not (tmp_path / "imported").exists()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs to mount")
@pytest.mark.parametrize(
    "mounts",
    [
        "mount -t tmpfs -o ro,size=4k tmpfs /dev/shm",
        pytest.param("mount -t tmpfs tmpfs /dev", marks=pytest.mark.slow),
        pytest.param("mount -t tmpfs tmpfs /proc", marks=pytest.mark.slow),
        pytest.param("mount -t tmpfs tmpfs /sys", marks=pytest.mark.slow),
    ],
)
async def test_a_crawl_needs_no_file_system_but_its_own(
    mounts: str, website: Open, tmp_path: Path
) -> None:
    if (await shell("unshare -m true", tmp_path)).code:
        pytest.skip("no mount namespace here")
    site = await website({"/": page(links=["/a"]), "/a": page()})
    command = f"{CRAWLER} crawl {site.url} -O {tmp_path}/crawl --fast --processes 1"
    ended = await shell(f"unshare -m bash -c '{mounts}; {command}'", tmp_path)
    assert ended.code == 0, ended
    assert "Traceback" not in ended.said
    assert site.hits["/a"] == 1
