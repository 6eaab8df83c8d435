"""The parse processes: neighbours of a poisoned page come to no harm."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import msgspec
import pytest
from helpers.places import ROOT

from crawler.config.model import FetchConfig, ParseConfig, ScopeConfig, UrlsConfig
from crawler.errors import FatalError, ParseError
from crawler.parse.workers.pool import WORTH, ParsePool, usable_cpus
from crawler.parse.workers.reader_settings import ReaderSettings
from crawler.policy.scope import Scope
from crawler.policy.urls import Urls
from crawler.records import CrawlUrl, Kind, Page, ParsedPage, Timings

SEED = "http://a.test/"

POISON = """
import ctypes, os, time

def extract(page):
    if "#loop" in page.html:
        while True:
            pass
    if "#stubborn" in page.html:
        while True:
            try:
                time.sleep(0.001)
            except BaseException:
                pass
            x = sum(range(10000))
    if "#sleep" in page.html:
        time.sleep(1000)
    if "#memory" in page.html:
        hoard = []
        while True:
            hoard.append(bytearray(50_000_000))
    if "#segfault" in page.html:
        ctypes.string_at(0)
    if "#exit" in page.html:
        os._exit(3)
    if "#raise" in page.html:
        raise RuntimeError("no\\nway")
    if "#wrong" in page.html:
        yield 1
    yield {"title": page.soup.title.get_text(), "links": len(page.links)}
"""


def page(number: int, poison: str = "") -> Page:
    link = CrawlUrl(f"{SEED}{number}", "a.test", id=number)
    body = f"<title>{number}</title><p>#{poison}<a href=/next>next</a>".encode()
    headers = (("Content-Type", "text/html; charset=utf-8"),)
    return Page(link, 200, headers, body, 0.0, Timings(1.0), len(body))


def rules(**parse: Any) -> ReaderSettings:
    scope = ScopeConfig()
    config = ParseConfig(**{"processes": 2, "deadline": 1.0, **parse})
    return ReaderSettings(Urls(UrlsConfig()), Scope(scope, [SEED]), scope, config, FetchConfig())


def pool(**parse: Any) -> ParsePool:
    chosen = rules(**parse)
    return ParsePool(chosen, chosen.parse)


@pytest.fixture
def poison(tmp_path: Path) -> str:
    path = tmp_path / "poison.py"
    path.write_text(POISON)
    return f"{path}:extract"


async def read_all(pool: ParsePool, pages: list[Page]) -> list[ParsedPage | BaseException]:
    async with asyncio.timeout(50):
        return await asyncio.gather(*map(pool.read, pages), return_exceptions=True)


async def sent(pool: ParsePool, *, but: int) -> None:
    """The pages that the pool was given have gone to a process, all but so many."""
    for _ in range(3):  # the reads begin, the pool looks at what waits
        await asyncio.sleep(0)
    assert pool.backlog == but


async def test_pages_come_back_read_and_in_their_own_places() -> None:
    async with pool() as running:
        extracts = await read_all(running, [page(number) for number in range(200)])
    assert [one.title for one in extracts if isinstance(one, ParsedPage)] == [
        str(number) for number in range(200)
    ]


async def test_processes_come_with_the_work() -> None:
    before = set(multiprocessing.active_children())
    async with pool(processes=3) as running:
        await read_all(running, [page(1)])
        await read_all(running, [page(2)])
        assert len(set(multiprocessing.active_children()) - before) == 1
        await read_all(running, [page(number) for number in range(200)])
        crew = set(multiprocessing.active_children()) - before
        assert len(crew) == 3
    for process in crew:  # they were told to go, and go
        await asyncio.to_thread(process.join, 20)
        assert not process.is_alive()


async def test_few_pages_wait_for_the_process_that_is_at_work(poison: str) -> None:
    async with pool(plugins=(poison,), processes=1, deadline=20.0) as running:
        reads = [asyncio.create_task(running.read(page(0, "sleep")))]
        await sent(running, but=0)
        reads += [asyncio.create_task(running.read(page(number))) for number in range(1, WORTH)]
        await sent(running, but=WORTH - 1)
        reads.append(asyncio.create_task(running.read(page(WORTH))))
        await sent(running, but=0)  # now they are worth a batch
        assert not any(one.done() for one in reads)
        for one in reads:
            one.cancel()


async def test_a_page_behind_a_slow_one_is_read_by_the_next_process(poison: str) -> None:
    async with pool(plugins=(poison,), processes=2, deadline=20.0) as running:
        slow = asyncio.create_task(running.read(page(0, "sleep")))
        await sent(running, but=0)
        assert (await running.read(page(1))).title == "1"
        assert not slow.done()
        slow.cancel()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("loop", "deadline"),
        ("stubborn", "deadline"),
        ("sleep", "deadline"),
        ("memory", "memory"),
        ("segfault", "crash"),
        ("exit", "crash"),
    ],
)
async def test_a_poisoned_page_fails_alone(poison: str, kind: str, reason: str) -> None:
    deadline = 1.0 if reason == "deadline" else 20.0
    limits = {"memory": 600_000_000, "deadline": deadline, "batch_pages": 8}
    async with pool(plugins=(poison,), **limits) as running:
        pages = [page(number) for number in range(30)]
        pages[13] = page(13, kind)
        extracts = await read_all(running, pages)
        after = await running.read(page(99))
    guilty = extracts.pop(13)
    assert isinstance(guilty, ParseError), guilty
    assert guilty.reason == reason
    assert not [one for one in extracts if not isinstance(one, ParsedPage)]
    assert after.records == ({"title": "99", "links": 1},)


async def test_a_failing_plugin_is_a_problem_of_its_page(poison: str) -> None:
    async with pool(plugins=(poison,)) as running:
        raised, wrong = await read_all(running, [page(1, "raise"), page(2, "wrong")])
    assert isinstance(raised, ParsedPage)
    assert raised.title == "1"
    assert raised.problems[0].endswith("RuntimeError: no")
    assert isinstance(wrong, ParsedPage)
    assert "not a dict" in wrong.problems[0]


async def test_the_pool_is_replaced_and_nothing_is_lost() -> None:
    async with pool(recycle_pages=20, batch_pages=4) as running:
        extracts = await read_all(running, [page(number) for number in range(150)])
    assert all(isinstance(one, ParsedPage) for one in extracts)


async def test_a_cancelled_read_does_not_hurt_the_others() -> None:
    async with pool() as running:
        tasks = [asyncio.create_task(running.read(page(number))) for number in range(50)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, ParsedPage) for one in results[1::2])
        assert (await running.read(page(7))).title == "7"


async def test_closing_with_work_in_hand_does_not_hang(poison: str) -> None:
    async with asyncio.timeout(30):
        async with pool(plugins=(poison,), deadline=60.0) as running:
            task = asyncio.create_task(running.read(page(1, "sleep")))
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, ParseError)):
            await task


async def test_a_body_in_a_file_is_read_from_there(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"<title>from a file</title>")
    spooled = msgspec.structs.replace(page(1), body=path)
    async with pool() as running:
        assert (await running.read(spooled)).title == "from a file"
        path.unlink()
        with pytest.raises(ParseError, match="body"):
            await running.read(spooled)


async def test_a_robots_txt_comes_back_as_it_is() -> None:
    link = CrawlUrl(f"{SEED}robots.txt", "a.test", kind=Kind.ROBOTS)
    body = b"User-agent: *\nDisallow: /x\n"
    robots = Page(link, 200, (), body, 0.0, Timings(1.0), len(body))
    async with pool() as running:
        assert (await running.read(robots)).body == body


async def test_a_plugin_that_is_not_there_is_named() -> None:
    with pytest.raises(FatalError):
        async with pool(plugins=("no.such.module:extract",)):
            pass


def test_a_script_without_a_main_guard_works(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import asyncio, sys
        import crawler

        print("started")

        async def main():
            async for page in crawler.crawl(sys.argv[1], max_pages=1, fast=True, retries=0):
                print(page.link.url)

        asyncio.run(main())
        """)
    )
    ran = subprocess.run(
        [sys.executable, str(script), "http://127.0.0.1:9/"],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ran.stdout == "started\n"
    assert "Error" not in ran.stderr


def test_the_cpus_are_those_this_process_may_use() -> None:
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)
