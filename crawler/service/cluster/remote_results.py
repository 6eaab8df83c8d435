"""Results of a job that workers run; `results/crawl_results.py` is for jobs that run here.

Where the URLs of a state are stored:

    done, moved, unchanged, refused, failed   workers' records, see worker_outputs.py: also after
                                              the job's queue was deleted at its end
    failed without a record, braked           lists on the server, while the job is stored there
    queued, resting                           the server: a single URL, and counts by host
    skipped                                   not stored: a fingerprint of nine bytes per URL, and
                                              counts by reason
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
from crawler.service.results.crawl_results import (
    PATH_LENGTH_MAX,
    HostResult,
    LinkResult,
    ResultsNotKept,
    UrlStory,
)

QUERY_TIMEOUT_S: Final = 5.0
"""Seconds that one query may take."""

RECORDED_STATES: Final = ("done", "moved", "unchanged", "refused", "failed")
LISTED_STATES: Final = (*RECORDED_STATES, "braked")
"""States whose URLs can be listed."""

SERVER_IDS_FROM: Final = 1 << 50
"""Ids from here on belong to links on the server; smaller ids to records."""


async def links(
    frontier: FrontierConfig, folder: Path, *, states: Collection[str], after: int, limit: int
) -> list[LinkResult]:
    """Records in order of arrival, then links on the server. Raises ResultsNotKept."""
    if unknown := [state for state in states if state not in LISTED_STATES]:
        raise ResultsNotKept(
            f"workers run this job, and its URLs that are {' or '.join(unknown)} are not stored: "
            f"states are {', '.join(LISTED_STATES)}; the job has their number, and `live.reasons` "
            "that of skipped URLs by reason"
        )
    wanted = set(states or LISTED_STATES)
    rows: list[LinkResult] = []
    if after < SERVER_IDS_FROM and (outcomes := wanted & set(RECORDED_STATES)):
        found = await asyncio.to_thread(
            worker_outputs.indexed_records, folder, after=after, limit=limit, outcomes=outcomes
        )
        rows = [_link_of_record(number, record) for number, record in found]
    if len(rows) < limit and wanted & set(job_inspect.LISTS):
        async with _connection(frontier, folder.name) as client:
            stored = [] if client is None else await job_inspect.listed(
                client, folder.name, wanted, after=max(0, after - SERVER_IDS_FROM),
                limit=limit - len(rows), wanted=_has_no_record,
            )  # fmt: skip
        rows += [_link_of_stored(link, SERVER_IDS_FROM + number) for number, link in stored]
    return rows


async def hosts(frontier: FrontierConfig, folder: Path, *, limit: int) -> list[HostResult]:
    """Hosts with the most queued links. Raises ResultsNotKept: the job's queue was deleted."""
    async with _connection(frontier, folder.name) as client:
        if client is None:
            raise ResultsNotKept(
                "workers ran this job, and its queue was deleted: its hosts are only in its pages"
            )
        found = await job_inspect.hosts(client, folder.name, limit)
    return [
        HostResult(
            host.name, None, host.queued, None, None, round(host.rest, 1), host.delay, host.status
        )
        for host in found
    ]


async def explain(
    frontier: FrontierConfig, folder: Path, url: str, rules: UrlsConfig
) -> UrlStory | None:
    """All that is known of a URL; None: the crawl has not found it, or it is not a URL.

    Raises ResultsNotKept when the crawl has found the URL and only its state is stored.
    """
    canonical = Urls(rules).canonical(url)
    if canonical is None:
        return None
    key, host = fingerprint(canonical, host_key(canonical)), host_key(canonical)
    record = await asyncio.to_thread(worker_outputs.record_of, folder, canonical)
    stored: StoredUrl | str | None = None
    status = delay = None
    async with _connection(frontier, folder.name) as client:
        if client is not None:
            status, delay = await job_inspect.robots(client, folder.name, origin(canonical))
            if record is None:
                stored = await job_inspect.find(client, folder.name, key, host)
                if isinstance(stored, str):
                    raise ResultsNotKept(await _known_of_state(client, folder.name, stored))
    if record is not None:
        row = _link_of_record(0, record)
    elif isinstance(stored, StoredUrl):
        row = _link_of_stored(stored, 0)
    else:
        return None
    path = await asyncio.to_thread(_path, folder, row)
    return UrlStory(
        row, path, status, delay,
        stored.ahead if isinstance(stored, StoredUrl) else None,
        record["duplicate_of"] if record else None,
        record["final_url"] if record and row.state == "moved" else None,
    )  # fmt: skip


@asynccontextmanager
async def _connection(frontier: FrontierConfig, job: str) -> AsyncIterator[RedisClient | None]:
    """A connection for one query; None: the job is not on the server. Raises FrontierError."""
    settings = msgspec.structs.replace(frontier, job=job, patience=QUERY_TIMEOUT_S / 2)
    try:
        async with asyncio.timeout(QUERY_TIMEOUT_S), wire_to(settings) as client:
            yield client if await is_there(client, job) else None
    except TimeoutError as error:
        raise FrontierError(f"no answer within {QUERY_TIMEOUT_S:g} s: the job is large") from error


async def _known_of_state(client: RedisClient, job: str, state: str) -> str:
    """A sentence on a URL of which only the state is stored."""
    if state == "seen":
        return (
            "it was found, and has no record: it is far back in a long queue, or is being "
            "written at this moment"
        )
    reasons = []
    for shard in range(client.shards):
        for reason, number in pairs(await client.plain("HGETALL", f"{client.tag(shard)}{job}:why")):
            reasons.append(f"{reason.decode('utf-8', 'replace')} {int(number)}")
    return (
        "it was skipped when it was found. Workers run this job, and reasons are stored as "
        f"counts only: {', '.join(sorted(reasons)[:20])}"
    )


def _has_no_record(url: StoredUrl) -> bool:
    """Whether workers wrote no record: the URL was parked, or its workers died."""
    return url.state == "braked" or url.reason == "lease"


def _link_of_record(number: int, record: dict[str, Any]) -> LinkResult:
    """The link of a record. None: not known."""
    at = record["fetched_at"]
    return LinkResult(
        number, record["url"], record["outcome"], record["kind"], record["depth"], record["via"],
        record["status"], record["reason"], record["attempts"], record["bytes_wire"],
        datetime.fromisoformat(at).timestamp() if at else None, None,
    )  # fmt: skip


def _link_of_stored(stored: StoredUrl, number: int) -> LinkResult:
    link = stored.link
    return LinkResult(
        number, link.url, stored.state, link.kind.value, link.depth, link.via, None,
        stored.reason or None, link.attempt, None, None, stored.due,
    )  # fmt: skip


def _path(folder: Path, row: LinkResult) -> tuple[str, ...]:
    """The path from a seed, by the records of the linking pages. Blocking."""
    path, via = [row.url], row.via
    while via is not None and via not in path and len(path) <= PATH_LENGTH_MAX:
        path.append(via)
        parent = worker_outputs.record_of(folder, via)
        via = parent["via"] if parent else None
    return tuple(reversed(path))
