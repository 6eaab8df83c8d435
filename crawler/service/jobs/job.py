"""A job, that is a crawl or download of the service, with its states, actions and limits. Pure.

    queued ──▶ running ──▶ finished
      ▲  ▲        │  │ └─▶ failed
      │  │        │  └───▶ held         disk full or memory short: resumes by itself
      │  └────────┼───────── ┘
      │           ├─ pausing ──▶ paused
      └───────────┼──────────────┘
                  └─ cancelling ──▶ cancelled

Users change states by `ACTIONS`; the supervisor makes all other changes. A crawl's progress is
stored in the job's own folder, so a job in any state but finished can resume where it stopped, and
its outputs contain each record exactly once.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec

from crawler.errors import CrawlerError


class JobState(StrEnum):
    """The state of a job; see the diagram above."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"  # pause requested; URLs in progress are being finished
    PAUSED = "paused"
    HELD = "held"  # stopped by the service; `Job.reason` says why
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    FINISHED = "finished"
    FAILED = "failed"


class JobKind(StrEnum):
    """Whether a job crawls, or downloads a list of files."""

    CRAWL = "crawl"
    DOWNLOAD = "download"


ACTIVE_STATES: Final = frozenset({JobState.RUNNING, JobState.PAUSING, JobState.CANCELLING})
"""States in which a run of the job has its folder open."""

ENDED_STATES: Final = frozenset({JobState.FINISHED, JobState.FAILED, JobState.CANCELLED})
"""States that only a user's action can leave."""

ACTIONS: Final[dict[str, dict[JobState, JobState]]] = {
    "pause": {
        JobState.QUEUED: JobState.PAUSED,
        JobState.RUNNING: JobState.PAUSING,
        JobState.HELD: JobState.PAUSED,
        JobState.PAUSING: JobState.PAUSING,
        JobState.PAUSED: JobState.PAUSED,
    },
    "resume": {
        JobState.PAUSED: JobState.QUEUED,
        JobState.QUEUED: JobState.QUEUED,
        JobState.RUNNING: JobState.RUNNING,
        JobState.HELD: JobState.QUEUED,
    },
    "cancel": {
        JobState.QUEUED: JobState.CANCELLED,
        JobState.PAUSED: JobState.CANCELLED,
        JobState.HELD: JobState.CANCELLED,
        JobState.RUNNING: JobState.CANCELLING,
        JobState.PAUSING: JobState.CANCELLING,
        JobState.CANCELLING: JobState.CANCELLING,
        JobState.CANCELLED: JobState.CANCELLED,
    },
    "retry": {JobState.FAILED: JobState.QUEUED, JobState.CANCELLED: JobState.QUEUED},
}
"""Action → present state → new state. An action is refused in states that are missing here.
Actions but `retry` are idempotent, so that a client may repeat a request whose response was lost.
"""

STATE_AFTER_CRASH: Final = {
    JobState.RUNNING: JobState.QUEUED,
    JobState.PAUSING: JobState.PAUSED,
    JobState.CANCELLING: JobState.CANCELLED,
}
"""Active state → the state after the process died, for whatever reason."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class JobConflict(CrawlerError):
    """The job's state does not allow the action."""


class Webhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Receives a job's state changes. `secret` signs the messages; None: they are not signed."""

    url: str
    secret: str | None = None
    events: tuple[JobState, ...] = ()  # empty: all of them


class Totals(msgspec.Struct, frozen=True):
    """Progress of a job, summed over all its runs.

    `pages` counts a crawl's pages, `files` a download's complete files, `queued` the URLs still to
    fetch. `left` counts URLs in scope that an ended crawl did not read, by reason; `incomplete` its
    pages that were cut short. `plugins` has a sentence for each rule or plugin that failed, or
    matched nothing, in the last run.
    """

    pages: int = 0
    visits: int = 0
    failed: int = 0
    bytes_wire: int = 0
    queued: int = 0
    files: int = 0
    left: dict[str, int] = {}
    incomplete: int = 0
    plugins: tuple[str, ...] = ()


class Job(msgspec.Struct, frozen=True):
    """One row of table `job`. Times are Unix seconds; None: not yet.

    `number` increases with each created job. `owner` is the name of the token that created it,
    `config` its effective configuration as a tree, `runs` the number of runs so far.
    """

    id: str
    number: int
    name: str
    owner: str
    state: JobState
    reason: str
    config: dict[str, Any]
    webhooks: tuple[Webhook, ...]
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    runs: int = 0
    schedule: str | None = None
    totals: Totals = Totals()
    kind: JobKind = JobKind.CRAWL


def next_state(state: JobState, action: str) -> JobState:
    """The state that an action leads to. Raises JobConflict when the state refuses it."""
    new_state = ACTIONS[action].get(state)
    if new_state is None:
        raise JobConflict(f"a job that is {state} cannot be asked to {action}")
    return new_state


class JobLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of one token, or of the service as a whole. None: no limit.

    `running` and `queued` count jobs. `pages` and `bytes` are upper limits of each job: a larger
    value in its configuration is lowered to them. `disk` is the total size of the job folders in
    bytes.
    """

    running: Count | None = None
    queued: Count | None = None
    pages: Count | None = None
    bytes: Count | None = None
    disk: Count | None = None

    def capped_by(self, other: JobLimits) -> JobLimits:
        """The smaller of the two values for each limit."""
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return JobLimits(
            *(min((value for value in pair if value is not None), default=None) for pair in pairs)
        )


def select_jobs(
    queued: list[Job],
    running: dict[str, int],
    *,
    total_limit: int | None,
    owner_limits: dict[str, int | None],
) -> list[Job]:
    """Choose the queued jobs that start now: owners with the fewest running jobs first, then age.

    `running` counts running jobs by owner. A limit of None does not limit.
    """
    counts = dict(running)
    free = len(queued) if total_limit is None else total_limit - sum(counts.values())
    selected: list[Job] = []
    waiting = sorted(queued, key=lambda job: job.number)
    while free > 0:
        startable = [job for job in waiting if _is_below_limit(job.owner, counts, owner_limits)]
        if not startable:
            break
        job = min(startable, key=lambda job: (counts.get(job.owner, 0), job.number))
        waiting.remove(job)
        selected.append(job)
        counts[job.owner] = counts.get(job.owner, 0) + 1
        free -= 1
    return selected


def _is_below_limit(owner: str, counts: dict[str, int], limits: dict[str, int | None]) -> bool:
    limit = limits.get(owner)
    return limit is None or counts.get(owner, 0) < limit
