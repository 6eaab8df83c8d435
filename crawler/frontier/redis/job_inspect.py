"""What lies on a Redis of one job, looked at from outside: lists, hosts, one URL. Changes nothing.

A finished URL is nine bytes there and no URL any more: of those only records tell. A URL that waits
stands in its host's list; to find it, so much of that list is read as `FAR` says.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any, Final

import msgspec

from crawler.frontier.redis.codec import link_of, member, rules_of, shard_of
from crawler.frontier.redis.redis_client import RedisClient
from crawler.frontier.redis.worker_registry import pairs
from crawler.policy.waits import Wait, retry_of
from crawler.records import CrawlUrl

SOME: Final = 1000  # elements in one answer
FAR: Final = 100_000  # elements of one list looked through for one URL

LISTS: Final = {"failed": "dead", "braked": "braked"}
"""States whose links lie in a list of their own, and its name."""

_WIDE: Final = 32  # bits of a place in one list


class StoredUrl(msgspec.Struct, frozen=True):
    """A link as it lies there. `ahead`: links of its host before it, where that is known; `due`:
    Unix seconds, of one that rests.
    """

    link: CrawlUrl
    state: str
    reason: str = ""
    ahead: int | None = None
    due: float | None = None


class StoredHost(msgspec.Struct, frozen=True):
    """A host of a job. `rest`: seconds until it may be asked again; the last two of its robots.txt,
    None: none was asked for, or it says nothing.
    """

    name: str
    queued: int
    rest: float
    delay: float | None
    status: int | None


async def listed(
    wire: RedisClient,
    job: str,
    states: Collection[str],
    *,
    after: int,
    limit: int,
    wanted: Callable[[StoredUrl], bool] = lambda _: True,
) -> list[tuple[int, StoredUrl]]:
    """Links of the states in LISTS with their numbers, those with a greater one than `after`."""
    found: list[tuple[int, StoredUrl]] = []
    for shard in range(wire.shards):
        for turn, (state, name) in enumerate(LISTS.items()):
            first = (shard * len(LISTS) + turn) << _WIDE
            at = max(0, after - first)
            if state not in states or at >> _WIDE:
                continue
            key = f"{wire.tag(shard)}{job}:{name}"
            while len(found) < limit:
                packed = await wire.plain("LRANGE", key, at, at + SOME - 1)
                if not packed:
                    break
                for host, _, element, reason in await wire.call("opened", shard, *packed):
                    at += 1
                    one = StoredUrl(_link(host, element), state, reason.decode("utf-8", "replace"))
                    if wanted(one):
                        found.append((first + at, one))
    return found[:limit]


async def hosts(wire: RedisClient, job: str, limit: int) -> list[StoredHost]:
    """Those with the most that waits. Of a very wide crawl this reads every host's number."""
    best: list[tuple[int, str]] = []
    for shard in range(wire.shards):
        cursor = 0
        while True:
            cursor, some = await wire.plain(
                "HSCAN", f"{wire.tag(shard)}{job}:n", cursor, "COUNT", SOME
            )
            rows = [(int(n), _text(host)) for host, n in pairs(some)]
            best = heapq.nlargest(limit, [*best, *rows])
            if not int(cursor):
                break
    return [await _host(wire, job, name, queued) for queued, name in best]


async def robots(wire: RedisClient, job: str, origin: str) -> tuple[int | None, float | None]:
    """Status and Crawl-delay of an origin's robots.txt; None: not known, or none."""
    host = origin.partition("://")[2]
    key = f"{wire.tag(shard_of(host, wire.shards))}{job}:robots:{origin}"
    written = await wire.plain("HGET", key, "rules")
    if written is None:
        return None, None
    rules = rules_of(written)
    return rules.status, rules.delay


async def find(wire: RedisClient, job: str, key: bytes, host: str) -> StoredUrl | str | None:
    """A URL, by its fingerprint, that is not finished. Or one word of what is known of it: `seen`
    (it is finished, or far back in a long queue), `skipped` (refused where it was found). None: it
    was never met.
    """
    shard = shard_of(host, wire.shards)
    at, name = f"{wire.tag(shard)}{job}:", key[4:12]
    packed = await wire.plain("HGET", f"{at}fly", name)
    if packed is not None:
        for where, _, element, _ in await wire.call("opened", shard, packed):
            return StoredUrl(_link(where, element), "queued", ahead=0)
    bucket, number = member(key)
    if await wire.plain("SISMEMBER", f"{at}seen:{bucket}", number):
        return await _queued(wire, at, name, host) or await _rests(wire, shard, at, name) or "seen"
    if await wire.plain("SISMEMBER", f"{at}parked:{bucket}", number):
        async for where, _, element, reason in _opened(wire, shard, f"{at}braked"):
            if element[:8] == name:
                return StoredUrl(_link(where, element), "braked", reason.decode("utf-8", "replace"))
    elif await wire.plain("SISMEMBER", f"{at}skip:{bucket}", number):
        return "skipped"
    return None


async def retries(wire: RedisClient, job: str, most: int) -> list[Wait | None]:
    """The links whose next try is farthest away, of each shard."""
    found: list[Wait | None] = []
    for shard in range(wire.shards):
        key = f"{wire.tag(shard)}{job}:rest"
        some = await wire.plain("ZRANGE", key, 0, most - 1, "REV", "WITHSCORES")
        if not some:
            continue
        flat = [word for one in some for word in one] if isinstance(some[0], list) else some
        rows = await wire.call("opened", shard, *flat[::2])
        now = float(await wire.call("clock", shard))
        for (host, _, element, _), due in zip(rows, flat[1::2], strict=True):
            seconds = (float(due) - now) / 1000
            found.append(retry_of(_link(host, element).url, seconds, 0.0, ""))
    return found


async def _queued(wire: RedisClient, at: str, name: bytes, host: str) -> StoredUrl | None:
    ahead = 0
    levels = pairs(await wire.plain("HGETALL", f"{at}o"))
    for level in sorted(int(level) for level, _ in levels):
        key = f"{at}q:{level}:{host}"
        for start in range(0, FAR, SOME):
            some = await wire.plain("LRANGE", key, start, start + SOME - 1)
            for place, element in enumerate(some):
                if element[:8] == name:
                    return StoredUrl(
                        link_of(element, host, 0), "queued", ahead=ahead + start + place
                    )
            if len(some) < SOME:
                break
        ahead += await wire.plain("LLEN", key)
    return None


async def _rests(wire: RedisClient, shard: int, at: str, name: bytes) -> StoredUrl | None:
    for start in range(0, FAR, SOME):
        some = await wire.plain("ZRANGE", f"{at}rest", start, start + SOME - 1)
        if not some:
            break
        rows = await wire.call("opened", shard, *some)
        for packed, (host, _, element, _) in zip(some, rows, strict=True):
            if element[:8] == name:
                due = await wire.plain("ZSCORE", f"{at}rest", packed)
                when = None if due is None else float(due) / 1000
                return StoredUrl(_link(host, element), "resting", due=when)
    return None


async def _opened(wire: RedisClient, shard: int, key: str) -> AsyncIterator[Any]:
    """What a list has, unpacked on the server."""
    for start in range(0, FAR, SOME):
        some = await wire.plain("LRANGE", key, start, start + SOME - 1)
        if not some:
            break
        for row in await wire.call("opened", shard, *some):
            yield row


async def _host(wire: RedisClient, job: str, name: str, queued: int) -> StoredHost:
    shard = shard_of(name, wire.shards)
    due, delay = await wire.plain("HMGET", f"{wire.tag(shard)}h:{name}", "due", "cd")
    now = float(await wire.call("clock", shard))
    rest = max(0.0, (float(due or 0) - now) / 1000)
    known = [await robots(wire, job, f"{scheme}://{name}") for scheme in ("https", "http")]
    status = next((one for one, _ in known if one is not None), None)
    return StoredHost(name, queued, rest, float(delay) / 1000 if delay else None, status)


def _link(host: bytes, element: bytes) -> CrawlUrl:
    return link_of(element, _text(host), 0)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")
