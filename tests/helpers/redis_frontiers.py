"""Opening frontiers on a Redis of the tests."""

from __future__ import annotations

from crawler.config.model import FrontierConfig, PaceConfig
from crawler.frontier.redis.redis_frontier import RedisFrontier
from helpers.redis_server import RedisServer


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
    # A lease that nobody lets end outlasts what a loaded machine does to this process.
    config = FrontierConfig(url=server.url, job=job, **{"lease": 60.0, **own})  # type: ignore[arg-type]
    rest = {"robots": False, **settings}
    return RedisFrontier(config, pace or PaceConfig(fast=True), worker=worker, **rest)  # type: ignore[arg-type]
