"""How links, visits and lessons are written for the Lua side. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final
from zlib import crc32

import msgspec

from crawler.config.model import PaceConfig
from crawler.frontier.scheduling.slot_settings import SlotSettings, terms
from crawler.policy.autothrottle import HostPace, ResponseSample
from crawler.policy.end_message import left_of
from crawler.policy.outcome import COOKIE_WALL, cookies
from crawler.records import Counts, CrawlResult, CrawlUrl, Kind, Outcome, Outlink, RobotsRecord

BUCKETS: Final = 16_384
"""Sets of fingerprints a shard: few enough to cost nothing, enough to stay small."""

KINDS: Final = tuple(Kind)
HTTPS, PAGE = 1, 2
HEADER: Final = 10  # bytes before what only workers read

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode
_rules = msgspec.msgpack.Decoder(RobotsRecord).decode


def shard_of(host: str, shards: int) -> int:
    """Where a host, and all that is its, lives."""
    return crc32(host.encode("utf-8", "surrogatepass")) % shards


def member(key: bytes) -> tuple[int, int]:
    """A URL's bucket, and what stands for it there: 64 of the 96 bits of its own hash."""
    return int.from_bytes(key[12:14]) % BUCKETS, int.from_bytes(key[4:12], signed=True)


def element(link: CrawlUrl, key: bytes) -> bytes:
    """A link as it lies in its host's list; `key` is its fingerprint, or the 8 bytes of it."""
    flags = HTTPS * link.url.startswith("https:") + PAGE * (link.kind is Kind.PAGE)
    head = (key[4:12] if len(key) == 16 else key) + bytes((min(link.attempt, 255), flags))
    rest = (link.url, link.depth, KINDS.index(link.kind), link.via, link.hops, link.cookie)
    return head + _pack(rest)


def link_of(written: bytes, host: str, number: int) -> CrawlUrl:
    """The link that `element` wrote."""
    url, depth, kind, via, hops, cookie = _unpack(written[HEADER:])
    return CrawlUrl(url, host, depth, via, KINDS[kind], hops, written[8], number, cookie)


def items(
    found: Iterable[Outlink], *, depth: int, hops: int, via: str | None, by_depth: bool
) -> list[Any]:
    """Arguments of `add`, six a link."""
    rows: list[Any] = []
    level = depth if by_depth else 0
    for url, host, key, kind, reason in found:
        bucket, number = member(key)
        link = CrawlUrl(url, host, depth, via, Kind(kind), hops)
        rows += (host, str(bucket), str(number), str(level), reason, element(link, key))
    return rows


def where_to(visit: CrawlResult) -> tuple[int, int]:
    """Depth and hops of what a visit found."""
    link = visit.link
    moved = visit.outcome is Outcome.MOVED
    listed = link.kind in {Kind.SITEMAP, Kind.FEED}  # a list is no click
    nested = listed and bool(visit.found) and visit.found[0][3] != Kind.PAGE
    return link.depth + (not (moved or listed)), link.hops + 1 if moved or nested else 0


def visit_row(visit: CrawlResult, name: bytes, token: bytes, now: float) -> list[Any]:
    """A visit as `settle` reads it. Times are milliseconds, from now; `now` is Unix time."""
    link, rules = visit.link, visit.rules
    robots = known = b""
    if rules is not None:
        valid = (rules.expires_at - now) * 1000
        delay = -1.0 if rules.delay is None else rules.delay * 1000
        robots, known = _pack((rules.origin, max(0.0, valid), delay)), _pack(rules)
    again = b""
    if visit.outcome is Outcome.RETRY and visit.reason == COOKIE_WALL and visit.page is not None:
        tried = msgspec.structs.replace(
            link, attempt=link.attempt + 1, cookie=cookies(visit.page) or link.cookie
        )
        again = element(tried, name)
    return [
        name, token, visit.outcome.value, (visit.retry_in or 0.0) * 1000, visit.rest * 1000,
        int(link.kind is Kind.PAGE), visit.reason, again, robots, known,
    ]  # fmt: skip


def rules_of(written: bytes) -> RobotsRecord:
    """What `visit_row` wrote of a robots.txt."""
    return _rules(written)


def terms_row(pace: PaceConfig, concurrency: int) -> bytes:
    """The job's wishes, as host.lua reads them: milliseconds, bytes a second."""
    own: SlotSettings = terms(pace, concurrency)
    return _pack(
        {
            "width": own.width, "delay": own.delay * 1000, "jitter": own.jitter,
            "adaptive": own.adaptive, "fast": pace.fast, "max_cd": pace.max_crawl_delay * 1000,
            "park_after": own.park_after, "park": own.park * 1000,
            "park_most": own.park_most * 1000, "max_parks": own.max_parks,
            "rate": own.rate or False,
        }
    )  # fmt: skip


def lesson_row(lesson: ResponseSample | None) -> bytes:
    if lesson is None:
        return b""
    return _pack(
        {
            "ms": False if lesson.seconds is None else lesson.seconds * 1000,
            "strained": lesson.strained,
            "failed": -1 if lesson.failed is None else int(lesson.failed),
            "bytes": lesson.bytes,
        }
    )


class JobStats(msgspec.Struct, frozen=True):
    """A shard's numbers, or the sums of all. `least` is its least unfinished level, -1: none;
    `wait` are milliseconds until it is worth asking again, -1: not known.
    """

    queued: int = 0
    resting: int = 0
    leased: int = 0
    asking: int = 0
    ops: int = 0
    pages: int = 0
    done: int = 0
    moved: int = 0
    unchanged: int = 0
    refused: int = 0
    failed: int = 0
    braked: int = 0
    expired: int = 0
    fenced: int = 0
    stranded: int = 0
    least: int = -1
    wait: int = -1
    hosts: int = 0

    @property
    def open(self) -> int:
        """Links that will still be visited, and robots.txt files that are asked for."""
        return self.queued + self.resting + self.leased + self.asking


def stats_of(values: Sequence[int]) -> JobStats:
    return JobStats(*(int(value) for value in values))


def total(shards: Iterable[JobStats]) -> JobStats:
    every = list(shards)
    sums = {name: sum(getattr(one, name) for one in every) for name in JobStats.__struct_fields__}
    sums["least"] = min((one.least for one in every if one.least >= 0), default=-1)
    sums["wait"] = min((one.wait for one in every if one.wait >= 0), default=-1)
    return JobStats(**sums)


def counts_of(stats: JobStats, reasons: Iterable[tuple[str, int]] = ()) -> Counts:
    """`reasons` were counted as links were refused, failed and parked: of those that were queued
    again since, too.
    """
    left = left_of(reasons) if stats.refused + stats.failed + stats.braked else {}
    return Counts(
        queued=stats.queued, resting=stats.resting, leased=stats.leased, done=stats.done,
        moved=stats.moved, unchanged=stats.unchanged, refused=stats.refused, failed=stats.failed,
        hosts=stats.hosts, braked=stats.braked, pages=stats.pages, left=left,
    )  # fmt: skip


def pace_of(row: Sequence[Any]) -> HostPace:
    """What `back` shows of a host."""
    host, width, limit, abroad, queued, delay, rest, parked, fails, parks, asked = row
    return HostPace(
        name=host.decode("utf-8", "surrogatepass"), width=width, limit=limit, in_flight=abroad,
        queued=queued, delay=float(delay) / 1000, rest=rest / 1000, parked=parked / 1000,
        failures=fails, parks=parks, crawl_delay=float(asked) / 1000 or None,
    )  # fmt: skip
