"""Kill the crawl at any instant, as often as you like: the records are those of an undisturbed run.

The small version runs always; `make test-kill` runs the full one. A run is killed with SIGKILL at a
random moment, some of them twice, some by killing a parse process, some exactly between the write
of a group and its commit, some right after it (`SUICIDE` ends the process from inside).
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from helpers.crawling import by_path

from crawler.demo.process import DemoWeb

PAGES = 400
VARYING = {
    "fetched_at",
    "ttfb_ms",
    "fetch_ms",
    "parse_ms",
    "via",
    "depth",
    "attempts",
    "ip",
    "hops",
    "duplicate_of",
}
"""What may differ between two runs: times, which of several ways led to a page first, and which of
several equal pages was first."""

SUICIDE = """
import os, signal, sys
from crawler.frontier.sqlite.store import Store

settle, left = Store.settle, int(sys.argv.pop(1))
before = sys.argv.pop(1) == "before"

def dying(self, visits, marks, now, *more):
    global left
    left -= 1
    if left <= 0 and before:
        os.kill(os.getpid(), signal.SIGKILL)
    news = settle(self, visits, marks, now, *more)
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return news

Store.settle = dying
from crawler.cli.main import main
main()
"""


def command(*args: str, program: tuple[str, ...] = ("-m", "crawler")) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *program, *args],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def finish(process: subprocess.Popen[bytes]) -> int:
    _, errors = process.communicate(timeout=60)
    assert b"Traceback" not in errors, errors.decode()
    return process.returncode


def crawl_args(url: str, folder: Path) -> list[str]:
    return [
        "crawl", url, "-O", str(folder), "--fast", "-q", "-c", "16", "-s", "retry.base=0.05",
    ]  # fmt: skip


def what_matters(folder: Path) -> dict[str, dict[str, Any]]:
    """The records, but for what varies; of equal bodies exactly one is the first."""
    lines = list(by_path(folder).values())
    read = [one for one in lines if one["digest"] and one["bytes_body"]]
    firsts = Counter(one["digest"] for one in read if one["duplicate_of"] is None)
    assert firsts == Counter({one["digest"] for one in read})
    return {
        path: {key: value for key, value in record.items() if key not in VARYING}
        for path, record in by_path(folder).items()
    }


def descendants(pid: int) -> list[int]:
    """The processes below one, as /proc has them."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def parse_processes(pid: int) -> list[int]:
    """The fork server's children."""
    return sorted(set(descendants(pid)) - set(direct_children(pid)))


def direct_children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for_records(folder: Path, number: int, process: subprocess.Popen[bytes]) -> None:
    """Until so many lines are written, or the crawl has ended."""
    path = folder / "pages.jsonl"
    while process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= number:
            return
        time.sleep(0.005)


def resume_to_the_end(folder: Path) -> None:
    assert finish(command("resume", str(folder), "-q")) == 0


@pytest.fixture(scope="module")
def web() -> Any:
    with DemoWeb(pages=PAGES, size=3000, latency=0.002, broken=0.05, redirects=0.05) as web:
        yield web


@pytest.fixture(scope="module")
def undisturbed(web: DemoWeb, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("undisturbed") / "crawl"
    assert finish(command(*crawl_args(web.url, folder))) == 0
    records = what_matters(folder)
    assert len(records) > PAGES
    return records


def check(folder: Path, undisturbed: dict[str, Any]) -> None:
    assert what_matters(folder) == undisturbed
    with closing(sqlite3.connect(folder / "frontier.db")) as db, db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (mark,) = db.execute("SELECT length FROM mark WHERE sink = 'pages.jsonl'").fetchone()
    db.close()
    assert mark == (folder / "pages.jsonl").stat().st_size


def kill_somewhere(
    web: DemoWeb, folder: Path, dice: random.Random, *, times: int, children: bool
) -> int:
    """Start a crawl and kill it at random moments; how often it was really alive to be killed."""
    killed = 0
    process = command(*crawl_args(web.url, folder))
    for _ in range(times):
        wait_for_records(folder, dice.randrange(PAGES), process)
        time.sleep(dice.random() * 0.02)
        if process.poll() is not None:
            break
        if children:
            below = parse_processes(process.pid)
            if below:
                os.kill(dice.choice(below), signal.SIGKILL)
                killed += 1
        else:
            process.send_signal(signal.SIGKILL)
            killed += 1
        if not children:
            process.communicate()
            if not (folder / "crawl.toml").exists():
                process = command(*crawl_args(web.url, folder), "--fresh")
            else:
                process = command("resume", str(folder), "-q")
    finish(process)
    return killed


def test_killed_at_a_random_instant(
    web: DemoWeb, undisturbed: dict[str, Any], tmp_path: Path, record_property: Any
) -> None:
    seed = random.randrange(10**6)
    record_property("seed", seed)
    folder = tmp_path / "crawl"
    kill_somewhere(web, folder, random.Random(seed), times=2, children=False)
    resume_to_the_end(folder)
    check(folder, undisturbed)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_the_commit(
    web: DemoWeb, undisturbed: dict[str, Any], tmp_path: Path, moment: str
) -> None:
    folder = tmp_path / "crawl"
    program = ("-c", SUICIDE, "4", moment)
    assert finish(command(*crawl_args(web.url, folder), program=program)) == -signal.SIGKILL
    program = ("-c", SUICIDE, "6", moment)
    finish(command("resume", str(folder), "-q", program=program))
    resume_to_the_end(folder)
    check(folder, undisturbed)


def test_a_killed_parse_process_costs_no_page(
    web: DemoWeb, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "crawl"
    kill_somewhere(web, folder, random.Random(1), times=2, children=True)
    resume_to_the_end(folder)
    check(folder, undisturbed)


def test_nothing_is_left_running_when_the_crawl_is_killed(web: DemoWeb, tmp_path: Path) -> None:
    folder = tmp_path / "crawl"
    process = command(*crawl_args(web.url, folder))
    wait_for_records(folder, 20, process)
    below = descendants(process.pid)
    assert below
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in below):
        assert time.monotonic() < deadline, "the parse processes outlived the crawl"
        time.sleep(0.02)


def test_a_torn_line_is_healed(web: DemoWeb, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "crawl"
    process = command(*crawl_args(web.url, folder))
    wait_for_records(folder, 50, process)
    process.kill()
    process.communicate()
    with (folder / "pages.jsonl").open("ab") as file:
        file.write(b'{"url": "http://torn')
    resume_to_the_end(folder)
    check(folder, undisturbed)


def test_records_are_json_that_others_can_read(undisturbed: dict[str, Any]) -> None:
    assert json.loads(json.dumps(undisturbed)) == undisturbed


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_forty_kills(web: DemoWeb, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    """At least 30 runs killed for sure; every third twice, every fourth by its children too."""
    dice = random.Random(int(os.environ.get("KILL_SEED", "2026")))
    killed = runs = 0
    while killed < 40:
        folder = tmp_path / f"run{runs}"
        kind = runs % 4
        if kind == 3:
            killed += kill_somewhere(web, folder, dice, times=2, children=True) > 0
        elif kind == 2:
            moment = dice.choice(["before", "after"])
            program = ("-c", SUICIDE, str(dice.randrange(1, 30)), moment)
            code = finish(command(*crawl_args(web.url, folder), program=program))
            killed += code == -signal.SIGKILL
        else:
            times = 2 if runs % 3 == 0 else 1
            killed += kill_somewhere(web, folder, dice, times=times, children=False) > 0
        if (folder / "crawl.toml").exists():
            resume_to_the_end(folder)
        else:
            finish(command(*crawl_args(web.url, folder), "--fresh"))
        check(folder, undisturbed)
        runs += 1
    sys.stderr.write(f"{killed} of {runs} runs killed\n")
