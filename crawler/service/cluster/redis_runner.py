"""Jobs that workers elsewhere run: submitted to Redis, watched, resumed, deleted.

This process fetches nothing for them. It inserts the seeds, sets what workers should do, and
watches them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from crawler.config.loader import dump_toml
from crawler.config.model import Config
from crawler.config.redaction import without_secrets
from crawler.config.workdir import Mode
from crawler.errors import ConfigError, FrontierError
from crawler.frontier.redis.codec import items, shard_of, total
from crawler.frontier.redis.redis_client import PREFIX, RedisClient
from crawler.frontier.redis.redis_jobs import JOBS, remove, wire_to
from crawler.frontier.redis.worker_registry import is_there, pause, shards, sums, take_back
from crawler.interfaces import Sink
from crawler.policy.outcome import ResponseClassifier
from crawler.policy.retry_policy import RetryPolicy
from crawler.policy.scope import Scope
from crawler.policy.seeds import starting_points
from crawler.policy.urls import Urls
from crawler.records import Outlink
from crawler.service.cluster import output_folders, remote_results, worker_outputs
from crawler.service.cluster.remote_crawl import RemoteCrawl, earlier_totals, visits
from crawler.service.jobs.job import Job, Totals
from crawler.service.results.crawl_results import HostResult, LinkResult, UrlStory

SEED_BATCH: Final = 1000
"""Seeds that are inserted by one call."""

DELETE_PATIENCE_S: Final = 5.0
"""Seconds that deleting a job waits for an unreachable server."""


class RedisRunner:
    """Implements `runner.JobRunner`. `outputs` contains one folder for each worker."""

    def __init__(self, outputs: Path) -> None:
        self._outputs = outputs
        self.pages: Final = worker_outputs.pages

    async def progress(self, config: Config, folder: Path) -> Totals | None:
        """Raises FrontierError: the server is unreachable, or has lost the job."""
        has_run = (folder / worker_outputs.INDEX).exists()
        async with wire_to(_with_job(config, folder).frontier) as client:
            if not await is_there(client, folder.name):
                if has_run:
                    raise FrontierError(
                        f"{client.name}: the crawl is gone: the server lost its data, or it was "
                        "removed there"
                    )
                return None
            stats = total(await shards(client, folder.name))
            added = await sums(client, folder.name)
        return Totals(
            pages=stats.pages,
            visits=visits(stats),
            failed=stats.failed,
            bytes_wire=added.bytes_wire,
            queued=stats.queued + stats.resting,
        )

    @asynccontextmanager
    async def open(
        self,
        config: Config,
        *,
        dir: Path,  # noqa: A002 - as crawl_setup.open_crawl has it
        mode: Mode,
        sinks: Sequence[Sink] = (),
    ) -> AsyncIterator[RemoteCrawl]:
        """Raises ConfigError for settings that workers cannot use, FrontierError."""
        config = _with_job(config, dir)
        await asyncio.to_thread(dir.mkdir, parents=True, exist_ok=True)
        async with wire_to(config.frontier) as client:
            _check_settings(config, client)
            if mode == "new":
                await _submit_job(client, config)
            await asyncio.to_thread(worker_outputs.update_index, dir, self._outputs, {})
            await pause(client, dir.name, on=False)
            earlier = await earlier_totals(client, dir.name, mode)
            yield RemoteCrawl(client, config, dir, self._outputs, sinks, earlier=earlier)

    async def links(
        self, config: Config, folder: Path, *, states: Collection[str], after: int, limit: int
    ) -> list[LinkResult]:
        return await remote_results.links(
            config.frontier, folder, states=states, after=after, limit=limit
        )

    async def hosts(self, config: Config, folder: Path, *, limit: int) -> list[HostResult]:
        return await remote_results.hosts(config.frontier, folder, limit=limit)

    async def explain(self, config: Config, folder: Path, url: str) -> UrlStory | None:
        return await remote_results.explain(config.frontier, folder, url, config.urls)

    async def delete_remote(self, job: Job, *, output: bool) -> None:
        config = msgspec.convert(job.config, Config)
        frontier = msgspec.structs.replace(config.frontier, job=job.id, patience=DELETE_PATIENCE_S)
        async with wire_to(frontier) as client:
            await take_back(client, job.id)
            await remove(client, job.id)
        if output:
            await asyncio.to_thread(output_folders.delete_outputs, self._outputs, job.id)


def _with_job(config: Config, folder: Path) -> Config:
    """The configuration with the job's name on the server."""
    return msgspec.structs.replace(
        config, frontier=msgspec.structs.replace(config.frontier, job=folder.name)
    )


def _check_settings(config: Config, client: RedisClient) -> None:
    """Raises ConfigError for settings that a job on many machines cannot have."""
    url = config.frontier.url
    redacted = without_secrets(config)
    if msgspec.structs.replace(redacted, frontier=config.frontier) != config:
        raise ConfigError(
            "the configuration has a login, a token or headers, which do not pass through Redis: "
            "give them to the workers themselves (crawler worker --header …)"
        )
    if config.pace.group != "host":
        raise ConfigError(f"pace.group = {config.pace.group!r} needs a crawl on one machine")
    if config.output.skipped:
        raise ConfigError("output.skipped needs a crawl on one machine")
    if not config.output.jsonl:
        raise ConfigError(
            "output.jsonl = false: the job's records are merged from the workers' files"
        )
    if config.limits.max_pages is not None and client.shards > 1:
        raise ConfigError("limits.max_pages needs a frontier of one shard")
    assert url is not None


async def _submit_job(client: RedisClient, config: Config) -> None:
    """Store a new job's settings and seeds on the server.

    The job exists only after the last step: after a crash before it, the job is submitted anew.
    """
    job = config.frontier.job
    limits = msgspec.structs.replace(config.limits, size_limit=None, time_limit=None)
    saved = msgspec.structs.replace(
        config, limits=limits
    )  # RemoteCrawl enforces these over all workers
    await client.plain("HSET", JOBS, job, dump_toml(without_secrets(saved)))
    caps: list[Any] = [
        -1 if cap is None else cap
        for cap in (config.frontier.max_queued, config.frontier.host_queued)
    ]
    by_shard: dict[int, list[Outlink]] = {}
    for seed in _seeds(config):
        by_shard.setdefault(shard_of(seed[1], client.shards), []).append(seed)
    by_depth = config.scope.max_depth is not None
    for shard, seeds in by_shard.items():
        for start in range(0, len(seeds), SEED_BATCH):
            rows = items(
                seeds[start : start + SEED_BATCH], depth=0, hops=0, via=None, by_depth=by_depth
            )
            await client.call("add", shard, job, *caps, *rows)
    for shard in reversed(range(client.shards)):
        await client.plain("HSETNX", f"{PREFIX}{{{shard}}}:{job}:st", "born", int(time.time()))


def _seeds(config: Config) -> list[Outlink]:
    """The links that a crawl starts with, classified as `crawl_setup.open_crawl` does."""
    urls = Urls(config.urls)
    seeds = [url for seed in config.seeds if (url := urls.canonical(seed)) is not None]
    classifier = ResponseClassifier(
        urls,
        Scope(config.scope, seeds),
        RetryPolicy(config.retry),
        fetch=config.fetch,
        pace=config.pace,
    )
    return [classifier.judged(url, 0, kind) for url, kind in starting_points(config, seeds, urls)]
