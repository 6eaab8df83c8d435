"""The frontier's contract, which every implementation must keep; here on a file and in memory."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from crawler.config import PaceConfig
from crawler.errors import FrontierError, Occupied
from crawler.frontier.sqlite import SqliteFrontier
from crawler.model import Found, Kind, Link, Outcome, Rules, Visit
from crawler.urls import fingerprint, host_key, origin

Open = Callable[..., SqliteFrontier]


def found(url: str, reason: str = "", kind: Kind = Kind.PAGE) -> Found:
    host = host_key(url)
    return url, host, fingerprint(url, host), kind.value, reason


def urls(number: int, host: str = "a.test") -> list[str]:
    return [f"http://{host}/{n}" for n in range(number)]


@pytest.fixture(params=["file", "memory"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    return tmp_path / "frontier.db" if request.param == "file" else ":memory:"


def frontier(path: Path | str, **settings: object) -> SqliteFrontier:
    return SqliteFrontier(path, PaceConfig(fast=True), **{"robots": False, **settings})  # type: ignore[arg-type]


@pytest.fixture
async def queue(path: Path | str) -> AsyncIterator[SqliteFrontier]:
    async with frontier(path) as queue:
        yield queue


async def lease(queue: SqliteFrontier) -> Link:
    async with asyncio.timeout(5):
        link = await queue.lease()
    assert link is not None
    return link


async def end(queue: SqliteFrontier) -> None:
    async with asyncio.timeout(5):
        assert await queue.lease() is None


async def drain(queue: SqliteFrontier) -> list[str]:
    """Visit everything, finding nothing."""
    seen = []
    async with asyncio.timeout(10):
        while (link := await queue.lease()) is not None:
            queue.release(link)
            seen.append(link.url)
            await queue.settle([Visit(link, Outcome.DONE)], {})
    return seen


async def test_what_is_added_comes_out_once_in_order(queue: SqliteFrontier) -> None:
    wanted = urls(600)  # more than one buffer
    assert await queue.add([found(url) for url in wanted]) == 600
    assert await queue.add([found(url) for url in wanted]) == 0
    assert await drain(queue) == wanted
    counts = await queue.counts()
    assert (counts.done, counts.pending) == (600, 0)


async def test_an_empty_frontier_says_so_at_once(queue: SqliteFrontier) -> None:
    await end(queue)


async def test_the_end_waits_for_what_is_on_lease(queue: SqliteFrontier) -> None:
    await queue.add([found("http://a.test/")])
    parent = await lease(queue)
    waiting = asyncio.create_task(queue.lease())
    await queue.counts()  # a round trip through the frontier's thread
    assert not waiting.done(), "the page in hand may still bring links"
    await queue.settle([Visit(parent, Outcome.DONE, found=(found("http://a.test/x"),))], {})
    child = await waiting
    assert child is not None
    assert (child.url, child.depth, child.via) == ("http://a.test/x", 1, "http://a.test/")
    waiting = asyncio.create_task(queue.lease())
    await queue.settle([Visit(child, Outcome.DONE)], {})
    assert await waiting is None


async def test_a_redirect_keeps_the_depth_and_counts_the_hop(queue: SqliteFrontier) -> None:
    await queue.add([found("http://a.test/")])
    link = await lease(queue)
    await queue.settle([Visit(link, Outcome.MOVED, found=(found("http://a.test/x"),))], {})
    moved = await lease(queue)
    assert (moved.depth, moved.hops) == (0, 1)


async def test_a_refused_link_is_kept_with_its_reason_and_may_be_admitted_later(
    queue: SqliteFrontier,
) -> None:
    image = found("http://a.test/x", "kind", Kind.ASSET)
    assert await queue.add([image]) == 0
    await end(queue)
    assert (await queue.counts()).refused == 1
    assert await queue.add([found("http://a.test/x")]) == 1
    assert (await lease(queue)).kind is Kind.PAGE
    assert (await queue.counts()).refused == 0


async def test_a_refusal_does_not_undo_an_admission(queue: SqliteFrontier) -> None:
    await queue.add([found("http://a.test/x")])
    await queue.add([found("http://a.test/x", "kind", Kind.ASSET)])
    assert (await lease(queue)).url == "http://a.test/x"


async def test_a_retry_comes_again_after_its_time_with_its_attempt(queue: SqliteFrontier) -> None:
    await queue.add([found("http://a.test/")])
    link = await lease(queue)
    queue.release(link)
    await queue.settle([Visit(link, Outcome.RETRY, retry_in=0.05)], {})
    again = await lease(queue)
    assert (again.url, again.attempt) == (link.url, 1)
    await queue.settle([Visit(again, Outcome.FAILED, reason="dns")], {})
    await end(queue)
    assert (await queue.counts()).failed == 1


async def test_robots_comes_before_a_host_and_its_answer_opens_it(path: Path | str) -> None:
    async with frontier(path, robots=True) as queue:
        await queue.add([found("http://a.test/"), found("http://b.test/")])
        asked = [await lease(queue), await lease(queue)]
        assert {link.url for link in asked} == {
            "http://a.test/robots.txt",
            "http://b.test/robots.txt",
        }
        waiting = asyncio.create_task(queue.lease())
        await queue.counts()
        assert not waiting.done()
        rules = Rules(origin(asked[0].url), 200, b"User-agent: *", 4e9)
        await queue.settle([Visit(asked[0], Outcome.DONE, rules=rules)], {})
        link = await waiting
        assert link is not None
        assert link.host == asked[0].host
        assert await queue.rules(rules.origin) == rules
        assert (await queue.counts()).done == 0, "a robots.txt is no record"


async def test_stop_answers_those_who_wait(queue: SqliteFrontier) -> None:
    await queue.add([found("http://a.test/")])
    await lease(queue)
    waiting = asyncio.create_task(queue.lease())
    await asyncio.sleep(0)
    queue.stop()
    assert await waiting is None
    await end(queue)


async def test_a_cancelled_wait_loses_no_link(queue: SqliteFrontier) -> None:
    waiting = asyncio.create_task(queue.lease())
    await asyncio.sleep(0)
    link = None
    if not waiting.done():
        waiting.cancel()
    await queue.add([found("http://a.test/")])
    link = await lease(queue)
    assert link.url == "http://a.test/"


async def test_max_pages_is_exact_with_many_workers(path: Path | str) -> None:
    done = []
    async with frontier(path, max_pages=15) as queue:
        await queue.add([found(url) for url in urls(100)])

        async def work() -> None:
            while (link := await queue.lease()) is not None:
                await asyncio.sleep(0)
                queue.release(link)
                # every third is a redirect: it gives its place back
                outcome = Outcome.MOVED if int(link.url.rpartition("/")[2]) % 3 else Outcome.DONE
                done.append(outcome)
                await queue.settle([Visit(link, outcome)], {})

        async with asyncio.timeout(10), asyncio.TaskGroup() as crew:
            for _ in range(64):
                crew.create_task(work())
        assert queue.exhausted
    assert done.count(Outcome.DONE) == 15


# ── what only a file can do ──────────────────────────────────────────────────────────────────


async def test_what_was_on_lease_is_queued_again_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "frontier.db"
    async with frontier(path) as queue:
        await queue.add([found(url) for url in urls(3)])
        done = await lease(queue)
        await lease(queue)
        await queue.settle([Visit(done, Outcome.DONE)], {"pages.jsonl": 123})
    async with frontier(path) as queue:
        assert await queue.marks() == {"pages.jsonl": 123}
        assert await drain(queue) == urls(3)[1:]


async def test_a_retry_survives_reopening(tmp_path: Path) -> None:
    path = tmp_path / "frontier.db"
    async with frontier(path) as queue:
        await queue.add([found("http://a.test/")])
        link = await lease(queue)
        await queue.settle([Visit(link, Outcome.RETRY, retry_in=0.05)], {})
    async with frontier(path) as queue:
        assert (await lease(queue)).attempt == 1


async def test_a_host_that_asked_for_rest_still_rests_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "frontier.db"
    async with frontier(path) as queue:
        await queue.add([found(url) for url in urls(2)])
        link = await lease(queue)
        await queue.settle([Visit(link, Outcome.RETRY, retry_in=300.0, rest=300.0)], {})
    async with frontier(path) as queue:
        waiting = asyncio.create_task(queue.lease())
        await queue.counts()
        await queue.counts()
        assert not waiting.done()
        queue.stop()
        assert await waiting is None


async def test_robots_answers_survive_reopening(tmp_path: Path) -> None:
    path = tmp_path / "frontier.db"
    async with frontier(path, robots=True) as queue:
        await queue.add([found(url) for url in urls(2)])
        robots = await lease(queue)
        rules = Rules(origin(robots.url), 404, b"", 4e9)
        await queue.settle([Visit(robots, Outcome.DONE, rules=rules)], {})
    async with frontier(path, robots=True) as queue:
        assert (await lease(queue)).kind is Kind.PAGE


async def test_by_depth_holds_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "frontier.db"
    async with frontier(path, by_depth=True) as queue:
        await queue.add([found("http://a.test/"), found("http://b.test/")])
        first = await lease(queue)
        await queue.settle([Visit(first, Outcome.DONE, found=(found("http://a.test/deep"),))], {})
    async with frontier(path, by_depth=True) as queue:
        shallow = await lease(queue)
        assert shallow.depth == 0
        waiting = asyncio.create_task(queue.lease())
        await queue.counts()
        assert not waiting.done()
        await queue.settle([Visit(shallow, Outcome.DONE)], {})
        deep = await waiting
        assert deep is not None
        assert deep.depth == 1


async def test_two_cannot_have_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "frontier.db"
    async with frontier(path):
        with pytest.raises(Occupied, match="another process"):
            async with frontier(path):
                pass


async def test_a_file_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "frontier.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(FrontierError, match="version 99"):
        async with frontier(path):
            pass


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "frontier.db"
    path.write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(FrontierError, match="not a database"):
        async with frontier(path):
            pass


def test_the_claim_on_a_file_dies_with_its_process(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import asyncio, os, signal, sys
        from crawler.config import PaceConfig
        from crawler.frontier.sqlite import SqliteFrontier

        async def main():
            async with SqliteFrontier(sys.argv[1], PaceConfig()):
                os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(main())
    """)
    path = tmp_path / "frontier.db"
    killed = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert killed.returncode == -9

    async def reopen() -> None:
        async with frontier(path):
            pass

    asyncio.run(reopen())


async def test_a_million_links_of_the_same_page_cost_no_table(queue: SqliteFrontier) -> None:
    await queue.add([found("http://a.test/")])
    link = await lease(queue)
    links = tuple(found("http://a.test/same") for _ in range(10_000))
    await queue.settle([Visit(link, Outcome.DONE, found=links)], {})
    assert (await queue.counts()).seen == 2
