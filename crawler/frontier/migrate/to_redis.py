"""A crawl on one machine becomes one on many: its queue moves from its folder to Redis.

The folder is left as it is until everything has arrived, and the job is paused until then; whatever
dies in between, `crawler frontier remove` and another import begin anew.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import msgspec

from crawler.errors import ConfigError, FolderLocked, FrontierError
from crawler.frontier.redis.codec import element, member, shard_of
from crawler.frontier.redis.redis_client import RedisClient
from crawler.frontier.redis.redis_jobs import JOBS
from crawler.frontier.redis.shards import SEEDS
from crawler.frontier.sqlite.crawl_lock import claim
from crawler.frontier.sqlite.overview import looking
from crawler.frontier.sqlite.statements import (
    BRAKED,
    DONE,
    KINDS,
    QUEUED,
    RESTING,
    RULES,
    SKIPPED,
    STATES,
    UNCHANGED,
    adopted_in,
    rules_from,
)
from crawler.records import CrawlUrl, Kind

SOME: Final = 1000  # links in one call
DAY: Final = 86_400_000  # milliseconds that Redis remembers what a host taught
MOVED: Final = ".moved"
"""What the folder's queue is called once it lies elsewhere: it cannot be resumed by mistake."""


class ImportResult(msgspec.Struct):
    """What was moved."""

    queued: int = 0
    seen: int = 0


async def moved_in(wire: RedisClient, job: str, file: Path, config: str) -> ImportResult:
    """Move the frontier in `file` into a new job. `config` are its settings as TOML.

    Raises FolderLocked while a crawl runs there or when the job exists, ConfigError when there is
    no crawl, FrontierError when either cannot be used.
    """
    if not file.exists():
        raise ConfigError(f"{file.parent}: holds no crawl")
    lock = claim(file)
    try:
        if not await wire.plain("HSETNX", JOBS, job, config):
            raise FolderLocked(f"{wire.name}: already has a job {job!r}")
        for shard in range(wire.shards):
            key = f"{wire.tag(shard)}{job}:st"
            await wire.plain("HSET", key, "born", int(time.time()), "paused", 1)
        with looking(file) as db:
            arrived = await _links(wire, job, db)
            await _manners(wire, job, db)
            if adopted := adopted_in(db):
                words = [word for pair in adopted.items() for word in pair]
                await wire.plain("HSET", f"{wire.tag(0)}{job}:{SEEDS}", *words)
            lengths = dict(db.execute("SELECT sink, length FROM mark").fetchall())
        _cut(file.parent / "pages.jsonl", lengths.get("pages.jsonl"))
        for shard in range(wire.shards):
            await wire.call("pause", shard, job, 0)
        file.replace(file.with_name(file.name + MOVED))
    except OSError as error:
        raise FrontierError(f"{error.filename or file}: {error.strerror}") from error
    finally:
        os.close(lock)
    return arrived


_LINKS: Final = (
    "SELECT link.key, link.url, host.name, (SELECT url FROM link AS up WHERE up.id = link.via), "
    "link.kind, link.depth, link.hops, link.rank, link.state, link.attempt, link.cookie, "
    "link.reason, link.digest, link.twin, link.due FROM link JOIN host ON host.id = link.host "
    "ORDER BY link.host, link.rank, link.id"
)


async def _links(wire: RedisClient, job: str, db: sqlite3.Connection) -> ImportResult:
    arrived = ImportResult()
    queued: dict[int, list[Any]] = {n: [] for n in range(wire.shards)}
    known: dict[int, list[Any]] = {n: [] for n in range(wire.shards)}
    twins: dict[int, list[Any]] = {n: [] for n in range(wire.shards)}
    resting: dict[int, list[Any]] = {n: [] for n in range(wire.shards)}
    for row in db.execute(_LINKS):
        (
            key,
            url,
            host,
            via,
            kind,
            depth,
            hops,
            rank,
            state,
            attempt,
            cookie,
            reason,
            digest,
            twin,
            due,
        ) = row
        shard = shard_of(host, wire.shards)
        bucket, number = member(key)
        arrived.seen += 1
        if state == RESTING:
            link = CrawlUrl(url, host, depth, via, KINDS[kind], hops, attempt, cookie=cookie or "")
            wait = max(0.0, ((due or 0.0) - time.time()) * 1000)
            resting[shard] += (host, bucket, number, rank, wait, element(link, key))
            arrived.queued += 1
        elif state in {QUEUED, SKIPPED, BRAKED}:
            link = CrawlUrl(url, host, depth, via, KINDS[kind], hops, attempt, cookie=cookie or "")
            why = reason if state in {SKIPPED, BRAKED} else ""
            queued[shard] += (host, bucket, number, rank, why, element(link, key))
            arrived.queued += state == QUEUED
        else:
            page = state in {DONE, UNCHANGED} and KINDS[kind] is Kind.PAGE
            known[shard] += (host, bucket, number, STATES[state], int(page))
            if state == DONE and digest and twin is None:
                short = bytes.fromhex(digest.rpartition(":")[2])[:12]
                twins[short[0] % wire.shards] += (short, url)
        for verb, rows, most in (
            ("add", queued, 6 * SOME), ("later", resting, 6 * SOME),
            ("known", known, 5 * SOME), ("twins", twins, 2 * SOME),
        ):  # fmt: skip
            await _send(wire, job, verb, rows, most)
    for verb, rows in (
        ("add", queued), ("later", resting), ("known", known), ("twins", twins)
    ):  # fmt: skip
        await _send(wire, job, verb, rows, 1)
    return arrived


async def _send(
    wire: RedisClient, job: str, verb: str, rows: dict[int, list[Any]], most: int
) -> None:
    for shard, some in rows.items():
        if len(some) >= most:
            caps = (-1, -1) if verb == "add" else ()
            await wire.call(verb, shard, job, *caps, *some)
            some.clear()


async def _manners(wire: RedisClient, job: str, db: sqlite3.Connection) -> None:
    """What sites said and hosts taught: Crawl-delays, rests, widths, parking."""
    now = time.time()
    delays: Counter[str] = Counter()
    for host, *row in db.execute(
        f"SELECT host.name, {RULES} FROM robots JOIN host ON host.id = robots.host"  # noqa: S608
    ):
        tag = wire.tag(shard_of(host, wire.shards))
        rules = rules_from(*row)
        key = f"{tag}{job}:robots:{rules.origin}"
        packed = msgspec.msgpack.encode(rules)
        await wire.plain("HSET", key, "until", rules.expires_at * 1000, "rules", packed)
        delays[host] = max(delays[host], int((rules.delay or 0.0) * 1000))
    for host, rest in db.execute("SELECT name, rest_until FROM host WHERE rest_until > ?", (now,)):
        await wire.call("block", shard_of(host, wire.shards), host, int((rest - now) * 1000))
    for host, delay in delays.items():
        if delay:
            await _taught(wire, host, cd=delay)
    for host, width, failures, parks, until in db.execute("SELECT * FROM pace").fetchall():
        await _taught(wire, host, w=width, fails=failures, parks=parks, parked=until * 1000)


async def _taught(wire: RedisClient, host: str, **values: float) -> None:
    key = f"{wire.tag(shard_of(host, wire.shards))}h:{host}"
    await wire.plain("HSET", key, *(word for pair in values.items() for word in pair))
    await wire.plain("PEXPIRE", key, DAY)


def _cut(path: Path, length: int | None) -> None:
    """What stands behind the mark was never committed; its links are queued."""
    if length is not None and path.exists() and path.stat().st_size > length:
        os.truncate(path, length)
