"""What is known of the URLs of a job that workers run: `reading` for a job that is not here.

done, moved, unchanged, refused, failed   the workers' records, by their index (shares.py): also
when the job's queue is gone, as it is after the end
failed without a record, braked           the server's lists, as long as the job lies there
queued, resting                           the server: one that is asked for, and numbers by host
skipped                                   nobody: nine bytes of a URL, and a number by reason
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from crawler.config.model import FrontierConfig, UrlsConfig
from crawler.errors import FrontierError
from crawler.frontier.redis import job_inspect
from crawler.frontier.redis.job_inspect import StoredUrl
from crawler.frontier.redis.redis_client import RedisClient
from crawler.frontier.redis.redis_jobs import wire_to
from crawler.frontier.redis.worker_registry import is_there, pairs
from crawler.policy.urls import Urls, fingerprint, host_key, origin
from crawler.service.cluster import worker_outputs
from crawler.service.jobs.runner import ResultsNotKept
from crawler.service.results.crawl_results import ANCESTORS, HostResult, LinkResult, UrlStory

PATIENCE: Final = 5.0
"""Seconds that one question may take."""

VISITED: Final = ("done", "moved", "unchanged", "refused", "failed")
LISTED: Final = (*VISITED, "braked")
"""States whose URLs can be listed."""

THERE: Final = 1 << 50
"""Numbers from here on are of links that lie on the server; below, of records."""


async def links(
    where: FrontierConfig, folder: Path, *, states: Collection[str], after: int, limit: int
) -> list[LinkResult]:
    """Records in the order in which they came in, then what lies on the server. Raises NotKept."""
    if unknown := [state for state in states if state not in LISTED]:
        raise ResultsNotKept(
            f"workers run this job, and its URLs that are {' or '.join(unknown)} are not listed: "
            f"states are {', '.join(LISTED)}; numbers are in the job, and those of what was "
            "refused where it was found, by reason, in its `live.reasons`"
        )
    wanted = set(states or LISTED)
    rows: list[LinkResult] = []
    if after < THERE and (outcomes := wanted & set(VISITED)):
        found = await asyncio.to_thread(
            worker_outputs.numbered, folder, after=after, limit=limit, outcomes=outcomes
        )
        rows = [_row(number, record) for number, record in found]
    if len(rows) < limit and wanted & set(job_inspect.LISTS):
        async with _asking(where, folder.name) as wire:
            lying = [] if wire is None else await job_inspect.listed(
                wire, folder.name, wanted, after=max(0, after - THERE), limit=limit - len(rows),
                wanted=_unrecorded,
            )  # fmt: skip
        rows += [_there(one, THERE + number) for number, one in lying]
    return rows


async def hosts(where: FrontierConfig, folder: Path, *, limit: int) -> list[HostResult]:
    """Those with the most work left. Raises NotKept: the job's queue is gone."""
    async with _asking(where, folder.name) as wire:
        if wire is None:
            raise ResultsNotKept(
                "workers ran this job, and nothing of it waits any more: of its hosts only the "
                "pages tell"
            )
        found = await job_inspect.hosts(wire, folder.name, limit)
    return [
        HostResult(
            one.name, None, one.queued, None, None, round(one.rest, 1), one.delay, one.status
        )
        for one in found
    ]


async def why(where: FrontierConfig, folder: Path, url: str, rules: UrlsConfig) -> UrlStory | None:
    """The story of a URL; None: this crawl never met it, or it is none. Raises NotKept."""
    canonical = Urls(rules).canonical(url)
    if canonical is None:
        return None
    key, host = fingerprint(canonical, host_key(canonical)), host_key(canonical)
    record = await asyncio.to_thread(worker_outputs.record_of, folder, canonical)
    lying: StoredUrl | str | None = None
    status = delay = None
    async with _asking(where, folder.name) as wire:
        if wire is not None:
            status, delay = await job_inspect.robots(wire, folder.name, origin(canonical))
            if record is None:
                lying = await job_inspect.find(wire, folder.name, key, host)
                if isinstance(lying, str):
                    raise ResultsNotKept(await _known_of(wire, folder.name, lying))
    if record is not None:
        row = _row(0, record)
    elif isinstance(lying, StoredUrl):
        row = _there(lying, 0)
    else:
        return None
    path = await asyncio.to_thread(_path, folder, row)
    return UrlStory(
        row, path, status, delay,
        lying.ahead if isinstance(lying, StoredUrl) else None,
        record["duplicate_of"] if record else None,
        record["final_url"] if record and row.state == "moved" else None,
    )  # fmt: skip


@asynccontextmanager
async def _asking(where: FrontierConfig, job: str) -> AsyncIterator[RedisClient | None]:
    """The server, for one question; None: the job does not lie there. Raises FrontierError."""
    patient = msgspec.structs.replace(where, job=job, patience=PATIENCE / 2)
    try:
        async with asyncio.timeout(PATIENCE), wire_to(patient) as wire:
            yield wire if await is_there(wire, job) else None
    except TimeoutError as error:
        raise FrontierError(f"no answer within {PATIENCE:g} s: the job is large") from error


async def _known_of(wire: RedisClient, job: str, state: str) -> str:
    """A sentence on a URL of which one word is known."""
    if state == "seen":
        return (
            "it was found, and is not recorded: it waits far back in a long queue, or is being "
            "written at this moment"
        )
    reasons = []
    for shard in range(wire.shards):
        for reason, number in pairs(await wire.plain("HGETALL", f"{wire.tag(shard)}{job}:why")):
            reasons.append(f"{reason.decode('utf-8', 'replace')} {int(number)}")
    return (
        "it was refused where it was found. Workers run this job, and why is kept as numbers "
        f"only: {', '.join(sorted(reasons)[:20])}"
    )


def _unrecorded(one: StoredUrl) -> bool:
    """Whether no record tells of it: it was parked, or killed its workers."""
    return one.state == "braked" or one.reason == "lease"


def _row(number: int, record: dict[str, Any]) -> LinkResult:
    """Of a record. What is None there is not known."""
    at = record["fetched_at"]
    return LinkResult(
        number, record["url"], record["outcome"], record["kind"], record["depth"], record["via"],
        record["status"], record["reason"], record["attempts"], record["bytes_wire"],
        datetime.fromisoformat(at).timestamp() if at else None, None,
    )  # fmt: skip


def _there(one: StoredUrl, number: int) -> LinkResult:
    link = one.link
    return LinkResult(
        number, link.url, one.state, link.kind.value, link.depth, link.via, None,
        one.reason or None, link.attempt, None, None, one.due,
    )  # fmt: skip


def _path(folder: Path, row: LinkResult) -> tuple[str, ...]:
    """From a seed to it, by the records of the pages that led there. Blocking."""
    way, via = [row.url], row.via
    while via is not None and via not in way and len(way) <= ANCESTORS:
        way.append(via)
        parent = worker_outputs.record_of(folder, via)
        via = parent["via"] if parent else None
    return tuple(reversed(way))
