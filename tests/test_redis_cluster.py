"""The frontier on a cluster of three nodes: the same contract (`make test-chaos`)."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from frontier_contract import Contract, Opened, drain, found
from redis_server import PATIENCE, RedisServer, servers
from test_redis import frontier

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
