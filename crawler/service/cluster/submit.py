"""A job as it is put on a Redis for workers: what it may ask for, its settings, its seeds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import msgspec

from crawler.config.loader import dump_toml
from crawler.config.model import Config
from crawler.config.redaction import without_secrets
from crawler.errors import ConfigError
from crawler.frontier.redis.codec import items, shard_of
from crawler.frontier.redis.redis_client import PREFIX, RedisClient
from crawler.frontier.redis.redis_jobs import JOBS
from crawler.policy.outcome import ResponseClassifier
from crawler.policy.retry_policy import RetryPolicy
from crawler.policy.scope import Scope
from crawler.policy.seeds import starting_points
from crawler.policy.urls import Urls
from crawler.records import Outlink

SEEDS: Final = 1000  # in one call


def named(config: Config, folder: Path) -> Config:
    """The configuration under which the job lies on the server."""
    return msgspec.structs.replace(
        config, frontier=msgspec.structs.replace(config.frontier, job=folder.name)
    )


def demand(config: Config, wire: RedisClient) -> None:
    """Raises ConfigError for what a job on many machines cannot have."""
    url = config.frontier.url
    bare = without_secrets(config)
    if msgspec.structs.replace(bare, frontier=config.frontier) != config:
        raise ConfigError(
            "it holds a login, a token or headers: they are not given to workers through Redis; "
            "give them to the workers themselves (crawler worker --header …)"
        )
    if config.pace.group != "host":
        raise ConfigError(f"pace.group = {config.pace.group!r} needs a crawl on one machine")
    if config.output.skipped:
        raise ConfigError("output.skipped needs a crawl on one machine")
    if not config.output.jsonl:
        raise ConfigError("output.jsonl = false: workers' records are put together from it")
    if config.limits.max_pages is not None and wire.shards > 1:
        raise ConfigError("limits.max_pages needs a frontier of one shard")
    assert url is not None


async def put(wire: RedisClient, config: Config) -> None:
    """Put a new job there: its settings for the workers, its seeds. The last step makes it one, so
    that a crash in between is followed by a whole new beginning.
    """
    job = config.frontier.job
    limits = msgspec.structs.replace(config.limits, size_limit=None, time_limit=None)
    saved = msgspec.structs.replace(config, limits=limits)  # we see to the limits of all together
    await wire.plain("HSET", JOBS, job, dump_toml(without_secrets(saved)))
    caps: list[Any] = [
        -1 if cap is None else cap
        for cap in (config.frontier.max_queued, config.frontier.host_queued)
    ]
    by_shard: dict[int, list[Outlink]] = {}
    for one in _seeds(config):
        by_shard.setdefault(shard_of(one[1], wire.shards), []).append(one)
    by_depth = config.scope.max_depth is not None
    for shard, some in by_shard.items():
        for start in range(0, len(some), SEEDS):
            rows = items(some[start : start + SEEDS], depth=0, hops=0, via=None, by_depth=by_depth)
            await wire.call("add", shard, job, *caps, *rows)
    for shard in reversed(range(wire.shards)):
        await wire.plain("HSETNX", f"{PREFIX}{{{shard}}}:{job}:st", "born", int(time.time()))


def _seeds(config: Config) -> list[Outlink]:
    """Where the crawl begins, judged as `build.open_crawl` judges it."""
    urls = Urls(config.urls)
    seeds = [seed for one in config.seeds if (seed := urls.canonical(one)) is not None]
    verdict = ResponseClassifier(
        urls,
        Scope(config.scope, seeds),
        RetryPolicy(config.retry),
        fetch=config.fetch,
        pace=config.pace,
    )
    return [verdict.judged(url, 0, kind) for url, kind in starting_points(config, seeds, urls)]
