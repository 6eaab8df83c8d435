"""A crawl moves between one machine and many, in the middle, both ways."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from helpers.redis_server import a_server
from helpers.warc_checks import check

from crawler.demo.process import DemoWeb
from crawler.export.warc_reader import WarcReader

SETTINGS = (
    "--scope", "any", "--delay", "0.02", "--per-host", "1", "--contact", "test@example.com",
    "-s", "fetch.allow_networks=127.0.0.0/8", "--processes", "1",
)  # fmt: skip

TRAP = "trap:calendar"
"""Why a link is parked."""


def crawler(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crawler", *words], check=False, capture_output=True, text=True
    )


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "pages.jsonl").read_text().splitlines()]


@pytest.mark.timeout(120)
def test_a_crawl_on_many_machines_goes_on_in_one_folder(tmp_path: Path) -> None:
    """Two workers' shares of three shards, stopped in the middle, one killed: each page once."""
    web = DemoWeb(pages=300, hosts=10, broken=0.0)
    with web, a_server() as server, ExitStack() as crew:
        server.say("SET", "crawler:shards", "3")
        where = ("--frontier", server.url, "--job", "home")
        begin = (
            "crawl", web.url, *SETTINGS, "--delay", "0.1", "-s", "frontier.lease=1", "--warc",
        )  # fmt: skip
        shares = [tmp_path / "w1", tmp_path / "w2"]

        def start(share: Path, *words: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "crawler", *words, *where, "-O", str(share), "-q"]
            child = crew.enter_context(subprocess.Popen(command, stderr=subprocess.DEVNULL))
            crew.callback(child.kill)
            return child

        def paused(number: str) -> None:
            for shard in range(3):
                server.say("FCALL", "crawler1_pause", "1", f"crawler:{{{shard}}}:", "home", number)

        killed = start(shares[0], *begin)
        wait_for(lambda: written(shares[0]))
        paused("1")  # until both are there
        stopped = start(shares[1], "worker")
        wait_for(lambda: server.say("KEYS", "crawler:worker:home:*").startswith(b"*2"))
        paused("0")
        wait_for(lambda: written(shares[1]) > 5)
        killed.kill()  # what it wrote and did not settle is left out
        stopped.send_signal(signal.SIGTERM)
        assert (killed.wait(), stopped.wait(60)) == (-signal.SIGKILL, 11)
        out = tmp_path / "one"
        time.sleep(1.1)  # the leases of the dead end: only time does that
        said = crawler("frontier", "export", str(out), *map(str, shares), *where)
        assert said.returncode == 0, said.stderr
        with closing(sqlite3.connect(out / "frontier.db")) as db:
            waiting = db.execute("SELECT count(*) FROM link WHERE state < 2").fetchone()[0]
        assert waiting > 0
        assert crawler("resume", str(out), "-q").returncode == 0
        wanted = {web.web.url(number) for number in range(300)}
    lines = records(out)
    assert {one["url"] for one in lines if one["kind"] == "page"} == wanted
    assert len({one["url"] for one in lines}) == len(lines)
    check(out)
    with WarcReader(out) as archive:
        assert {one.url for one in archive.captures.every()} >= wanted, "of all three runs"


def written(share: Path) -> int:
    """Records so far."""
    pages = share / "pages.jsonl"
    return pages.read_bytes().count(b"\n") if pages.exists() else 0


def wait_for(true: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("shards", [1, 4])
def test_there_and_back_is_the_same_queue(tmp_path: Path, shards: int) -> None:
    """Links, order, attempts, dues, rests, what is parked, robots.txt files and paces survive both
    moves.
    """
    asked = (
        "SELECT url, host.name, kind, depth, hops, "
        "CASE WHEN state IN (0, 1, 8) THEN rank END, state, "
        "CASE WHEN state < 2 THEN attempt END, cookie, CASE WHEN state > 1 THEN reason END, "
        "digest, "
        "(SELECT url FROM link AS up WHERE up.id = link.via), "
        "(SELECT url FROM link AS up WHERE up.id = link.twin) "
        "FROM link JOIN host ON host.id = link.host WHERE state IN (0, 1, 2, 3, 5, 6, 8) "
        "ORDER BY host.name, state, rank, CASE WHEN state = 0 THEN link.id END, url"
    )
    with DemoWeb(pages=200, hosts=5, broken=0.1) as web, a_server() as server:
        begun, out = tmp_path / "begun", tmp_path / "back"
        limits = ("--max-pages", "60", "--max-depth", "9")
        assert crawler("crawl", web.url, *SETTINGS, *limits, "-O", str(begun), "-q").returncode == 0
        with closing(sqlite3.connect(begun / "frontier.db")) as db:
            soon = time.time() + 5000
            first = "(SELECT id FROM link WHERE state = 0 ORDER BY id DESC LIMIT 1)"
            db.execute(f"UPDATE link SET state = 1, attempt = 2, due = {soon} WHERE id = {first}")
            parked = "(SELECT id FROM link WHERE state = 0 ORDER BY id DESC LIMIT 3)"
            db.execute(f"UPDATE link SET state = 8, reason = ? WHERE id IN {parked}", (TRAP,))
            db.execute("UPDATE host SET rest_until = ? WHERE id = 2", (soon,))
            db.execute("INSERT OR REPLACE INTO pace SELECT name, 3.5, 2, 1, ? FROM host "
                       "WHERE id = 3", (soon,))  # fmt: skip
            db.commit()
            before = db.execute(asked).fetchall()
            robots = db.execute("SELECT * FROM robots ORDER BY origin").fetchall()
            due = db.execute("SELECT due FROM link WHERE state = 1 AND attempt = 2").fetchone()[0]
        assert sum(row[6] == 8 for row in before) == 3
        server.say("SET", "crawler:shards", str(shards))
        where = ("--frontier", server.url, "--job", "there")
        moved = crawler("frontier", "import", str(begun), *where)
        assert moved.returncode == 0, moved.stderr
        said = crawler("frontier", "export", str(out), str(begun), *where)
        assert said.returncode == 0, said.stderr
        again = crawler("frontier", "export", str(out), str(begun), *where)
        assert again.returncode == 3, again.stderr
        assert "already holds a crawl" in again.stderr
    with closing(sqlite3.connect(out / "frontier.db")) as db:
        after = db.execute(asked).fetchall()
        names = [row[2:] for row in robots]
        assert [r[2:] for r in db.execute("SELECT * FROM robots ORDER BY origin")] == names
        back = db.execute("SELECT due FROM link WHERE state = 1 AND attempt = 2").fetchone()
        rests = dict(db.execute("SELECT name, rest_until FROM host").fetchall())
        paces = {row[0]: row[1:] for row in db.execute("SELECT * FROM pace")}
        version = db.execute("PRAGMA integrity_check").fetchone()[0]
    assert after == before
    assert back is not None
    assert abs(back[0] - due) < 5
    assert sum(abs(rest - soon) < 5 for rest in rests.values()) >= 1
    assert any(row[:3] == (3.5, 2, 1) for row in paces.values()), paces
    assert version == "ok"


def test_export_wants_all_workers_folders(tmp_path: Path) -> None:
    with DemoWeb(pages=20, hosts=2, broken=0.0) as web, a_server() as server:
        where = ("--frontier", server.url, "--job", "part")
        share, other = tmp_path / "w1", tmp_path / "w2"
        words = ("crawl", web.url, *SETTINGS, *where, "-O", str(share), "-q")
        assert crawler(*words).returncode == 0
        other.mkdir()
        (other / "pages.jsonl").write_bytes(b"")
        said = crawler("frontier", "export", str(tmp_path / "out"), str(other), *where)
        why = crawler("why", str(share), web.url)
    assert said.returncode == 2
    assert "name the folders of all workers" in said.stderr
    assert not (tmp_path / "out" / "frontier.db").exists()
    assert why.returncode == 2
    assert "brings it home" in why.stderr
