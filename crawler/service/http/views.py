"""Records of the API's responses on jobs. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from crawler.bootstrap.download_progress import DownloadProgress
from crawler.engine.stats import bottleneck
from crawler.policy.autothrottle import HostPace
from crawler.policy.end_message import NO_PAGES, sentence
from crawler.service.jobs.crawl_run import NO_PAGE_PREFIX
from crawler.service.jobs.job import Job, JobKind, JobState, Totals
from crawler.service.jobs.job_run import JobRun, RecentVisit
from crawler.service.jobs.kinds import handler_of
from crawler.service.jobs.request_body import without_login
from crawler.service.results.crawl_results import HostResult, LinkResult
from crawler.service.results.job_files import FileRow


class HookView(msgspec.Struct, frozen=True):
    """A webhook, without its secret."""

    url: str
    signed: bool
    events: tuple[str, ...]


class HostView(msgspec.Struct, frozen=True):
    """One of the slowest hosts of a run. Durations are per request."""

    host: str
    visits: int
    failed: int
    mean_ms: float
    max_ms: float


class LiveView(msgspec.Struct, frozen=True):
    """Live figures of a running crawl."""

    pages_per_second: float
    recent_per_second: float
    in_flight: int
    parsing: int
    queued: int
    lag_ms: float
    statuses: dict[str, int]
    outcomes: dict[str, int]
    reasons: dict[str, int]
    ttfb_ms: tuple[float, float, float]
    hosts: tuple[HostView, ...]
    paces: tuple[
        HostPace, ...
    ]  # throttled and parked hosts first, then those with the most queued URLs
    recent: tuple[RecentVisit, ...]
    bottleneck: str


class JobView(msgspec.Struct, frozen=True):
    """A job in API responses. Times are RFC 3339 in UTC; null: not yet.

    `live` has the figures of a running crawl, `download` those of a running download; `ending` is a
    sentence on how a crawl ended.
    """

    id: str
    number: int
    name: str
    owner: str
    state: str
    reason: str
    created_at: str
    started_at: str | None
    ended_at: str | None
    runs: int
    schedule: str | None
    totals: Totals
    webhooks: tuple[HookView, ...]
    live: LiveView | None = None
    config: dict[str, Any] | None = None
    kind: JobKind = JobKind.CRAWL
    download: DownloadProgress | None = None
    ending: str | None = None


class JobList(msgspec.Struct, frozen=True):
    """Jobs, newest first. `next`: cursor of the next page, null: there are no more."""

    jobs: tuple[JobView, ...]
    next: str | None
    counts: dict[str, int]


class PageList(msgspec.Struct, frozen=True):
    """Unchanged records of pages.jsonl."""

    pages: tuple[dict[str, Any], ...]
    next: str | None


class LinkList(msgspec.Struct, frozen=True):
    """URLs, in the order of discovery."""

    links: tuple[LinkResult, ...]
    next: str | None


class HostList(msgspec.Struct, frozen=True):
    """Hosts, those with the most queued links first."""

    hosts: tuple[HostResult, ...]


class FileList(msgspec.Struct, frozen=True):
    """Files sorted by path. `next`: cursor of the next page, null: there are no more."""

    files: tuple[FileRow, ...]
    next: str | None


class WorkerStatusView(msgspec.Struct, frozen=True):
    """A worker's part of a job. `leased`: links that only this worker may fetch now."""

    job: str
    pages: int
    leased: int
    in_flight: int


class WorkerView(msgspec.Struct, frozen=True):
    """One worker. `state`: working, idle, leaving, or dead (no heartbeat; its leases expire).

    `silent`: seconds since its last heartbeat. `troubles`: job id → why it cannot work on the job.
    """

    name: str
    state: str
    place: str
    version: str
    pid: int
    since: str
    silent: float
    rss_bytes: int
    pages: int
    pages_per_second: float
    leased: int
    hands: tuple[WorkerStatusView, ...]
    troubles: dict[str, str]


class WorkerList(msgspec.Struct, frozen=True):
    """`shared`: whether workers run the jobs. `trouble`: why the Redis server cannot be used, null:
    it can.
    """

    workers: tuple[WorkerView, ...]
    trouble: str | None
    shared: bool


class HealthView(msgspec.Struct, frozen=True):
    """`status` is ok, or the reason why not, in one word."""

    status: str
    running: int
    version: str


def rfc3339(seconds: float | None) -> str | None:
    """Unix time as RFC 3339 in UTC, with milliseconds."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def live_view(run: JobRun | None, *, hosts: int = 5, recent: int = 10) -> LiveView | None:
    """Live figures of a crawl, with the `hosts` slowest hosts and last `recent` visits; None: no
    crawl is open.
    """
    if run is None or (snapshot := run.snapshot(hosts=hosts)) is None:
        return None
    gauges = snapshot.gauges
    return LiveView(
        pages_per_second=round(snapshot.pages_per_second, 2),
        recent_per_second=round(snapshot.recent_per_second, 2),
        in_flight=gauges.in_flight,
        parsing=gauges.parsing,
        queued=gauges.queued,
        lag_ms=round(gauges.lag_ms, 1),
        statuses={str(code): number for code, number in snapshot.statuses.items()},
        outcomes=snapshot.outcomes,
        reasons=dict(list(snapshot.reasons.items())[:20]),
        ttfb_ms=tuple(round(ms, 1) for ms in snapshot.ttfb_ms),  # type: ignore[arg-type]
        hosts=tuple(
            HostView(host.name, host.visits, host.failed, round(host.mean_ms, 1), host.max_ms)
            for host in snapshot.slowest
        ),
        paces=run.paces(),
        recent=tuple(run.recent)[-recent:][::-1],
        bottleneck=bottleneck(snapshot),
    )


def job_view(job: Job, run: JobRun | None, *, detailed: bool = False) -> JobView:
    """`run`: the job's active run. `detailed`: with configuration and live figures."""
    return JobView(
        id=job.id,
        number=job.number,
        name=job.name,
        owner=job.owner,
        state=job.state.value,
        reason=job.reason,
        created_at=rfc3339(job.created_at) or "",
        started_at=rfc3339(job.started_at),
        ended_at=rfc3339(job.ended_at),
        runs=job.runs,
        schedule=job.schedule,
        totals=job.totals if run is None or run.crawl is None else run.totals(),
        webhooks=tuple(
            HookView(without_login(hook.url), hook.secret is not None, hook.events)
            for hook in job.webhooks
        ),
        live=live_view(run) if detailed else None,
        config=handler_of(job).visible_config(job.config) if detailed else None,
        kind=job.kind,
        download=None if run is None else run.download_progress(),
        ending=_ending(job),
    )


def _ending(job: Job) -> str | None:
    """The sentence of the command line's summary; None: it is not a crawl, or has not ended."""
    if job.kind is not JobKind.CRAWL or job.state not in {JobState.FINISHED, JobState.FAILED}:
        return None
    no_pages = job.reason.startswith(NO_PAGE_PREFIX)
    if job.state is JobState.FAILED and not no_pages:
        return job.reason
    finish_reason = NO_PAGES if no_pages else job.reason
    totals = job.totals
    return sentence(
        finish_reason, pending=totals.queued, left=totals.left, incomplete=totals.incomplete
    )
