"""Records of the API's responses on jobs. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from crawler.bootstrap.download_progress import DownloadProgress
from crawler.engine.stats import bottleneck
from crawler.policy.autothrottle import HostPace
from crawler.policy.end_message import NO_PAGES, sentence
from crawler.service.jobs import download_job_request
from crawler.service.jobs.crawl_job_request import public
from crawler.service.jobs.crawl_run import NO_PAGE, CrawlRun, RecentVisit
from crawler.service.jobs.download_run import DownloadRun
from crawler.service.jobs.job import Job, JobKind, JobState, Totals
from crawler.service.jobs.request_body import without_login
from crawler.service.results.crawl_results import HostResult, LinkResult
from crawler.service.results.job_files import FileRow


class HookView(msgspec.Struct, frozen=True):
    """A webhook, without its secret."""

    url: str
    signed: bool
    events: tuple[str, ...]


class HostView(msgspec.Struct, frozen=True):
    """What one of the slowest hosts cost in this run."""

    host: str
    visits: int
    failed: int
    mean_ms: float
    max_ms: float


class LiveView(msgspec.Struct, frozen=True):
    """A running job at this moment."""

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
    paces: tuple[HostPace, ...]  # those held back or parked first, then those with most to do
    recent: tuple[RecentVisit, ...]
    bottleneck: str


class JobView(msgspec.Struct, frozen=True):
    """A job as the API shows it. Times are RFC 3339 in UTC; null: not yet.

    `live` is what a running crawl does at this moment, `download` where a running download stands,
    `ending` how an ended crawl ended, in a sentence.
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
    """Jobs, the newest first. `next`: cursor of the following page, null: none follows."""

    jobs: tuple[JobView, ...]
    next: str | None
    counts: dict[str, int]


class PageList(msgspec.Struct, frozen=True):
    """Records of pages.jsonl, as they stand there."""

    pages: tuple[dict[str, Any], ...]
    next: str | None


class LinkList(msgspec.Struct, frozen=True):
    """URLs, in the order of discovery."""

    links: tuple[LinkResult, ...]
    next: str | None


class HostList(msgspec.Struct, frozen=True):
    hosts: tuple[HostResult, ...]


class FileList(msgspec.Struct, frozen=True):
    files: tuple[FileRow, ...]
    next: str | None


class WorkerStatusView(msgspec.Struct, frozen=True):
    """A job that a worker works on. `leased` are links that are its own until they are settled."""

    job: str
    pages: int
    leased: int
    in_flight: int


class WorkerView(msgspec.Struct, frozen=True):
    """One worker. `state`: working, idle, leaving, or dead: it fell silent without a word, and its
    leases run out. `silent`: seconds since it was heard of. `troubles`: by job, what keeps it off.
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
    """`shared`: whether jobs are run by workers. `trouble`: what is wrong with the server that
    holds their queue, null: nothing.
    """

    workers: tuple[WorkerView, ...]
    trouble: str | None
    shared: bool


class HealthView(msgspec.Struct, frozen=True):
    """`status` is ok, or one word for what is wrong."""

    status: str
    running: int
    version: str


def moment(seconds: float | None) -> str | None:
    """Unix time as RFC 3339."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def live_view(shift: CrawlRun | None, *, hosts: int = 5, recent: int = 10) -> LiveView | None:
    """What a running crawl does; None: it is not open (yet)."""
    if shift is None or (shot := shift.snapshot(hosts=hosts)) is None:
        return None
    gauges = shot.gauges
    return LiveView(
        pages_per_second=round(shot.pages_per_second, 2),
        recent_per_second=round(shot.recent_per_second, 2),
        in_flight=gauges.in_flight,
        parsing=gauges.parsing,
        queued=gauges.queued,
        lag_ms=round(gauges.lag_ms, 1),
        statuses={str(code): number for code, number in shot.statuses.items()},
        outcomes=shot.outcomes,
        reasons=dict(list(shot.reasons.items())[:20]),
        ttfb_ms=tuple(round(ms, 1) for ms in shot.ttfb_ms),  # type: ignore[arg-type]  # three
        hosts=tuple(
            HostView(host.name, host.visits, host.failed, round(host.mean_ms, 1), host.max_ms)
            for host in shot.slowest
        ),
        paces=shift.paces(),
        recent=tuple(shift.recent)[-recent:][::-1],
        bottleneck=bottleneck(shot),
    )


def job_view(job: Job, shift: CrawlRun | None, *, whole: bool = False) -> JobView:
    """`whole`: with the configuration and what it does at this moment."""
    return JobView(
        id=job.id,
        number=job.number,
        name=job.name,
        owner=job.owner,
        state=job.state.value,
        reason=job.reason,
        created_at=moment(job.created_at) or "",
        started_at=moment(job.started_at),
        ended_at=moment(job.ended_at),
        runs=job.runs,
        schedule=job.schedule,
        totals=job.totals if shift is None or shift.crawl is None else shift.totals(),
        webhooks=tuple(
            HookView(without_login(hook.url), hook.secret is not None, hook.events)
            for hook in job.webhooks
        ),
        live=live_view(shift) if whole else None,
        config=_settings(job) if whole else None,
        kind=job.kind,
        download=shift.standing() if isinstance(shift, DownloadRun) else None,
        ending=_ending(job),
    )


def _ending(job: Job) -> str | None:
    """As the command line's summary has it; None: it is no crawl, or has not ended."""
    if job.kind is not JobKind.CRAWL or job.state not in {JobState.FINISHED, JobState.FAILED}:
        return None
    none = job.reason.startswith(NO_PAGE)
    if job.state is JobState.FAILED and not none:
        return job.reason
    ended = NO_PAGES if none else job.reason
    totals = job.totals
    return sentence(ended, pending=totals.queued, left=totals.left, incomplete=totals.incomplete)


def _settings(job: Job) -> dict[str, Any]:
    """The configuration, without what its kind of work does not use."""
    if job.kind is JobKind.CRAWL:
        return public(job.config)
    shown = public(job.config, download_job_request.is_open)
    unused = ("seeds", "scope", "sitemap", "parse", "warc", "frontier", "output")
    return {name: part for name, part in shown.items() if name not in unused}
