"""Submit a worker's results: check their leases, mark duplicates, settle them.

A visit is written only where its link is still ours (`recognise`), and its children are queued
before it is settled: a crash in between repeats work and loses none.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from crawler.frontier.redis.codec import items, visit_row, where_to
from crawler.frontier.redis.lease_table import LeaseTable
from crawler.frontier.redis.redis_traps import RedisTraps
from crawler.frontier.redis.shards import Shards
from crawler.frontier.sqlite.content_dedup import digest_of
from crawler.records import CrawlResult, Outcome, Outlink

LOST: Final = "lease"
"""The reason of a visit whose link went to another worker: it is neither written nor counted."""

SOME: int = 64
"""Visits settled in one step: with 40 links each the server is busy for some 15 ms. Fewer cost more
calls, more save nothing (docs/scale.md; `benchmarks.worker_steps` measures)."""


class ResultSubmitter:
    """Of one worker; `worker` names its outputs' marks."""

    def __init__(self, shards: Shards, leases: LeaseTable, traps: RedisTraps, worker: str) -> None:
        self._shards = shards
        self._leases = leases
        self._traps = traps
        self._worker = worker

    async def recognise(self, visits: Sequence[CrawlResult]) -> Sequence[CrawlResult]:
        """Also where a worker learns that a link is no longer its own: such a visit becomes a
        RETRY with the reason `lease`, which no sink writes.
        """
        await self._leases.flush()
        kept = await self._leases.extend([self._leases.of(v.link) for v in visits])
        known = [
            visit if mine else CrawlResult(visit.link, Outcome.RETRY, reason=LOST)
            for visit, mine in zip(visits, kept, strict=True)
        ]
        by_shard: dict[int, list[tuple[int, bytes]]] = {}
        for number, visit in enumerate(known):
            if digest := digest_of(visit):
                short = bytes.fromhex(digest.rpartition(":")[2])[:12]
                by_shard.setdefault(short[0] % len(self._shards), []).append((number, short))
        for shard, some in by_shard.items():
            words = [w for n, short in some for w in (short, known[n].link.url)]
            first = await self._shards.wire.call("twins", shard, self._shards.job, *words)
            for (number, _), url in zip(some, first, strict=True):
                text = url.decode("utf-8", "surrogatepass")
                if text != known[number].link.url:
                    known[number] = msgspec.structs.replace(known[number], duplicate_of=text)
        return known

    async def settle(self, visits: Sequence[CrawlResult], marks: Mapping[str, int]) -> None:
        await self._leases.flush(visits)
        lengths = {f"{self._worker}/{name}": length for name, length in marks.items()}
        if adopted := {visit.found[0][0]: visit.adopts for visit in visits if visit.adopts}:
            await self._shards.adopt(adopted)  # first: who leases a target looks here
        by_shard: dict[int, list[CrawlResult]] = {}
        for visit in visits:
            by_shard.setdefault(self._shards.of(visit.link.host), []).append(visit)
        if len(self._shards) > 1 or not visits:  # first of all: what is written twice is merged
            await self._settle(0, [], lengths)
        for shard, some in by_shard.items():
            for start in range(0, len(some), SOME):
                await self._settle(shard, some[start : start + SOME], lengths)
        for visit in visits:
            self._leases.settled(visit.link)

    async def _settle(
        self, shard: int, visits: Sequence[CrawlResult], marks: dict[str, int]
    ) -> None:
        """Links of other shards are queued first: a crash in between repeats work, no more."""
        now = time.time()
        rows: list[Any] = []
        children: list[Any] = []
        parents: list[tuple[CrawlResult, list[Outlink]]] = []
        number = 0
        for visit in visits:
            held = self._leases.of(visit.link)
            if held is None or visit.reason == LOST:
                continue
            number += 1
            rows += visit_row(visit, held.id, held.token, now)
            depth, hops = where_to(visit)
            where: dict[int, list[Outlink]] = {}
            for one in visit.found:
                where.setdefault(self._shards.of(one[1]), []).append(self._traps.judged(one, visit))
            for other, some in where.items():
                written = items(
                    some, depth=depth, hops=hops, via=visit.link.url, by_depth=self._shards.by_depth
                )
                if other == shard:
                    parents.append((visit, some))
                    children += (number, 2 + len(written), *self._shards.caps, *written)
                else:
                    new = await self._shards.add_rows(other, written)
                    self._traps.found(visit, [some[int(n)] for n in new])
        if not rows and not marks:
            return
        _, fresh, stats = await self._shards.wire.call(
            "settle", shard, self._shards.job, msgspec.msgpack.encode(marks), number,
            *rows, *children,
        )  # fmt: skip
        self._shards.heard(shard, stats)
        for (visit, some), new in zip(parents, fresh, strict=True):
            self._traps.found(visit, [some[int(n)] for n in new])
        for visit in visits:
            self._traps.learn(visit)
