"""The frontier on a cluster of three nodes: the same contract (`make test-chaos`)."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers.cluster_processes import coordinator, every, there, workers
from helpers.frontier_contract import Contract, Opened, drain, found
from helpers.redis_frontiers import frontier
from helpers.redis_server import PATIENCE, RedisServer, servers
from helpers.serving import Client

from crawler.demo.process import DemoWeb

NODES, SLOTS = 3, 16_384


def free_port() -> int:
    """A port whose neighbour 10,000 further, the cluster's bus, is free too."""
    for _ in range(200):
        port = random.randrange(20_000, 40_000)
        try:
            for one in (port, port + 10_000):
                socket.create_server(("127.0.0.1", one)).close()
        except OSError:
            continue
        return port
    raise OSError("no port is free")


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[RedisServer]]:
    if not servers():
        pytest.skip("no Redis or Valkey on this machine")
    program = list(servers().values())[-1]
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(RedisServer(program, "--cluster-enabled", "yes", port=free_port()))
            for _ in range(NODES)
        ]
        for number, node in enumerate(nodes):
            first, last = number * SLOTS // NODES, (number + 1) * SLOTS // NODES - 1
            assert node.say("CLUSTER", "ADDSLOTSRANGE", str(first), str(last)).startswith(b"+OK")
            port = nodes[0].url.rpartition(":")[2]
            assert node.say("CLUSTER", "MEET", "127.0.0.1", port).startswith(b"+OK")
        deadline = time.monotonic() + PATIENCE
        for node in nodes:
            while b"cluster_state:ok" not in node.say("CLUSTER", "INFO") or (
                b"cluster_known_nodes:3" not in node.say("CLUSTER", "INFO")
            ):
                assert time.monotonic() < deadline, node.say("CLUSTER", "INFO")
                time.sleep(0.05)
        yield nodes


@pytest.fixture
def job(cluster: list[RedisServer]) -> str:
    for node in cluster:
        assert node.say("FLUSHALL").startswith(b"+OK")
    return "c"


@pytest.mark.slow
class TestOnACluster(Contract):
    @pytest.fixture
    def opened(
        self, cluster: list[RedisServer], job: str, request: pytest.FixtureRequest
    ) -> Opened:
        if "max_pages" in request.node.name:
            pytest.skip("an exact limit of pages needs one shard")
        return lambda **settings: frontier(cluster[0], job, **settings)


async def test_hosts_lie_on_all_nodes(cluster: list[RedisServer], job: str) -> None:
    async with frontier(cluster[0], job) as queue:
        assert queue._wire.shards == 16
        wanted = {f"http://h{n}.test/" for n in range(100)}
        assert await queue.add([found(url) for url in wanted]) == 100
        assert all(node.say("DBSIZE")[:4] != b":100" for node in cluster)
        assert min(int(node.say("DBSIZE")[1:].split(b"\r")[0]) for node in cluster) > 10
        assert set(await drain(queue)) == wanted


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_service_coordinates_its_workers_on_a_cluster(
    tmp_path: Path, cluster: list[RedisServer], job: str
) -> None:
    """Hosts on all shards; a worker dies, and a node is killed and started again in the middle."""
    assert job
    pages = 600
    pace = {"pace": {"delay": 0.1, "per_host": 1}, "robots": {"obey": False}}
    with (
        DemoWeb(pages=pages, hosts=30, broken=0.0) as web,
        workers(tmp_path / "shares", cluster[0].url) as crew,
    ):
        async with coordinator(tmp_path, cluster[0].url) as client:
            crew.start("one")
            crew.start("two")
            await there(client, idle=2)
            body = {**pace, "scope": {"scope": "any", "trap": "off"}}
            number = await client.start(web.url, **body)
            await reached(client, number, 60)
            hosts = (await client.get(f"/jobs/{number}/hosts"))["hosts"]
            assert len(hosts) == 30, "of all shards"
            crew.kill("one")
            await reached(client, number, 150)
            cluster[2].kill()
            cluster[2].start()
            done = await client.until(number, "finished", "failed")
            assert (done["state"], done["totals"]["pages"]) == ("finished", pages), done
            records = await every(client, number, 1000)
            assert len({one["url"] for one in records}) == len(records)
            done_pages = {one["url"] for one in records if one["outcome"] == "done"}
            assert done_pages == set(web.web.urls())


async def reached(client: Client, job: str, pages: int) -> None:
    """Wait until so many pages are done."""
    async with asyncio.timeout(60):
        while (await client.get(f"/jobs/{job}"))["totals"]["pages"] < pages:  # noqa: ASYNC110
            await asyncio.sleep(0.1)  # other processes: nobody rings
