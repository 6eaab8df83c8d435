"""One job's shards on the server: what is asked of all of them, and their numbers.

Each shard is a world of its own (its hosts, their queues, the fingerprints of their links), so
what is asked here of several is asked one after the other: the numbers are as of the last answers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from crawler.config.model import FrontierConfig
from crawler.frontier.redis.codec import JobStats, items, rules_of, shard_of, stats_of, total
from crawler.frontier.redis.redis_client import PREFIX, RedisClient
from crawler.frontier.redis.worker_registry import pairs
from crawler.records import Outlink, RobotsRecord

SEEDS: Final = "seeds"
"""HASH of a job, on its first shard: what seeds redirected to → the kind of address it may have."""


class Shards:
    """The wire to them, the job's name, and their numbers as of the last answers."""

    def __init__(self, wire: RedisClient, settings: FrontierConfig, *, by_depth: bool) -> None:
        self.wire = wire
        self.job = settings.job
        self.by_depth = by_depth
        self.stats: dict[int, JobStats] = {}
        caps = (settings.max_queued, settings.host_queued)
        self.caps = [-1 if cap is None else cap for cap in caps]

    def __len__(self) -> int:
        return self.wire.shards

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.wire.shards))

    def of(self, host: str) -> int:
        """Where a host, and all that is its, lives."""
        return shard_of(host, self.wire.shards)

    # ── numbers ──────────────────────────────────────────────────────────────────────────────

    @property
    def sum(self) -> JobStats:
        return total(self.stats.values())

    async def born(self) -> None:
        """Say when the job began, unless somebody did."""
        for shard in self:
            key = f"{self.wire.tag(shard)}{self.job}:st"
            await self.wire.plain("HSETNX", key, "born", int(time.time()))

    async def look(self) -> JobStats:
        for shard in self:
            self.stats[shard] = stats_of(await self.wire.call("stats", shard, self.job))
        return self.sum

    def heard(self, shard: int, values: Sequence[int]) -> None:
        """Numbers that came with another answer: all but that of hosts."""
        known = self.stats.get(shard)
        hosts = known.hosts if known else 0
        self.stats[shard] = msgspec.structs.replace(stats_of(values), hosts=hosts)

    # ── links ────────────────────────────────────────────────────────────────────────────────

    async def add(self, found: Sequence[Outlink], *, depth: int) -> int:
        """Queue them, wherever they live; how many are new."""
        fresh = 0
        by_shard: dict[int, list[Outlink]] = {}
        for one in found:
            by_shard.setdefault(self.of(one[1]), []).append(one)
        for shard, some in by_shard.items():
            for start in range(0, len(some), 1000):
                rows = items(
                    some[start : start + 1000],
                    depth=depth, hops=0, via=None, by_depth=self.by_depth,
                )  # fmt: skip
                fresh += len(await self.add_rows(shard, rows))
        return fresh

    async def add_rows(self, shard: int, rows: Sequence[Any]) -> list[int]:
        """Queue what `redis_rows.items` wrote; the places of those that are new."""
        fresh: list[int] = await self.wire.call("add", shard, self.job, *self.caps, *rows)
        return fresh

    async def retry(self, reason: str) -> int:
        """Queue the failed links again whose reason contains this; how many."""
        number = 0
        for shard in self:
            number += await self.wire.call("retry", shard, self.job, reason)
        return number

    # ── orders and facts ─────────────────────────────────────────────────────────────────────

    async def pause(self, *, on: bool) -> None:
        for shard in self:
            await self.wire.call("pause", shard, self.job, int(on))

    async def block(self, host: str, seconds: float) -> None:
        await self.wire.call("block", self.of(host), host, int(seconds * 1000))

    async def rules(self, origin: str) -> RobotsRecord | None:
        host = origin.split("/", 3)[2]
        written = await self.wire.call("robots", self.of(host), self.job, origin)
        return None if written is None else rules_of(written)

    async def marks(self, worker: str) -> dict[str, int]:
        """The length each of a worker's outputs had at its last commit."""
        written = await self.wire.plain("HGETALL", f"{self.wire.tag(0)}{self.job}:mark")
        pairs = (
            written.items() if isinstance(written, dict) else zip(*[iter(written)] * 2, strict=True)
        )
        mine = f"{worker}/"
        return {
            name.decode().removeprefix(mine): int(length)
            for name, length in pairs
            if name.decode().startswith(mine)
        }

    async def reasons(self) -> list[tuple[str, int]]:
        """Why links were refused, failed or parked, with numbers."""
        return await reasons_of(self.wire, self.job)

    async def adopted(self) -> dict[str, str]:
        """What seeds redirected to; see `adopt`."""
        key = f"{PREFIX}{{0}}:{self.job}:{SEEDS}"
        return {
            url.decode("utf-8", "surrogatepass"): kind.decode()
            for url, kind in pairs(await self.wire.plain("HGETALL", key))
        }

    async def adopt(self, seeds: Mapping[str, str]) -> None:
        """Seeds by their URL, with the kind of address that each may have."""
        key = f"{PREFIX}{{0}}:{self.job}:{SEEDS}"
        words = [word for pair in seeds.items() for word in pair]
        await self.wire.plain("HSET", key, *words)

    async def notes(self) -> dict[str, str | float]:
        """Facts about the crawl as a whole, as kept by `note`."""
        written = await self.wire.plain("GET", f"{PREFIX}{{0}}:{self.job}:notes")
        return {} if written is None else msgspec.json.decode(written, type=dict[str, str | float])

    async def note(self, **values: str | float) -> None:
        every = {**await self.notes(), **values}
        key = f"{PREFIX}{{0}}:{self.job}:notes"
        await self.wire.plain("SET", key, msgspec.json.encode(every))


async def reasons_of(wire: RedisClient, job: str) -> list[tuple[str, int]]:
    """Why a job's links were refused, failed or parked, with numbers; by shard."""
    return [
        (reason.decode("utf-8", "replace"), int(number))
        for shard in range(wire.shards)
        for reason, number in pairs(await wire.plain("HGETALL", f"{wire.tag(shard)}{job}:why"))
    ]
