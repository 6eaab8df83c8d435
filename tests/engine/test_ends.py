"""A crawl always ends: at its goal, or loudly. Nothing waits for what cannot come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
from helpers.crawling import crawl, outcomes, settings
from helpers.frontier_contract import PATIENCE, found, lease
from helpers.frontier_contract import urls as paths
from helpers.website import Website, page, redirect, reply, text

from crawler.bootstrap.crawl_setup import open_crawl
from crawler.cli.exits import Exit, error_code
from crawler.config.model import PaceConfig, ParseConfig
from crawler.engine.committer import Committer
from crawler.engine.loop_monitor import LoopMonitor
from crawler.engine.stall_watchdog import StallWatchdog
from crawler.engine.stats import Gauges, StatsCollector
from crawler.errors import FatalError, InternalError
from crawler.frontier.sqlite.sqlite_frontier import SqliteFrontier
from crawler.parse.workers.pool import ParsePool, _Process
from crawler.parse.workers.reader_settings import ReaderSettings
from crawler.policy.scope import Scope
from crawler.policy.urls import Urls
from crawler.records import CrawlResult, CrawlUrl, Outcome, Page, Timings
from crawler.utils.background import background

Open = Callable[..., Awaitable[Website]]


def frontier(**wishes: Any) -> SqliteFrontier:
    return SqliteFrontier(":memory:", PaceConfig(fast=True), **{"robots": False, **wishes})


# ── depth as a barrier ───────────────────────────────────────────────────────────────────────────


async def test_a_redirect_beside_deeper_links_ends(website: Open, tmp_path: Path) -> None:
    """Its target is as deep as itself, and is found when deeper links (a sitemap) lie in the
    buffer: it goes before them.
    """
    site = await website(
        {
            "/": redirect("/home"),
            "/home": page(links=["/a"]),
            "/a": page(),
            "/robots.txt": text("Sitemap: /sitemap.xml\n"),
            "/sitemap.xml": reply(
                b"<urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'></urlset>",
                mime="application/xml",
            ),
        }
    )
    running = await crawl(settings(site.url, max_depth=2), tmp_path)
    assert running.finish_reason == "finished"
    assert {"/home", "/a", "/sitemap.xml"} <= outcomes(tmp_path).keys()


async def test_many_redirects_at_one_depth_end(website: Open, tmp_path: Path) -> None:
    places = range(20)
    site = await website(
        {
            "/": page(links=[f"/d{n}" for n in places]),
            **{f"/d{n}": redirect(f"/d{n}/") for n in places},
            **{f"/d{n}/": page(links=[f"/leaf{n}"]) for n in places},
            **{f"/leaf{n}": page() for n in places},
        }
    )
    running = await crawl(settings(site.url, max_depth=3), tmp_path)
    assert running.finish_reason == "finished"
    assert len(outcomes(tmp_path)) == 61


async def test_depth_is_the_order_of_what_was_queued_without_it(tmp_path: Path) -> None:
    path = tmp_path / "frontier.db"
    async with SqliteFrontier(path, PaceConfig(fast=True), robots=False) as queue:
        await queue.add([found("http://a.test/")])
        first = await lease(queue)
        deep = tuple(found(url) for url in paths(3))
        await queue.settle([CrawlResult(first, Outcome.DONE, found=deep)], {})
        await queue.add([found("http://a.test/late-seed")])
    async with SqliteFrontier(path, PaceConfig(fast=True), robots=False, by_depth=True) as queue:
        seen = []
        async with asyncio.timeout(PATIENCE):
            while (link := await queue.lease()) is not None:
                seen.append(link.depth)
                await queue.settle([CrawlResult(link, Outcome.DONE)], {})
    assert seen == [0, 1, 1, 1]


# ── nothing fails in silence ─────────────────────────────────────────────────────────────────────


async def test_a_bug_in_the_feeder_reaches_all_who_wait() -> None:
    async with frontier() as queue:
        queue._store.head = _bug  # type: ignore[method-assign]
        await queue.add([found("http://a.test/")])
        waiting = [asyncio.create_task(queue.lease()) for _ in range(3)]
        async with asyncio.timeout(PATIENCE):
            said = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(one) for one in said] == ["a bug"] * 3
        with pytest.raises(ValueError, match="a bug"):
            await queue.lease()
        with pytest.raises(ValueError, match="a bug"):
            await queue.turn(CrawlUrl("http://b.test/x", "b.test", id=-1))


async def test_a_bug_when_the_clock_rings_reaches_all_who_wait() -> None:
    async with frontier() as queue:
        await queue.add([found("http://a.test/")])
        link = await lease(queue)
        await queue.settle([CrawlResult(link, Outcome.RETRY, retry_in=0.2)], {})
        waiting = asyncio.create_task(queue.lease())
        await asyncio.sleep(0)
        queue._schedule.take = _bug  # type: ignore[method-assign]
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(ValueError, match="a bug"):
                await waiting


async def test_what_is_counted_and_not_there_ends_the_crawl_by_name() -> None:
    async with frontier() as queue:
        await queue.add([found("http://a.test/")])
        link = await lease(queue)
        waiting = asyncio.create_task(queue.lease())
        await asyncio.sleep(0)
        queue._schedule.queue(queue._schedule.hosts["a.test"], 2)  # nobody queued these
        await queue.settle([CrawlResult(link, Outcome.DONE)], {})
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(InternalError, match=r"a\.test has 2 links queued"):
                await waiting
    assert error_code(InternalError("")) is Exit.BUG


async def test_a_frontier_in_which_nothing_can_happen_says_so() -> None:
    """A wake-up that is lost, whichever it is, must not leave the workers waiting."""
    async with frontier() as queue:
        await queue.add([found("http://a.test/")])
        queue._schedule.fill = _nothing  # type: ignore[method-assign,assignment]
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(InternalError, match=r"1 queued and 0 resting .* a\.test"):
                await queue.lease()


def _nothing(*_: object) -> None: ...


def _bug(*_: object, **__: object) -> NoReturn:
    raise ValueError("a bug")


class _Output:
    """A sink whose append does what it is told."""

    name = "bad"

    def __init__(self, act: Callable[[], Awaitable[int]]) -> None:
        self._act = act

    async def append(self, visits: Sequence[CrawlResult]) -> int:  # noqa: ARG002
        return await self._act()

    async def cut(self, mark: int) -> None: ...


async def test_a_commit_that_is_cancelled_reaches_those_who_entered() -> None:
    async def cancelled() -> int:
        never: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        never.cancel()
        return await never

    async with frontier() as queue, Committer(queue, [_Output(cancelled)]) as ledger:
        await queue.add([found("http://a.test/")])
        visit = CrawlResult(await lease(queue), Outcome.DONE)
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(InternalError, match="cancelled"):
                await ledger.enter(visit)


async def test_a_worker_that_is_cancelled_alone_ends_the_crawl(
    website: Open, tmp_path: Path
) -> None:
    site = await website({"/": page()})

    async def cancelled(*_: object) -> NoReturn:
        raise asyncio.CancelledError

    async with asyncio.timeout(PATIENCE), open_crawl(settings(site.url), dir=tmp_path) as running:
        running._fetcher.fetch = cancelled  # type: ignore[method-assign,assignment]
        with pytest.raises(InternalError, match="cancelled"):
            await running.run()


async def test_a_watch_that_breaks_ends_its_block() -> None:
    calls = 0

    def look(_: Gauges) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ValueError("a bug")

    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ValueError, match="a bug"):
            async with LoopMonitor(StatsCollector(), look):
                await asyncio.Event().wait()


async def test_a_watchdog_that_breaks_ends_its_block() -> None:
    stages = StallWatchdog(0.01)
    stages.look = _bug  # type: ignore[method-assign]
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ValueError, match="a bug"):
            async with stages:
                await asyncio.Event().wait()


async def test_background_work_ends_with_its_block_and_raises_bare() -> None:
    began = asyncio.Event()

    async def work() -> None:
        began.set()
        await asyncio.Event().wait()

    async with background(work(), "work"):
        await began.wait()
    with pytest.raises(KeyError):
        async with background(work(), "work"):
            raise KeyError("the block's own")


async def test_a_parse_process_that_cannot_be_started_ends_the_crawl(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No more files, processes or memory: what waits for the pool must hear of it."""
    config = settings("http://a.test/")
    urls, scope = Urls(config.urls), Scope(config.scope, config.seeds)
    rules = ReaderSettings(urls, scope, config.scope, config.parse, config.fetch, spool=tmp_path)
    async with ParsePool(rules, ParseConfig(processes=2)) as pool:

        def full(self: _Process, _: object) -> NoReturn:  # noqa: ARG001
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(_Process, "__init__", full)
        pool._crew[0].kill()
        pages = [_page(f"http://a.test/{n}") for n in range(64)]
        async with asyncio.timeout(PATIENCE):
            said = await asyncio.gather(*map(pool.read, pages), return_exceptions=True)
        assert {type(one) for one in said} >= {FatalError}


def _page(url: str) -> Page:
    headers = (("Content-Type", "text/html"),)
    return Page(CrawlUrl(url, "a.test"), 200, headers, b"<p>a", 0.0, Timings(1.0), 4)
