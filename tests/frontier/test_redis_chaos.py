"""Workers and Redis killed, stopped, cut off, their clocks set: nothing lost, nothing twice, and no
site hurried.

The small version runs always; `make test-chaos` runs the full one.
"""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.request import urlopen

import pytest
from helpers.manners import Exchange, Owed, complaints
from helpers.namespace import PORT, Namespace
from helpers.places import TESTS
from helpers.redis_server import RedisServer, a_server, servers
from helpers.strait import Strait

from crawler.demo.process import DemoWeb
from crawler.export.merge_crawls import merge

DELAY = 0.02
"""Seconds between two requests of a host; `--per-host 1`."""

TICK = 0.001
"""Seconds: Redis reads its clock in whole milliseconds, twice for each pause."""

LATENCY = 0.02
"""Seconds that the web takes for an answer: two requests at once are two that overlap."""

SETTINGS = (
    "--scope", "any", "--delay", str(DELAY), "--per-host", "1", "--contact", "test@example.com",
    "-s", "fetch.allow_networks=127.0.0.0/8", "--processes", "1",
)  # fmt: skip

KEPT = ("--appendfsync", "no")
"""What the server answers is in the kernel's hands, so that kill -9 loses nothing of it. With
`everysec` that is not so while an fsync takes long, as on a busy disk: decision 82.
"""

HOOKS = TESTS / "hooks"
DAY = 86_400.0


class Way(Protocol):
    """A worker's own way to Redis, that can be cut."""

    url: str

    def part(self) -> None: ...
    def heal(self) -> None: ...


Ways = Callable[[], AbstractContextManager[Way]]
Network = Callable[[], AbstractContextManager[tuple[RedisServer, Ways]]]


class Worker:
    """A process, its own way to Redis, and the file that says how far its clock is off."""

    def __init__(self, child: subprocess.Popen[bytes], way: Way, clock: Path) -> None:
        self.child = child
        self.way = way
        self._clock = clock

    def jump(self, seconds: float) -> None:
        """Set its clock, forwards or backwards."""
        with self._clock.open("r+b") as file:
            file.write(struct.pack("d", seconds))


class Crew:
    """Workers of one job, each in a folder of its own."""

    def __init__(self, folder: Path, ways: Ways, lease: float, stack: ExitStack) -> None:
        self.folder = folder
        self.alive: list[Worker] = []
        self._stack = stack
        self._ways = ways
        self._where = ("--job", "chaos", "-s", f"frontier.lease={lease}")
        self._number = 0
        self._counted: dict[Path, tuple[int, int]] = {}

    def begin(self, seed: str) -> None:
        self._start("crawl", seed, *SETTINGS, "-s", "frontier.crashes=0")

    def join(self, **hooks: str) -> None:
        self._start("worker", **hooks)

    def _start(self, *words: str, **hooks: str) -> None:
        self._number += 1
        folder = self.folder / f"worker-{self._number}"
        log = (self.folder / f"log-{self._number}").open("wb")
        clock = self.folder / f"clock-{self._number}"
        clock.write_bytes(struct.pack("d", 0.0))
        way = self._stack.enter_context(self._ways())
        where = ("--frontier", way.url, *self._where, "-O", str(folder))
        child = subprocess.Popen(
            [sys.executable, "-m", "crawler", *words, *where],
            stdout=log, stderr=log,
            env={**os.environ, "PYTHONPATH": str(HOOKS), "CLOCK": str(clock), **hooks},
        )  # fmt: skip
        log.close()
        self.alive.append(Worker(child, way, clock))

    def kill(self, number: int) -> None:
        """kill -9."""
        child = self.alive.pop(number).child
        child.send_signal(signal.SIGKILL)
        child.wait()

    def finish(self, seconds: float) -> None:
        """Every worker that was not killed ends by itself, and well."""
        deadline = time.monotonic() + seconds
        for worker in self.alive:
            code = worker.child.wait(max(1.0, deadline - time.monotonic()))
            assert code == 0, self.logs()

    def records(self) -> int:
        for path in self.folder.glob("*/pages.jsonl"):
            at, lines = self._counted.get(path, (0, 0))
            with path.open("rb") as file:
                file.seek(at)
                data = file.read()
            self._counted[path] = at + len(data), lines + data.count(b"\n")
        return sum(lines for _, lines in self._counted.values())

    def wait_for(self, records: int, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while self.records() < records:
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.05)

    def logs(self) -> str:
        logs = sorted(self.folder.glob("log-*"))
        return "\n".join(f"{one.name}: {one.read_text()[-1500:]}" for one in logs)


@contextmanager
def crew_of(folder: Path, ways: Ways, lease: float) -> Iterator[Crew]:
    with ExitStack() as stack:
        crew = Crew(folder, ways, lease, stack)
        try:
            yield crew
        finally:
            for worker in crew.alive:
                if worker.child.poll() is None:
                    worker.child.kill()
                    worker.child.wait()


@contextmanager
def by_strait() -> Iterator[tuple[RedisServer, Ways]]:
    """A Redis, and relays to it that hold back what is sent."""
    with a_server(*KEPT) as server:
        yield server, partial(Strait, server.socket)


@contextmanager
def by_cable() -> Iterator[tuple[RedisServer, Ways]]:
    """A Redis in a network of its own, and cables to it that lose packets."""
    if not servers():
        pytest.skip("no Redis or Valkey on this machine")
    open_ = ("--bind", "0.0.0.0", "--protected-mode", "no", *KEPT)
    with Namespace() as there:
        program = list(servers().values())[-1]
        with RedisServer(program, *open_, port=PORT, within=there.within) as server:
            yield server, there.cable


def chaos(
    tmp_path: Path,
    *,
    pages: int,
    hosts: int,
    workers: int,
    blows: int,
    lease: float,
    network: Network = by_strait,
) -> None:
    dice = random.Random(int(os.environ.get("CHAOS_SEED", "2026")))
    log = tmp_path / "web.log"
    kills = 0
    web = DemoWeb(pages=pages, hosts=hosts, log=log, broken=0.0, latency=LATENCY)
    with web, network() as (server, ways), crew_of(tmp_path, ways, lease) as crew:
        crew.begin(web.url)
        crew.wait_for(1)
        for _ in range(workers - 1):
            crew.join()
        for blow in range(blows):
            crew.wait_for((blow + 1) * pages // (blows + 2), 600.0)
            kind = blow % 5
            if kind == 0:
                crew.kill(dice.randrange(len(crew.alive)))
                kills += 1
                crew.join()
            elif kind == 1:
                child = dice.choice(crew.alive).child
                child.send_signal(signal.SIGSTOP)
                time.sleep(2 * lease)  # longer than a lease: its links go to others
                child.send_signal(signal.SIGCONT)
            elif kind == 2:
                way = dice.choice(crew.alive).way
                way.part()
                time.sleep(2 * lease)
                way.heal()
            elif kind == 3:
                dice.choice(crew.alive).jump(dice.choice([-DAY, -1.0, lease, DAY]))
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
    polite(log)
    sys.stderr.write(f"{merged.records} records, {merged.repeated} repeated, {kills} kills\n")


def polite(log: Path) -> None:
    """By the web's own log and one clock: one request of a host at a time, and the pause after it.

    What comes late on the wire cannot make a polite crew look rude: a request leaves when the pause
    after the last answer's arrival is over, and that answer was logged before it was sent, so the
    gap that is logged is the pause and both ways. It holds for the dead too: the web logs a request
    whose asker went away, until then, and nobody asks the host before the lease ends.
    """
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    exchanges = [Exchange(line["host"], line["came"], line["time"]) for line in lines]
    owed = {one.host: Owed(1, DELAY - TICK) for one in exchanges}
    wrong = list(complaints(exchanges, owed))
    assert not wrong, wrong[:5]


def test_the_log_shows_who_is_hurried(tmp_path: Path) -> None:
    """Two askers of a host at once, and one that does not wait: both are seen in the web's log."""

    def ask(web: DemoWeb, times: int) -> None:
        for _ in range(times):
            with urlopen(web.url) as answer:
                answer.read()

    for askers, times, said in ((2, 1, "2 at once"), (1, 2, "not 0.019 s")):
        log = tmp_path / f"{askers}.log"
        with DemoWeb(pages=1, log=log, latency=0.3) as web:
            threads = [threading.Thread(target=ask, args=(web, times)) for _ in range(askers)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        with pytest.raises(AssertionError, match=said):
            polite(log)


@pytest.mark.timeout(150)
def test_chaos_in_small(tmp_path: Path) -> None:
    chaos(tmp_path, pages=400, hosts=40, workers=3, blows=5, lease=1.0)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("network", [by_strait, by_cable])
def test_chaos(tmp_path: Path, network: Network) -> None:
    chaos(tmp_path, pages=50_000, hosts=300, workers=4, blows=30, lease=3.0, network=network)


@pytest.mark.timeout(90)
def test_a_stopped_worker_sends_nothing_that_is_no_longer_its(tmp_path: Path) -> None:
    """Stopped with a link on lease, its connection being made and nothing sent, until another
    worker visited that host: what it had leased is then asked for once, and not by it.
    """
    log = tmp_path / "web.log"
    web = DemoWeb(pages=300, hosts=6, log=log, broken=0.0, latency=LATENCY)
    # The other worker's own leases must not end while a loaded machine holds it up.
    with web, by_strait() as (server, ways), crew_of(tmp_path, ways, 3.0) as crew:
        crew.begin(web.url)
        crew.wait_for(1)
        pause = ("FCALL", "crawler1_pause", "1", "crawler:{0}:", "chaos")
        server.say(*pause, "1")
        crew.join(STOP_AT=web.url.rstrip("/").rpartition(":")[2])
        first, second = crew.alive
        deadline = time.monotonic() + 30
        while not server.say("KEYS", "crawler:worker:chaos:*").startswith(b"*2"):
            assert time.monotonic() < deadline, crew.logs()
            time.sleep(0.02)
        server.say(*pause, "0")
        os.waitid(os.P_PID, second.child.pid, os.WSTOPPED | os.WNOWAIT)
        assert first.child.wait(60) == 0, crew.logs()  # it did all there was, the other's too
        second.child.send_signal(signal.SIGCONT)
        crew.finish(60)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    asked = Counter((line["host"], line["path"]) for line in lines)
    assert len(asked) >= 300
    assert max(asked.values()) == 1, asked.most_common(3)
    polite(log)


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
