"""A process that is stopped, or a machine that sleeps, is no page's fault and no server's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
from helpers.website import Website, gate, page

from crawler.config.model import FetchConfig, ParseConfig, ScopeConfig, UrlsConfig
from crawler.engine import suspension
from crawler.engine.suspension import STOPPED, TRIES, SuspendAwareFetcher, SuspendDetector
from crawler.errors import FetchError, Insecure, LeaseLost, ParseError, TimedOut, Unreachable
from crawler.interfaces import FileFetcher
from crawler.parse.workers.countdown import GAP, Countdown, used
from crawler.parse.workers.pool import ParsePool
from crawler.parse.workers.reader_settings import ReaderSettings
from crawler.policy.scope import Scope
from crawler.policy.urls import Urls
from crawler.records import CrawlUrl, Page, ParsedPage, Timings

Open = Callable[..., Awaitable[Website]]
PATIENCE = 120.0


# ── what is counted ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("gap", "worked", "kept", "counted"),
    [
        (0.25, 0.0, 0.0, 0.25),  # it slept, and was woken for the look
        (0.25, 0.25, 0.0, 0.25),
        (0.25, 0.0625, 0.1875, 0.0625),  # three others wanted its CPU
        (0.25, 0.0, 3.0, 0.0),  # … and an earlier page's
        (8.0, 7.5, 0.5, 7.5),  # native code that computed for long
        (13.0, 0.01, 0.0, 0.25),  # it was stopped
        (13.0, 3.0, 0.0, 3.0),  # it computed, and was stopped
        (0.1, 0.2, 0.0, 0.1),  # threads
    ],
)
def test_what_counts_of_a_gap(gap: float, worked: float, kept: float, counted: float) -> None:
    assert used(gap, worked, kept, 0.25) == counted


RIVALS = """
import os, subprocess, sys, time
from crawler.parse.workers.countdown import kept_waiting
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
rival = subprocess.Popen([sys.executable, "-c", "while True: pass"])
before = kept_waiting()
while time.process_time() < 0.3 or kept_waiting() - before < 0.1: pass
rival.kill()
"""


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="Linux tells")
def test_the_system_tells_how_long_a_cpu_was_waited_for() -> None:
    """It ends: two processes that compute on one CPU wait for each other."""
    subprocess.run([sys.executable, "-c", RIVALS], check=True, timeout=PATIENCE)


class Clock:
    """A loop's clock and timers, moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        self.timers.append((self.now + delay, callback))
        return asyncio.TimerHandle(self.now + delay, callback, (), as_loop(self))

    def get_debug(self) -> bool:
        return False

    def run_until(self, moment: float, *, stopped: float = 0.0) -> None:
        """Let time pass; after `stopped` more seconds in which nothing ran, if there were any."""
        self.now += stopped
        while self.timers and min(self.timers, key=lambda one: one[0])[0] <= moment:
            first = min(self.timers, key=lambda one: one[0])
            self.timers.remove(first)
            self.now = max(self.now, first[0])
            first[1]()
        self.now = max(self.now, moment)


def as_loop(clock: Clock) -> asyncio.AbstractEventLoop:
    return cast("asyncio.AbstractEventLoop", clock)


def test_a_countdown_counts_the_seconds_in_which_the_loop_ran() -> None:
    clock, rang = Clock(), list[float]()
    countdown = Countdown(as_loop(clock), 6.0, lambda: rang.append(clock.now))
    clock.run_until(3.0)
    clock.run_until(20.0, stopped=17.0)
    assert not rang
    clock.run_until(30.0)
    assert rang
    assert 20.0 + 6.0 - 3.0 - GAP <= rang[0] <= 20.0 + 6.0 - 3.0
    assert countdown.expired


def test_a_countdown_that_nobody_stops_is_exact() -> None:
    clock, rang = Clock(), list[float]()
    Countdown(as_loop(clock), 2.5, lambda: rang.append(clock.now))
    clock.run_until(9.0)
    assert rang == [2.5]


# ── pages ────────────────────────────────────────────────────────────────────────────────────

PLUGIN = """
import os, time

def extract(page):
    log = os.path.join(os.path.dirname(__file__), "log")
    with open(log, "a") as file:
        file.write(page.url + "\\n")
    if "#first" in page.html and len(open(log).readlines()) > 1:
        return []
    time.sleep(0.5 if "#pause" in page.html else 1000)
    return []
"""


@contextlib.asynccontextmanager
async def reader(
    folder: Path, deadline: float
) -> AsyncIterator[tuple[ParsePool, Callable[[], int]]]:
    """A pool, and how often its plugin was called."""
    (folder / "slow.py").write_text(PLUGIN)
    config = ParseConfig(processes=1, deadline=deadline, plugins=(f"{folder / 'slow.py'}:extract",))
    scope = ScopeConfig()
    rules = ReaderSettings(
        Urls(UrlsConfig()), Scope(scope, ["http://a.test/"]), scope, config, FetchConfig()
    )
    async with asyncio.timeout(PATIENCE), ParsePool(rules, config) as pool:
        yield pool, lambda: (folder / "log").read_text().count("\n")


def shown(word: str) -> Page:
    body = f"<title>t</title><p>#{word}".encode()
    return Page(
        CrawlUrl("http://a.test/", "a.test", id=1), 200, (("Content-Type", "text/html"),), body,
        0.0,
        Timings(1.0), len(body),
    )  # fmt: skip


async def test_a_process_that_is_stopped_loses_no_page(tmp_path: Path) -> None:
    async with reader(tmp_path, 1.0) as (pool, calls):
        before = multiprocessing.active_children()
        reading = asyncio.create_task(pool.read(shown("pause")))
        while not (tmp_path / "log").exists():  # noqa: ASYNC110 - a file tells
            await asyncio.sleep(0.01)
        pids = [process.pid for process in before if process.pid]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(1.5)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        assert isinstance(await reading, ParsedPage)
        assert calls() == 1


async def test_a_page_that_was_late_once_is_read_again_alone(tmp_path: Path) -> None:
    async with reader(tmp_path, 0.5) as (pool, calls):
        assert isinstance(await pool.read(shown("first")), ParsedPage)
        assert calls() == 2


async def test_a_page_that_is_late_twice_has_failed(tmp_path: Path) -> None:
    async with reader(tmp_path, 0.3) as (pool, calls):
        with pytest.raises(ParseError, match="deadline"):
            await pool.read(shown("always"))
        assert calls() == 2


# ── exchanges ────────────────────────────────────────────────────────────────────────────────


class Failing:
    """A fetcher whose exchanges all fail."""

    def __init__(self, error: FetchError, meanwhile: Callable[[], None]) -> None:
        self._error = error
        self._meanwhile = meanwhile

    async def fetch(self, link: CrawlUrl, **_: object) -> Page:  # noqa: ARG002 - as a fetcher has it
        self._meanwhile()
        raise self._error


@pytest.mark.parametrize(
    ("error", "gap", "attempt", "raised"),
    [
        (TimedOut("connect"), STOPPED + 1, 0, LeaseLost),
        (Unreachable("connreset"), STOPPED + 1, 3, LeaseLost),
        (TimedOut("connect"), STOPPED - 1, 0, TimedOut),
        (TimedOut("connect"), STOPPED + 1, TRIES, TimedOut),
        (Insecure("expired"), STOPPED + 1, 0, Insecure),
    ],
)
async def test_what_fails_while_we_were_stopped_is_tried_again(
    error: FetchError,
    gap: float,
    attempt: int,
    raised: type[FetchError],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    skipped = 0.0

    def stop() -> None:
        nonlocal skipped
        skipped += gap

    def moment() -> tuple[float, float]:
        return time.monotonic() + skipped, time.monotonic() + skipped

    monkeypatch.setattr(suspension, "_moment", moment)
    heartbeat = SuspendDetector()  # never entered: what it sees is seen when it is asked
    fetcher: FileFetcher = SuspendAwareFetcher(Failing(error, stop), heartbeat)
    with pytest.raises(raised) as caught:
        await fetcher.fetch(CrawlUrl("http://a.test/", "a.test", attempt=attempt))
    assert type(caught.value) is raised


async def test_a_crawl_that_is_stopped_for_a_while_loses_nothing(
    website: Open, tmp_path: Path
) -> None:
    """The whole group, with a fetch under way whose timeout is over when it goes on."""
    door = gate(page(links=["/end"]))
    site = await website({"/": page(links=["/slow"]), "/slow": door, "/end": page()})
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "crawler", "crawl", site.url, "-O", str(tmp_path), "--fast", "-q",
        "--text", "-s", "retry.retries=0", "-s", "fetch.first_byte_timeout=1.5",
        "-s", "parse.deadline=1", start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE):
            await site.wait_for("/slow")
            os.killpg(child.pid, signal.SIGSTOP)
            await asyncio.sleep(STOPPED + 0.5)
            os.killpg(child.pid, signal.SIGCONT)
            await site.wait_for("/slow", 2)
            door.open()
            assert await child.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()
    told = [json.loads(line) for line in (tmp_path / "pages.jsonl").read_text().splitlines()]
    assert {line["outcome"] for line in told} == {"done"}
    assert len(told) == 3
