"""Jobs on a Redis or Valkey: made, joined, listed, removed. A job is a crawl that many share."""

from __future__ import annotations

import time
from typing import Final, Literal

import msgspec

from crawler.config.model import FrontierConfig
from crawler.errors import ConfigError, FolderLocked
from crawler.frontier.redis.codec import JobStats, stats_of, total
from crawler.frontier.redis.redis_client import PREFIX, RedisClient

JOBS: Final = f"{PREFIX}jobs"
"""HASH: job → its settings as TOML."""


class JobWorker(msgspec.Struct, frozen=True):
    """One that is alive: it renewed its leases within three times their length."""

    name: str
    leased: int
    done: int
    age: float  # seconds since it said so


class RedisJob(msgspec.Struct, frozen=True):
    """What is known of a job."""

    name: str
    stats: JobStats
    workers: tuple[JobWorker, ...]


def wire_to(settings: FrontierConfig) -> RedisClient:
    """Raises ConfigError when no address was given."""
    if settings.url is None:
        raise ConfigError("no Redis named: --frontier redis://host/")
    return RedisClient(settings.url, shards=settings.shards, patience=settings.patience)


async def enlist(
    settings: FrontierConfig, config: str, mode: Literal["new", "fresh", "join"]
) -> None:
    """Make a job, or see that it is there. Raises FolderLocked (it is), ConfigError (it is not)."""
    async with wire_to(settings) as wire:
        name = settings.job
        if mode == "fresh":
            await remove(wire, name)
        if mode == "join":
            if not await wire.plain("HEXISTS", JOBS, name):
                raise ConfigError(f"{wire.name}: has no job {name!r}")
        elif not await wire.plain("HSETNX", JOBS, name, config):
            raise FolderLocked(
                f"{wire.name}: already has a job {name!r}. Work on it: crawler worker "
                f"--frontier {wire.name} --job {name}. Start over: add --fresh"
            )


async def settings_of(settings: FrontierConfig) -> str:
    """The settings of a job as they were saved, TOML. Raises ConfigError when there is none."""
    async with wire_to(settings) as wire:
        saved = await wire.plain("HGET", JOBS, settings.job)
        if saved is None:
            names = ", ".join(sorted(await names_on(wire))) or "none"
            raise ConfigError(f"{wire.name}: has no job {settings.job!r} (there is: {names})")
        return str(saved.decode())


async def names_on(wire: RedisClient) -> list[str]:
    """The jobs of a server."""
    return [name.decode() for name in await wire.plain("HKEYS", JOBS)]


async def look(wire: RedisClient, name: str) -> RedisJob:
    """A job's numbers and its workers."""
    shards = [stats_of(await wire.call("stats", n, name)) for n in range(wire.shards)]
    now, workers = time.time(), []
    for key in await wire.keys(f"{PREFIX}worker:{name}:*"):
        said = await wire.plain("GET", key)
        if said is not None:
            values = msgspec.json.decode(said, type=dict[str, float])
            workers.append(
                JobWorker(
                    key.decode().rpartition(":")[2], int(values["leased"]),
                    int(values.get("done", 0)), now - values["at"],
                )
            )  # fmt: skip
    return RedisJob(name, total(shards), tuple(sorted(workers, key=lambda one: one.name)))


async def disown(wire: RedisClient, job: str, worker: str) -> int:
    """For one who knows that a worker is dead: its links are queued again at once; how many.

    Its late results are refused. Hosts stay owed their pauses, counted from now.
    """
    number = 0
    for _ in range(2):  # what it asked for as it died may be answered after the first of them
        for shard in range(wire.shards):
            number += await wire.call("disown", shard, job, f"{worker}:", 1)
    return number


async def remove(wire: RedisClient, name: str) -> None:
    """A job and all that is its; what hosts taught stays. Workers that still run find it gone."""
    for shard in range(wire.shards):
        await wire.call("forget", shard, name)
        for key in await wire.keys(f"{PREFIX}[{{]{shard}[}}]:{_quoted(name)}:*"):
            await wire.plain("UNLINK", key)
    await wire.plain("HDEL", JOBS, name)


def _quoted(name: str) -> str:
    """A name in a pattern of SCAN, meaning itself."""
    return "".join(f"\\{char}" if char in "*?[]^-\\" else char for char in name)
