"""The frontier on Redis and Valkey: the contract on a real server, and what only many can do."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator

import pytest
from frontier_contract import Contract, Opened, drain, end, found, lease, urls
from redis_server import RedisServer, servers

from crawler.config import FrontierConfig, PaceConfig
from crawler.frontier.redis import RedisFrontier

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


def frontier(
    server: RedisServer,
    job: str,
    pace: PaceConfig | None = None,
    *,
    worker: str = "w",
    **settings: object,
) -> RedisFrontier:
    own = {
        name: settings.pop(name)
        for name in ("lease", "shards", "crashes", "max_queued", "host_queued", "patience")
        if name in settings
    }
    config = FrontierConfig(url=server.url, job=job, **{"lease": 5.0, **own})  # type: ignore[arg-type]
    rest = {"robots": False, **settings}
    return RedisFrontier(config, pace or PaceConfig(fast=True), worker=worker, **rest)  # type: ignore[arg-type]


class TestOnRedis(Contract):
    @pytest.fixture
    def opened(self, server: RedisServer, job: str) -> Opened:
        return lambda **settings: frontier(server, job, **settings)
