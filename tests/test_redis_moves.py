"""A crawl moves between one machine and many, in the middle, both ways."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from redis_server import a_server

from crawler.bench.demo import DemoWeb

SETTINGS = (
    "--scope", "any", "--delay", "0.02", "--per-host", "1", "--contact", "test@example.com",
    "-s", "fetch.allow_networks=127.0.0.0/8", "--processes", "1",
)  # fmt: skip


def crawler(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crawler", *words], check=False, capture_output=True, text=True
    )


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "pages.jsonl").read_text().splitlines()]


@pytest.mark.timeout(120)
def test_a_crawl_on_many_machines_goes_on_in_one_folder(tmp_path: Path) -> None:
    """Stopped in the middle, one of its workers killed: each page once in the end."""
    with DemoWeb(pages=300, hosts=10, broken=0.0) as web, a_server() as server:
        where = ("--frontier", server.url, "--job", "home")
        begin = ["crawl", web.url, *SETTINGS, *where, "-s", "frontier.lease=1", "-O"]
        shares = [tmp_path / "w1", tmp_path / "w2"]
        crew = [
            subprocess.Popen(
                [sys.executable, "-m", "crawler", *words, str(share), "-q"],
                stderr=subprocess.DEVNULL,
            )
            for words, share in [(begin, shares[0])]
        ]
        deadline = time.monotonic() + 60
        while b"$2" not in server.say("HGET", "crawler:{0}:home:st", "done")[:2]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        crew[0].send_signal(signal.SIGKILL)  # what it wrote and did not settle is left out
        crew[0].wait()
        out = tmp_path / "one"
        time.sleep(1.1)  # its leases end: only time does that
        said = crawler("frontier", "export", str(out), *map(str, shares[:1]), *where)
        assert said.returncode == 0, said.stderr
        with closing(sqlite3.connect(out / "frontier.db")) as db:
            waiting = db.execute("SELECT count(*) FROM link WHERE state < 2").fetchone()[0]
        assert waiting > 0
        assert crawler("resume", str(out), "-q").returncode == 0
        wanted = {web.web.url(number) for number in range(300)}
    lines = records(out)
    assert {one["url"] for one in lines if one["kind"] == "page"} == wanted
    assert len({one["url"] for one in lines}) == len(lines)


@pytest.mark.timeout(120)
def test_there_and_back_is_the_same_queue(tmp_path: Path) -> None:
    """Links, order, attempts, dues, rests, robots.txt files and paces survive both moves."""
    asked = (
        "SELECT url, host.name, kind, depth, hops, CASE WHEN state < 2 THEN rank END, state, "
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
            db.execute("UPDATE host SET rest_until = ? WHERE id = 2", (soon,))
            db.execute("INSERT OR REPLACE INTO pace SELECT name, 3.5, 2, 1, ? FROM host "
                       "WHERE id = 3", (soon,))  # fmt: skip
            db.commit()
            before = db.execute(asked).fetchall()
            robots = db.execute("SELECT * FROM robots ORDER BY origin").fetchall()
            due = db.execute("SELECT due FROM link WHERE state = 1 AND attempt = 2").fetchone()[0]
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
