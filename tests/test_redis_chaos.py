"""Workers and Redis killed and stopped in the middle: nothing lost, nothing twice, nobody hurried.

The small version runs always; `make test-chaos` runs the full one.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from manners import Exchange, Owed, complaints
from redis_server import RedisServer, servers

from crawler.bench.demo import DemoWeb
from crawler.export.merge import merge

SETTINGS = (
    "--scope", "any", "--delay", "0.02", "--per-host", "1", "--contact", "test@example.com",
    "-s", "fetch.allow_networks=127.0.0.0/8", "--processes", "1",
)  # fmt: skip


class Crew:
    """Workers of one job, each in a folder of its own."""

    def __init__(self, folder: Path, url: str, lease: float) -> None:
        self.folder = folder
        self.alive: list[subprocess.Popen[bytes]] = []
        self._where = ("--frontier", url, "--job", "chaos", "-s", f"frontier.lease={lease}")
        self._number = 0

    def begin(self, seed: str) -> None:
        self._start("crawl", seed, *SETTINGS, "-s", "frontier.crashes=0")

    def join(self) -> None:
        self._start("worker")

    def _start(self, *words: str) -> None:
        self._number += 1
        folder = self.folder / f"worker-{self._number}"
        log = (self.folder / f"log-{self._number}").open("wb")
        self.alive.append(
            subprocess.Popen(
                [sys.executable, "-m", "crawler", *words, *self._where, "-O", str(folder)],
                stdout=log, stderr=log,
            )
        )  # fmt: skip
        log.close()

    def kill(self, number: int) -> float:
        """kill -9; when."""
        child = self.alive.pop(number)
        child.send_signal(signal.SIGKILL)
        child.wait()
        return time.time()

    def finish(self, seconds: float) -> None:
        """Every worker that was not killed ends by itself, and well."""
        deadline = time.monotonic() + seconds
        for child in self.alive:
            code = child.wait(max(1.0, deadline - time.monotonic()))
            assert code == 0, self.logs()

    def records(self) -> int:
        return sum(path.read_bytes().count(b"\n") for path in self.folder.glob("*/pages.jsonl"))

    def wait_for(self, records: int, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while self.records() < records:
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.02)

    def logs(self) -> str:
        logs = sorted(self.folder.glob("log-*"))
        return "\n".join(f"{one.name}: {one.read_text()[-1500:]}" for one in logs)


@contextmanager
def crew_of(folder: Path, url: str, lease: float) -> Iterator[Crew]:
    crew = Crew(folder, url, lease)
    try:
        yield crew
    finally:
        for child in crew.alive:
            if child.poll() is None:
                child.kill()
                child.wait()


def chaos(
    tmp_path: Path, *, pages: int, hosts: int, workers: int, blows: int, lease: float
) -> None:
    if not servers():
        pytest.skip("no Redis or Valkey on this machine")
    program = list(servers().values())[-1]
    dice = random.Random(int(os.environ.get("CHAOS_SEED", "2026")))
    log = tmp_path / "web.log"
    kills: list[float] = []
    web = DemoWeb(pages=pages, hosts=hosts, log=log, broken=0.0)
    with web, RedisServer(program) as server, crew_of(tmp_path, server.url, lease) as crew:
        crew.begin(web.url)
        crew.wait_for(1)
        for _ in range(workers - 1):
            crew.join()
        for blow in range(blows):
            crew.wait_for((blow + 1) * pages // (blows + 2), 600.0)
            kind = blow % 3
            if kind == 0:
                kills.append(crew.kill(dice.randrange(len(crew.alive))))
                crew.join()
            elif kind == 1:
                child = dice.choice(crew.alive)
                child.send_signal(signal.SIGSTOP)
                time.sleep(2 * lease)  # longer than a lease: its links go to others
                child.send_signal(signal.SIGCONT)
            else:
                server.kill()
                server.start()
        crew.finish(120.0 if pages < 10_000 else 3000.0)
        numbers = ("queued", "leased", "resting")
        left = [server.say("HGET", "crawler:{0}:chaos:st", name) for name in numbers]
        origins = web.web
    merged = merge(tmp_path / "out", [str(tmp_path)])
    lines = (tmp_path / "out" / "pages.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    times = Counter(one["url"] for one in found)
    assert max(times.values()) == 1, "a URL is there twice"
    got = {one["url"] for one in found if one["kind"] == "page" and one["outcome"] == "done"}
    wanted = {origins.url(number) for number in range(pages)}
    assert wanted <= got, f"{len(wanted - got)} pages were lost\n{crew.logs()}"
    assert set(left) <= {b"$1\r\n0\r\n", b"$-1\r\n"}, f"not finished: {left}"
    polite(log, kills)
    sys.stderr.write(f"{merged.records} records, {merged.repeated} repeated, {len(kills)} kills\n")


def polite(log: Path, kills: list[float]) -> None:
    """By the web's own log: one request at a time, and the pause after each."""
    exchanges = [exchange(json.loads(line)) for line in log.read_text().splitlines()]
    owed = {one.host: Owed(1, 0.018) for one in exchanges}  # its clock is read in milliseconds
    wrong = list(complaints(exchanges, owed, kills))
    assert not wrong, wrong[:5]


def exchange(line: dict[str, Any]) -> Exchange:
    return Exchange(line["host"], line["time"], line["time"])


@pytest.mark.timeout(150)
def test_chaos_in_small(tmp_path: Path) -> None:
    chaos(tmp_path, pages=400, hosts=40, workers=3, blows=3, lease=1.0)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_chaos(tmp_path: Path) -> None:
    chaos(tmp_path, pages=50_000, hosts=250, workers=4, blows=18, lease=3.0)


def test_a_crawl_moves_from_its_folder_to_many_machines(tmp_path: Path) -> None:
    """Begun on SQLite, stopped in the middle, finished by workers: each page once."""
    if not servers():
        pytest.skip("no Redis or Valkey on this machine")

    def run(*words: str) -> int:
        return subprocess.run(
            [sys.executable, "-m", "crawler", *words, "-q"], check=False
        ).returncode

    program = list(servers().values())[-1]
    with DemoWeb(pages=200, hosts=20) as web, RedisServer(program) as server:
        begun = str(tmp_path / "begun")
        assert run("crawl", web.url, *SETTINGS, "-O", begun, "--max-pages", "60") == 0
        config = tmp_path / "begun" / "crawl.toml"
        config.write_text(config.read_text().replace("max_pages = 60\n", ""))
        where = ("--frontier", server.url, "--job", "moved")
        moved = [sys.executable, "-m", "crawler", "frontier", "import", begun, *where]
        said = subprocess.run(moved, check=True, capture_output=True, text=True).stdout
        assert "crawler worker" in said
        assert run("resume", begun) == 2, "it lies elsewhere now"
        assert run("worker", *where, "-O", str(tmp_path / "next")) == 0
        wanted = {web.web.url(number) for number in range(200)}
    merged = merge(tmp_path / "out", [begun, str(tmp_path / "next")])
    assert merged.repeated == 0
    lines = [json.loads(x) for x in (tmp_path / "out" / "pages.jsonl").read_text().splitlines()]
    assert {one["url"] for one in lines if one["kind"] == "page"} >= wanted
    assert len({one["url"] for one in lines}) == len(lines)
