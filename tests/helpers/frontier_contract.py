"""The frontier's contract: every implementation runs this suite.

A subclass gives `opened`: `opened(**settings)` is a frontier on the same store each time, so that
closing one and opening the next is a restart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import pytest_asyncio

from crawler.config.model import PaceConfig
from crawler.interfaces import Frontier
from crawler.policy.urls import fingerprint, host_key, origin
from crawler.records import CrawlResult, CrawlUrl, Kind, Outcome, Outlink, RobotsRecord


class Queue(Frontier, Protocol):
    """A frontier, and what build.py asks of it beyond the loop."""

    async def marks(self) -> Mapping[str, int]: ...
    async def notes(self) -> Mapping[str, str | float]: ...
    async def note(self, **values: str | float) -> None: ...
    @property
    def pending(self) -> int: ...


Opened = Callable[..., AbstractAsyncContextManager[Queue]]


PATIENCE = 120.0
"""Seconds after which something that never comes is a failure; a loaded machine is only slow."""


def found(url: str, reason: str = "", kind: Kind = Kind.PAGE) -> Outlink:
    host = host_key(url)
    return url, host, fingerprint(url, host), kind.value, reason


def urls(number: int, host: str = "a.test") -> list[str]:
    return [f"http://{host}/{n}" for n in range(number)]


async def lease(queue: Queue) -> CrawlUrl:
    async with asyncio.timeout(PATIENCE):
        link = await queue.lease()
    assert link is not None
    return link


async def end(queue: Queue) -> None:
    async with asyncio.timeout(PATIENCE):
        assert await queue.lease() is None


async def drain(queue: Queue) -> list[str]:
    """Visit everything, finding nothing."""
    seen = []
    async with asyncio.timeout(PATIENCE):
        while (link := await queue.lease()) is not None:
            queue.release(link)
            seen.append(link.url)
            await queue.settle([CrawlResult(link, Outcome.DONE)], {})
    return seen


class Contract:
    """What holds for every frontier."""

    @pytest_asyncio.fixture
    async def queue(self, opened: Opened) -> AsyncIterator[Queue]:
        async with opened() as queue:
            yield queue

    async def test_what_is_added_comes_out_once_in_order(self, queue: Queue) -> None:
        wanted = urls(600)  # more than one buffer
        assert await queue.add([found(url) for url in wanted]) == 600
        assert await queue.add([found(url) for url in wanted]) == 0
        assert await drain(queue) == wanted
        counts = await queue.counts()
        assert (counts.done, counts.pending) == (600, 0)

    async def test_an_empty_frontier_says_so_at_once(self, queue: Queue) -> None:
        await end(queue)

    async def test_the_end_waits_for_what_is_on_lease(self, queue: Queue) -> None:
        await queue.add([found("http://a.test/")])
        parent = await lease(queue)
        waiting = asyncio.create_task(queue.lease())
        await queue.counts()  # a round trip through the frontier's thread
        assert not waiting.done(), "the page in hand may still bring links"
        await queue.settle(
            [CrawlResult(parent, Outcome.DONE, found=(found("http://a.test/x"),))], {}
        )
        child = await waiting
        assert child is not None
        assert (child.url, child.depth, child.via) == ("http://a.test/x", 1, "http://a.test/")
        waiting = asyncio.create_task(queue.lease())
        await queue.settle([CrawlResult(child, Outcome.DONE)], {})
        assert await waiting is None

    async def test_a_redirect_keeps_the_depth_and_counts_the_hop(self, queue: Queue) -> None:
        await queue.add([found("http://a.test/")])
        link = await lease(queue)
        await queue.settle(
            [CrawlResult(link, Outcome.MOVED, found=(found("http://a.test/x"),))], {}
        )
        moved = await lease(queue)
        assert (moved.depth, moved.hops) == (0, 1)

    async def test_a_refused_link_is_kept_with_its_reason_and_may_be_admitted_later(
        self,
        queue: Queue,
    ) -> None:
        image = found("http://a.test/x", "kind", Kind.ASSET)
        assert await queue.add([image]) == 0
        await end(queue)
        assert (await queue.counts()).refused == 1
        assert await queue.add([found("http://a.test/x")]) == 1
        assert (await lease(queue)).kind is Kind.PAGE
        assert (await queue.counts()).refused == 0

    async def test_a_refusal_does_not_undo_an_admission(self, queue: Queue) -> None:
        await queue.add([found("http://a.test/x")])
        await queue.add([found("http://a.test/x", "kind", Kind.ASSET)])
        assert (await lease(queue)).url == "http://a.test/x"

    async def test_a_retry_comes_again_after_its_time_with_its_attempt(self, queue: Queue) -> None:
        await queue.add([found("http://a.test/")])
        link = await lease(queue)
        queue.release(link)
        await queue.settle([CrawlResult(link, Outcome.RETRY, retry_in=0.05)], {})
        again = await lease(queue)
        assert (again.url, again.attempt) == (link.url, 1)
        await queue.settle([CrawlResult(again, Outcome.FAILED, reason="dns")], {})
        await end(queue)
        assert (await queue.counts()).failed == 1

    async def test_a_robots_txt_holds_for_one_link_however_soon_it_expires(
        self, opened: Opened
    ) -> None:
        """With a pace slower than its age nothing but robots.txt would ever be asked for."""
        async with opened(robots=True) as queue:
            await queue.add([found("http://a.test/1"), found("http://a.test/2")])
            kinds = []
            for _ in range(4):
                link = await lease(queue)
                kinds.append(link.kind)
                over = RobotsRecord(origin(link.url), 404, b"", time.time() - 1.0)
                rules = over if link.kind is Kind.ROBOTS else None
                queue.release(link)
                await queue.settle([CrawlResult(link, Outcome.DONE, rules=rules)], {})
            assert kinds == [Kind.ROBOTS, Kind.PAGE, Kind.ROBOTS, Kind.PAGE]
            await end(queue)

    async def test_robots_comes_before_a_host_and_its_answer_opens_it(self, opened: Opened) -> None:
        async with opened(robots=True) as queue:
            await queue.add([found("http://a.test/"), found("http://b.test/")])
            asked = [await lease(queue), await lease(queue)]
            assert {link.url for link in asked} == {
                "http://a.test/robots.txt",
                "http://b.test/robots.txt",
            }
            waiting = asyncio.create_task(queue.lease())
            await queue.counts()
            assert not waiting.done()
            rules = RobotsRecord(origin(asked[0].url), 200, b"User-agent: *", 4e9)
            await queue.settle([CrawlResult(asked[0], Outcome.DONE, rules=rules)], {})
            link = await waiting
            assert link is not None
            assert link.host == asked[0].host
            assert await queue.rules(rules.origin) == rules
            assert (await queue.counts()).done == 0, "a robots.txt is no record"
            home = origin(asked[1].url)
            away = RobotsRecord(home, None, b"", 4e9, trouble="connection:connrefused")
            await queue.settle([CrawlResult(asked[1], Outcome.FAILED, rules=away)], {})
            assert await queue.rules(home) == away, "and why there is none"

    async def test_a_pause_begins_when_the_request_is_written(self, opened: Opened) -> None:
        """However long its connection took to make; the host could have four at a time."""
        pace = PaceConfig(per_host=4, delay=0.2, adaptive=False)
        async with opened(pace=pace) as queue:
            await queue.add([found(url) for url in urls(3)])
            first = await lease(queue)
            waiting = asyncio.create_task(lease(queue))
            await asyncio.sleep(0.25)
            assert not waiting.done(), "nobody knows yet when the first will reach the host"
            before = time.monotonic()
            assert queue.sent(first)
            second = await waiting
            assert time.monotonic() - before >= pace.delay - 0.001  # Redis: whole milliseconds
            waiting = asyncio.create_task(lease(queue))
            queue.release(second)  # it was never written: no connection could be made
            assert (await waiting).url == urls(3)[2]

    async def test_a_link_that_is_not_sent_after_all_holds_its_host_no_longer(
        self, opened: Opened
    ) -> None:
        pace = PaceConfig(per_host=4, delay=60.0, adaptive=False)
        async with opened(pace=pace) as queue:
            await queue.add([found(url) for url in urls(3)])
            queue.release(await lease(queue), asked=False)
            second = await lease(queue)
            queue.forgo(second)
            assert (await lease(queue)).url == second.url

    async def test_stop_answers_those_who_wait(self, queue: Queue) -> None:
        await queue.add([found("http://a.test/")])
        await lease(queue)
        waiting = asyncio.create_task(queue.lease())
        await asyncio.sleep(0)
        queue.stop()
        assert await waiting is None
        await end(queue)

    async def test_a_cancelled_wait_loses_no_link(self, queue: Queue) -> None:
        waiting = asyncio.create_task(queue.lease())
        await asyncio.sleep(0)
        link = None
        if not waiting.done():
            waiting.cancel()
        await queue.add([found("http://a.test/")])
        link = await lease(queue)
        assert link.url == "http://a.test/"

    async def test_max_pages_is_exact_with_many_workers(self, opened: Opened) -> None:
        done = []
        async with opened(max_pages=15) as queue:
            await queue.add([found(url) for url in urls(100)])

            async def work() -> None:
                while (link := await queue.lease()) is not None:
                    await asyncio.sleep(0)
                    queue.release(link)
                    # every third is a redirect: it gives its place back
                    outcome = (
                        Outcome.MOVED if int(link.url.rpartition("/")[2]) % 3 else Outcome.DONE
                    )
                    done.append(outcome)
                    await queue.settle([CrawlResult(link, outcome)], {})

            async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as crew:
                for _ in range(64):
                    crew.create_task(work())
            assert queue.exhausted
        assert done.count(Outcome.DONE) == 15

    async def test_a_million_links_of_the_same_page_cost_no_table(self, queue: Queue) -> None:
        await queue.add([found("http://a.test/")])
        link = await lease(queue)
        links = tuple(found("http://a.test/same") for _ in range(10_000))
        await queue.settle([CrawlResult(link, Outcome.DONE, found=links)], {})
        assert (await queue.counts()).seen == 2

    async def test_who_waits_for_what_is_told(self, opened: Opened) -> None:
        async with opened() as queue:
            await queue.add([found("http://a.test/x"), *(found(url) for url in urls(2, "b.test"))])
            for _ in range(2):
                link = await lease(queue)
                rest = 300.0 if link.host == "b.test" else 0.0
                queue.release(link, rest=rest, why="Retry-After" if rest else "")
                visit = CrawlResult(link, Outcome.RETRY, reason="status:503", retry_in=300.0,
                    rest=rest,
                              rest_why="Retry-After" if rest else "")  # fmt: skip
                await queue.settle([visit], {})
            host, url = sorted(await queue.waits(), key=lambda wait: "//" in wait.name)
            assert (host.name, host.why) == ("b.test", "Retry-After of /0")
            assert url.name == "http://a.test/x"
            assert url.why.startswith("Retry-After")
            assert 200 < url.seconds <= 300
            assert 200 < host.seconds <= 300
            assert (await queue.counts()).pending == 3

    # ── and across a restart ─────────────────────────────────────────────────────────────────

    async def test_what_was_on_lease_is_queued_again_after_reopening(self, opened: Opened) -> None:
        async with opened() as queue:
            await queue.add([found(url) for url in urls(3)])
            done = await lease(queue)
            await lease(queue)
            await queue.settle([CrawlResult(done, Outcome.DONE)], {"pages.jsonl": 123})
        async with opened() as queue:
            assert await queue.marks() == {"pages.jsonl": 123}
            assert await drain(queue) == urls(3)[1:]

    async def test_a_retry_survives_reopening(self, opened: Opened) -> None:
        async with opened() as queue:
            await queue.add([found("http://a.test/")])
            link = await lease(queue)
            await queue.settle([CrawlResult(link, Outcome.RETRY, retry_in=0.05)], {})
        async with opened() as queue:
            assert (await lease(queue)).attempt == 1

    async def test_a_host_that_asked_for_rest_still_rests_after_reopening(
        self, opened: Opened
    ) -> None:
        async with opened() as queue:
            await queue.add([found(url) for url in urls(2)])
            link = await lease(queue)
            await queue.settle([CrawlResult(link, Outcome.RETRY, retry_in=300.0, rest=300.0)], {})
        async with opened() as queue:
            waiting = asyncio.create_task(queue.lease())
            await queue.counts()
            await queue.counts()
            assert not waiting.done()
            queue.stop()
            assert await waiting is None

    async def test_robots_answers_survive_reopening(self, opened: Opened) -> None:
        async with opened(robots=True) as queue:
            await queue.add([found(url) for url in urls(2)])
            robots = await lease(queue)
            rules = RobotsRecord(origin(robots.url), 404, b"", 4e9)
            await queue.settle([CrawlResult(robots, Outcome.DONE, rules=rules)], {})
        async with opened(robots=True) as queue:
            assert (await lease(queue)).kind is Kind.PAGE

    async def test_what_waits_by_depth_is_as_deep_as_its_shortest_way(self, opened: Opened) -> None:
        async with opened(by_depth=True) as queue:
            await queue.add([found("http://a.test/"), found("http://b.test/")])
            page, moving = await lease(queue), await lease(queue)
            target = found("http://a.test/x")
            await queue.settle([CrawlResult(page, Outcome.DONE, found=(target,))], {})
            await queue.settle([CrawlResult(moving, Outcome.MOVED, found=(target,))], {})
            link = await lease(queue)
            assert (link.url, link.depth, link.hops) == ("http://a.test/x", 0, 1)
            await queue.settle(
                [CrawlResult(link, Outcome.DONE, found=(found("http://a.test/y"),))], {}
            )
            last = await lease(queue)
            assert (last.url, last.depth) == ("http://a.test/y", 1)
            await queue.settle([CrawlResult(last, Outcome.DONE)], {})
            assert await queue.lease() is None
            counts = await queue.counts()
            assert (counts.done, counts.moved, counts.pending) == (3, 1, 0)

    async def test_by_depth_holds_after_reopening(self, opened: Opened) -> None:
        async with opened(by_depth=True) as queue:
            await queue.add([found("http://a.test/"), found("http://b.test/")])
            first = await lease(queue)
            await queue.settle(
                [CrawlResult(first, Outcome.DONE, found=(found("http://a.test/deep"),))], {}
            )
        async with opened(by_depth=True) as queue:
            shallow = await lease(queue)
            assert shallow.depth == 0
            waiting = asyncio.create_task(queue.lease())
            await queue.counts()
            assert not waiting.done()
            await queue.settle([CrawlResult(shallow, Outcome.DONE)], {})
            deep = await waiting
            assert deep is not None
            assert deep.depth == 1
