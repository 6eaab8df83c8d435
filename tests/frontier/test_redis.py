"""The frontier on Redis and Valkey: the contract on a real server, and what only many can do."""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from helpers.frontier_contract import PATIENCE, Contract, Opened, drain, end, found, lease, urls
from helpers.redis_frontiers import frontier
from helpers.redis_server import RedisServer, a_server, servers, until
from helpers.strait import Strait

from crawler.config.model import PaceConfig
from crawler.errors import FrontierError
from crawler.frontier.redis import job_inspect
from crawler.frontier.redis.codec import terms_row
from crawler.frontier.redis.redis_client import RedisClient, judged
from crawler.frontier.redis.redis_frontier import RedisFrontier
from crawler.frontier.redis.redis_jobs import disown
from crawler.frontier.scheduling.slot import Slot
from crawler.frontier.scheduling.slot_settings import terms
from crawler.policy.autothrottle import ResponseSample
from crawler.policy.urls import fingerprint
from crawler.records import CrawlResult, CrawlUrl, Outcome, RobotsRecord

SERVERS = servers()


@pytest.fixture(scope="module", params=SERVERS or ["none"])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    if not SERVERS:
        pytest.skip("no Redis or Valkey on this machine")
    with RedisServer(SERVERS[request.param]) as server:
        yield server


@pytest.fixture
def job(server: RedisServer) -> str:
    """A crawl's name; hosts are shared by all crawls, so what earlier tests taught is forgotten."""
    assert server.say("FLUSHALL").startswith(b"+OK")
    return f"j{secrets.token_hex(4)}"


class TestOnRedis(Contract):
    @pytest.fixture
    def opened(self, server: RedisServer, job: str) -> Opened:
        return lambda **settings: frontier(server, job, **settings)

    @pytest.fixture(params=[1, 4], ids=["one shard", "four shards"], autouse=True)
    def shards(
        self,
        request: pytest.FixtureRequest,
        server: RedisServer,
        job: str,  # noqa: ARG002 - after its flush
    ) -> None:
        """The number of shards is fixed by the first who comes."""
        if request.param == 4 and "max_pages" in request.node.name:
            pytest.skip("an exact limit of pages needs one shard")
        server.say("SET", "crawler:shards", str(request.param))


class Forgetful(RedisClient):
    """Each first answer of the server is lost on its way, after the work was done. How many links
    were new is then not known: of `add` the first answer comes, late.
    """

    async def _try(self, work: Any, *args: Any, undo: Any = None, **kwargs: Any) -> Any:
        first: list[Any] = []

        async def once_more(*args: Any, **kwargs: Any) -> Any:
            answer = await work(*args, **kwargs)
            if not first:
                first.append(answer)
                raise ConnectionError("the answer is lost")
            return first[0] if args[:1] == ("crawler1_add",) else answer

        return await super()._try(once_more, *args, undo=undo, **kwargs)


class TestOnRedisWithAnswersLost(Contract):
    """What was done without our hearing of it is not done a second time, and nothing is left over:
    every promise holds when every call is made twice.
    """

    @pytest.fixture
    def opened(self, server: RedisServer, job: str, monkeypatch: pytest.MonkeyPatch) -> Opened:
        monkeypatch.setattr("crawler.frontier.redis.redis_frontier.RedisClient", Forgetful)
        monkeypatch.setattr("crawler.frontier.redis.redis_client.SOON", 0.0)
        return lambda **settings: frontier(server, job, **settings)


async def test_who_leaves_while_it_asks_leaves_nothing_on_lease(
    server: RedisServer, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has answered, and nobody read it: another has the link at once."""
    arrived, read = asyncio.Event(), asyncio.Event()

    class Slow(RedisClient):
        async def _try(self, work: Any, *args: Any, **kwargs: Any) -> Any:
            answer = await super()._try(work, *args, **kwargs)
            if args[:1] == ("crawler1_lease",) and answer[0]:
                arrived.set()
                await read.wait()
            return answer

    with monkeypatch.context() as patched:
        patched.setattr("crawler.frontier.redis.redis_frontier.RedisClient", Slow)
        leaving = frontier(server, job, lease=3600.0)
    async with frontier(server, job) as staying:
        await staying.add([found("http://a.test/")])
        async with leaving:
            asked = asyncio.ensure_future(leaving.lease())
            await arrived.wait()
            leaving.stop()
            assert await asked is None
            asyncio.get_running_loop().call_later(0.05, read.set)
        got = await lease(staying)
        assert got.url == "http://a.test/"
        staying.release(got)
        await staying.settle([CrawlResult(got, Outcome.DONE)], {})
        await end(staying)


async def test_a_turn_that_comes_for_one_who_was_cancelled_goes_back(
    server: RedisServer, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived, read = asyncio.Event(), asyncio.Event()

    class Slow(RedisClient):
        async def _try(self, work: Any, *args: Any, **kwargs: Any) -> Any:
            answer = await super()._try(work, *args, **kwargs)
            if args[:1] == ("crawler1_turn",) and not arrived.is_set():
                arrived.set()
                await read.wait()
            return answer

    monkeypatch.setattr("crawler.frontier.redis.redis_frontier.RedisClient", Slow)
    one = PaceConfig(per_host=1, delay=0.0)
    async with frontier(server, job, one, lease=3600.0) as queue:
        asked = asyncio.ensure_future(queue.turn(CrawlUrl("http://a.test/", "a.test", id=-1)))
        await arrived.wait()
        asked.cancel()
        await asyncio.wait([asked])
        asyncio.get_running_loop().call_soon(read.set)
        async with asyncio.timeout(PATIENCE):
            await queue.turn(CrawlUrl("http://a.test/", "a.test", id=-2))


async def test_a_dead_workers_turn_runs_out_where_all_wait_for_turns(
    server: RedisServer, job: str
) -> None:
    """Nobody leases, and so nobody would look at what has run out."""
    one = PaceConfig(per_host=1, delay=0.0)
    async with frontier(server, job, one) as living, frontier(server, job, one, lease=0.2) as dead:
        await dead.turn(CrawlUrl("http://a.test/", "a.test", id=-1))
        for task in dead._tasks:  # as under SIGSTOP: it does not renew
            task.cancel()
        async with asyncio.timeout(PATIENCE):
            await living.turn(CrawlUrl("http://a.test/", "a.test", id=-2))


async def test_a_turn_whose_answer_was_lost_is_the_same_turn(server: RedisServer, job: str) -> None:
    """Counted once, so that the host's only connection is free again when it ends."""
    async with frontier(server, job, PaceConfig(per_host=1, delay=0.0)) as queue:
        wire = queue._wire
        words = (
            "turn", 0, job, "a.test", "t1", "w:1", 60_000,
            terms_row(PaceConfig(per_host=1, delay=0.0), 4), 0.5,
        )  # fmt: skip
        assert await wire.call(*words) == -1
        assert await wire.call(*words) == -1
        assert await wire.call(*words[:4], "t2", "w:2", *words[6:]) == 1000, "it is in use"
        assert await disown(wire, job, "w") == 1
        assert await wire.call(*words[:4], "t2", "w:2", *words[6:]) == -1


async def test_a_lease_runs_out_and_the_late_settle_is_refused(
    server: RedisServer, job: str
) -> None:
    """Fencing: a worker that slept longer than its lease keeps nothing and writes nothing."""
    async with frontier(server, job) as fast, frontier(server, job, lease=0.2) as slow:
        await fast.add([found("http://a.test/")])
        late = await lease(slow)
        for task in slow._tasks:  # as under SIGSTOP: it neither renews nor asks
            task.cancel()
        again = await lease(fast)
        assert again.url == late.url
        (kept,) = await slow.recognise([CrawlResult(late, Outcome.DONE)])
        assert (kept.outcome, kept.reason) == (Outcome.RETRY, "lease")
        await slow.settle([CrawlResult(late, Outcome.DONE, found=(found("http://a.test/x"),))], {})
        counts = await fast.counts()
        assert (counts.done, counts.leased, counts.queued) == (0, 1, 0), "its links came in"
        fast.release(again)
        await fast.settle([CrawlResult(again, Outcome.DONE)], {})
        await end(fast)
        stats = await fast._look()
        assert (stats.done, stats.expired, stats.fenced) == (1, 1, 1)


async def test_a_dead_workers_leases_come_back_at_once(server: RedisServer, job: str) -> None:
    """By its name, in the order they were in; what others hold, and what it says late, is not."""
    links = [found(f"http://{host}.test/{page}") for host in "ab" for page in range(3)]
    async with (
        frontier(server, job, worker="m-1", lease=3600.0) as living,
        frontier(server, job, worker="m-10", lease=3600.0) as other,
        frontier(server, job, worker="m-1x", lease=3600.0) as dead,
    ):
        await living.add(links)
        other_has, living_has = await lease(other), await lease(living)
        held = await asyncio.gather(*(lease(dead) for _ in range(3)))
        turn = CrawlUrl("http://c.test/robots.txt", "c.test", id=-1)
        await dead.turn(turn)
        for task in dead._tasks:
            task.cancel()
        assert await disown(living._wire, job, "m-1x") == 4, "three links and a turn"
        assert await disown(living._wire, job, "m-1x") == 0
        counts = await living.counts()
        assert (counts.leased, counts.queued) == (2, 4)
        await living.turn(turn)  # the host's connection is free
        living.release(turn)
        again = [await lease(living) for _ in range(4)]
        for host in "ab":
            assert links_of(host, again)[: len(links_of(host, held))] == links_of(host, held)
        (kept,) = await dead.recognise([CrawlResult(held[0], Outcome.DONE)])
        assert kept.reason == "lease"
        await dead.settle([CrawlResult(held[0], Outcome.DONE)], {})
        assert (await living._look()).done == 0
        for queue, link in ((other, other_has), (living, living_has)):
            (kept,) = await queue.recognise([CrawlResult(link, Outcome.DONE)])
            assert kept.outcome is Outcome.DONE, "it is alive"


def links_of(host: str, links: list[CrawlUrl]) -> list[str]:
    return [one.url for one in links if one.host == f"{host}.test"]


async def test_a_link_that_kills_its_workers_is_given_up_at_once_too(
    server: RedisServer, job: str
) -> None:
    async with frontier(server, job, worker="a", crashes=2, lease=3600.0) as queue:
        await queue.add([found("http://a.test/")])
        for expected in ((1, 0), (0, 1)):
            await lease(queue)
            assert await disown(queue._wire, job, "a") == 1
            queue._leases._held.clear()
            counts = await queue.counts()
            assert (counts.queued, counts.failed) == expected


@pytest.mark.parametrize("shards", [1, 3])
async def test_what_waits_and_what_was_given_up_is_found_from_outside(
    server: RedisServer, job: str, shards: int
) -> None:
    pages = [found(f"http://{host}.test/{n}") for host in "ab" for n in range(5)]
    refused = (*found("http://a.test/out")[:4], "outOfScope")
    parked = [(*found(f"http://a.test/x/x/{n}")[:4], "trap:repeats") for n in range(2)]
    async with frontier(server, job, worker="w", crashes=1, shards=shards) as queue:
        await queue.add([*pages, refused, *parked])
        wire = queue._wire

        async def told(url: str) -> job_inspect.StoredUrl | str | None:
            return await job_inspect.find(wire, job, fingerprint(url, "a.test"), "a.test")

        for n in range(5):
            one = await told(f"http://a.test/{n}")
            assert isinstance(one, job_inspect.StoredUrl)
            assert (one.link.url, one.state, one.ahead) == (f"http://a.test/{n}", "queued", n)
        assert await told("http://a.test/out") == "skipped"
        assert await told("http://a.test/never") is None
        one = await told("http://a.test/x/x/1")
        assert isinstance(one, job_inspect.StoredUrl)
        assert (one.state, one.reason) == ("braked", "trap:repeats")
        both = await job_inspect.hosts(wire, job, 9)
        assert [(one.name, one.queued) for one in both] == [("b.test", 5), ("a.test", 5)]
        assert len(await job_inspect.hosts(wire, job, 1)) == 1

        dead = await lease(queue)
        assert await disown(wire, job, "w") == 1
        queue._leases._held.clear()
        rows = await job_inspect.listed(wire, job, {"failed", "braked"}, after=0, limit=9)
        assert {one.link.url for _, one in rows} == {dead.url, *(one[0] for one in parked)}
        first = await job_inspect.listed(wire, job, {"failed", "braked"}, after=0, limit=1)
        rest = await job_inspect.listed(wire, job, {"failed", "braked"}, after=first[0][0], limit=9)
        assert first + rest == rows
        (only,) = await job_inspect.listed(wire, job, {"failed"}, after=0, limit=9)
        assert (only[1].link.url, only[1].reason) == (dead.url, "lease")

        while (link := await lease(queue)).host != "a.test":
            pass
        one = await told(link.url)
        assert isinstance(one, job_inspect.StoredUrl)
        assert (one.state, one.ahead) == ("queued", 0), "it is in hand"
        queue.release(link)
        await queue.settle([CrawlResult(link, Outcome.RETRY, reason="status", retry_in=60.0)], {})
        one = await told(link.url)
        assert isinstance(one, job_inspect.StoredUrl)
        assert one.state == "resting"
        assert one.due is not None
        assert 30 < one.due - time.time() < 90


async def test_a_live_worker_keeps_its_lease(server: RedisServer, job: str) -> None:
    async with (
        asyncio.timeout(PATIENCE),  # it hung once, on a loaded machine: nobody waits for ever
        frontier(server, job, lease=6.0) as queue,
        frontier(server, job) as other,
    ):
        await queue.add([found("http://a.test/")])
        link = await lease(queue)
        waiting = asyncio.create_task(other.lease())

        def ends() -> float:  # by the server's clock, in milliseconds
            words = server.say("ZRANGE", f"crawler:{{0}}:{job}:lease", "0", "-1", "WITHSCORES")
            return float(words.split()[-1])

        first = ends()
        await until(lambda: ends() > first, PATIENCE)  # with a stall of four seconds to spare
        assert not waiting.done()
        (kept,) = await queue.recognise([CrawlResult(link, Outcome.DONE)])
        await queue.settle([kept], {})
        assert await waiting is None
        assert (await queue._look()).expired == 0


async def test_a_link_that_kills_its_workers_is_given_up(server: RedisServer, job: str) -> None:
    async with frontier(server, job, lease=0.1, crashes=2) as queue:
        await queue.add([found("http://a.test/")])
        queue._tasks[1].cancel()  # nothing is renewed
        await lease(queue)
        await lease(queue)
        await end(queue)
        assert (await queue.counts()).failed == 1
        assert await queue.retry("lease") == 1
        assert (await lease(queue)).url == "http://a.test/"


async def test_one_pace_for_all_workers_of_all_jobs(server: RedisServer, job: str) -> None:
    """Four workers of two jobs ask one host; by the server's clock no two come closer than the
    delay.
    """
    pace = PaceConfig(per_host=1, delay=0.05, adaptive=False)
    async with AsyncExitStack() as stack:
        queues = [
            await stack.enter_async_context(frontier(server, f"{job}{n % 2}", pace, worker=str(n)))
            for n in range(4)
        ]
        for number in (0, 1):
            await queues[number].add([found(url) for url in urls(10)])
        moments: list[float] = []
        abroad = 0

        async def work(queue: RedisFrontier) -> None:
            nonlocal abroad
            while (link := await queue.lease()) is not None:
                moments.append(asyncio.get_running_loop().time())
                abroad += 1
                assert abroad == 1, "the host was asked twice at once"
                await asyncio.sleep(0.005)  # the exchange
                abroad -= 1
                queue.release(link)
                await queue.settle([CrawlResult(link, Outcome.DONE)], {})

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as crew:
            for queue in queues:
                crew.create_task(work(queue))
        assert len(moments) == 20
        gaps = [later - sooner for sooner, later in itertools.pairwise(moments)]
        assert min(gaps) >= 0.049


async def test_a_worker_that_dies_before_it_writes_leaves_its_host_a_pause(
    server: RedisServer, job: str
) -> None:
    """Nobody knows whether it wrote: the pause begins when its lease ends."""
    pace = PaceConfig(per_host=4, delay=0.3, adaptive=False)
    async with (
        frontier(server, job, pace) as living,
        frontier(server, job, pace, worker="d") as dead,
    ):
        await living.add([found(url) for url in urls(3)])
        await lease(dead)
        for task in dead._tasks:
            task.cancel()
        waiting = asyncio.create_task(lease(living))
        await asyncio.sleep(0.35)
        assert not waiting.done()
        before = time.monotonic()
        assert await disown(living._wire, job, "d") == 1
        assert (await waiting).url == urls(3)[0]
        assert time.monotonic() - before >= 0.299


async def test_a_rest_and_a_crawl_delay_hold_for_the_other_worker(
    server: RedisServer, job: str
) -> None:
    pace = PaceConfig(delay=0.0, adaptive=False)
    async with (
        frontier(server, job, pace, robots=True) as one,
        frontier(server, job, pace, robots=True) as two,
    ):
        await one.add([found(url) for url in urls(2)])
        robots = await lease(one)
        rules = RobotsRecord("http://a.test", 200, b"", 4e9, 30.0)
        await one.settle([CrawlResult(robots, Outcome.DONE, rules=rules)], {})
        waiting = asyncio.create_task(two.lease())
        await two.counts()
        await asyncio.sleep(0.05)
        assert not waiting.done(), "the robots.txt was a request too"
        two.stop()
        assert await waiting is None
        assert await two.rules("http://a.test") == rules


async def test_caps_refuse_what_does_not_fit_and_take_it_later(
    server: RedisServer, job: str
) -> None:
    async with frontier(server, job, host_queued=3) as queue:
        assert await queue.add([found(url) for url in urls(5)]) == 3
        assert (await queue.counts()).refused == 2
        assert len(await drain(queue)) == 3
        assert await queue.add([found(url) for url in urls(5)]) == 2


async def test_a_pause_stops_all_and_dead_letters_come_back(server: RedisServer, job: str) -> None:
    async with frontier(server, job) as queue:
        await queue.add([found("http://a.test/")])
        await queue.pause()
        waiting = asyncio.create_task(queue.lease())
        await queue.counts()
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await queue.pause(on=False)
        link = await waiting
        assert link is not None
        queue.release(link)
        await queue.settle([CrawlResult(link, Outcome.FAILED, reason="dns")], {})
        await end(queue)
        assert await queue.retry("timeout") == 0
        assert await queue.retry("dns") == 1
        assert (await lease(queue)).url == link.url


async def test_a_worker_waits_for_a_server_that_is_away(job: str) -> None:
    with a_server() as server:
        async with frontier(server, job) as queue:
            await queue.add([found(url) for url in urls(3)])
            link = await lease(queue)
            server.kill()
            queue.release(link)
            settling = asyncio.create_task(queue.settle([CrawlResult(link, Outcome.DONE)], {}))
            await until(lambda: queue._wire.away)
            assert not settling.done()
            server.start()
            await settling
            assert await drain(queue) == urls(3)[1:]
            assert (await queue.counts()).done == 3


async def test_a_server_that_is_full_is_waited_for(job: str) -> None:
    with a_server() as server:
        async with frontier(server, job) as queue:
            await queue.add([found("http://a.test/")])
            server.say("CONFIG", "SET", "maxmemory", "1")
            adding = asyncio.create_task(queue.add([found("http://a.test/x")]))
            await until(lambda: queue._wire.away)
            server.say("CONFIG", "SET", "maxmemory", "0")
            assert await adding == 1


async def test_a_lost_job_is_an_error_and_no_end(server: RedisServer, job: str) -> None:
    async with frontier(server, job) as queue:
        await queue.add([found("http://a.test/")])
        server.say("FLUSHALL")
        with pytest.raises(FrontierError, match="the crawl is gone"):
            await lease(queue)


def test_a_server_that_evicts_is_refused_and_troubles_are_named() -> None:
    with pytest.raises(FrontierError, match="noeviction"):
        judged({"maxmemory": 1, "maxmemory_policy": "allkeys-lru"}, None)
    troubles = judged({"maxmemory": 0, "aof_enabled": 0}, 512).troubles
    assert len(troubles) == 3
    good = {"maxmemory": 1, "maxmemory_policy": "noeviction", "aof_enabled": 1}
    assert not judged(good, 16_384).troubles


@pytest.mark.parametrize("seed", range(6))
async def test_pace_is_learnt_as_in_python(server: RedisServer, job: str, seed: int) -> None:
    """The Lua port of pace.py and budget.py against the original, over random exchanges."""
    dice = random.Random(seed)
    pace = PaceConfig(per_host=8, delay=0.0, park_after=3, park=0.001, park_most=0.004)
    budget = Slot("a.test", terms(pace, 64))
    loop = asyncio.get_running_loop()
    async with frontier(server, job, pace) as queue:
        await queue.add([found(url) for url in urls(60)])
        async with asyncio.timeout(PATIENCE):
            while (link := await queue.lease()) is not None:
                trip = budget.depart(max(loop.time(), budget.due))
                seconds = dice.choice([0.01, 0.02, 0.05, 0.2, None])
                failed = dice.choice([True, False, False, None]) if seconds else True
                lesson = ResponseSample(seconds, strained=dice.random() < 0.2, failed=failed)
                queue.release(link, lesson=lesson)
                await queue.settle([CrawlResult(link, Outcome.DONE)], {})
                budget.back(trip, max(loop.time(), trip.began), lesson)
                (shown,) = queue.paces()
                seen = (shown.width, shown.failures, shown.parks)
                assert seen == (budget.width, budget.failures, budget.parks)


@pytest.mark.parametrize("trouble", ["silent", "dead", "dying while they connect"])
async def test_calls_that_outlive_their_callers_end_with_the_wire(trouble: str) -> None:
    """Whatever the server does meanwhile, nobody connects for them once everything is closed."""
    before = asyncio.all_tasks()
    with a_server() as server, Strait(server.socket) as way:
        async with asyncio.timeout(PATIENCE), RedisClient(way.url) as wire:
            if trouble == "dead":
                server.kill()
            else:
                way.part()  # connections are made, and nothing is heard on them
            calls = [asyncio.create_task(wire.plain("GET", f"key{n}")) for n in range(4)]
            if trouble == "dead":
                await until(lambda: wire.away)
            else:
                await until(lambda: len(connections(wire)) == 4)
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
            if trouble == "dying while they connect":
                server.kill()
        assert asyncio.all_tasks() == before
        assert not any(one.is_connected for one in connections(wire))


def connections(wire: RedisClient) -> list[Any]:
    pool = wire._client.connection_pool
    return [*pool._available_connections, *pool._in_use_connections]
