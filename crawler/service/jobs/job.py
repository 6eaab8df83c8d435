"""A job: a crawl or download that the service was asked for, and the states it goes through. Pure.

    queued ──▶ running ──▶ finished
      ▲  ▲        │  │ └─▶ failed
      │  │        │  └───▶ held         the disk is full, or memory is short: goes on by itself
      │  └────────┼───────── ┘
      │           ├─ pausing ──▶ paused
      └───────────┼──────────────┘
                  └─ cancelling ──▶ cancelled

A person's verbs are `VERBS`; everything else is done by the foreman. What a crawl has reached lies
in its own folder, so any state but finished can go on where it was, exactly once in its outputs.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec

from crawler.errors import CrawlerError


class JobState(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"  # asked to pause; what is in hand is being finished
    PAUSED = "paused"
    HELD = "held"  # stopped by the service itself; `Job.reason` says why
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    FINISHED = "finished"
    FAILED = "failed"


class JobKind(StrEnum):
    """What a job does."""

    CRAWL = "crawl"
    DOWNLOAD = "download"


ACTIVE: Final = frozenset({JobState.RUNNING, JobState.PAUSING, JobState.CANCELLING})
"""A crawl is open in the job's folder."""

ENDED: Final = frozenset({JobState.FINISHED, JobState.FAILED, JobState.CANCELLED})
"""Nothing more happens unless somebody asks for it."""

VERBS: Final[dict[str, dict[JobState, JobState]]] = {
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
"""What each verb makes of each state; a state that is missing refuses the verb. Saying a thing
twice is the same as once, so that a client may repeat a request whose answer was lost.
"""

AFTER_A_CRASH: Final = {
    JobState.RUNNING: JobState.QUEUED,
    JobState.PAUSING: JobState.PAUSED,
    JobState.CANCELLING: JobState.CANCELLED,
}
"""What a job becomes whose process died, however it died."""


Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class JobConflict(CrawlerError):
    """The job's state does not allow what was asked."""


class Webhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is told about a job's changes. `secret` signs the messages; None: they are not signed."""

    url: str
    secret: str | None = None
    events: tuple[JobState, ...] = ()  # empty: all of them


class Totals(msgspec.Struct, frozen=True):
    """What a job has done so far, over all its runs.

    `pages` are a crawl's, `files` a download's that are there. `queued` is what is left to do,
    `left` what an ended crawl did not read though it was in scope, by reason; `incomplete` how many
    of its pages were not read whole. `plugins` tells of rules and plugins that failed, or matched
    nothing, in the last run: a sentence each.
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
    """One row of the register. Times are Unix seconds; None: not yet.

    `number` is its place in the order of creation, `owner` the name of the token that made it,
    `config` the effective configuration as a tree, `runs` how often a crawl was opened for it.
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


def after(state: JobState, verb: str) -> JobState:
    """The state that a verb leads to. Raises Conflict when it is refused."""
    new = VERBS[verb].get(state)
    if new is None:
        raise JobConflict(f"a job that is {state} cannot be asked to {verb}")
    return new


class JobLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of the service somebody may use. None: no limit.

    `running` and `queued` count jobs; `pages` and `bytes` are ceilings of each job (a job that asks
    for more gets so many); `disk` is the sum of the job folders, in bytes.
    """

    running: Count | None = None
    queued: Count | None = None
    pages: Count | None = None
    bytes: Count | None = None
    disk: Count | None = None

    def under(self, other: JobLimits) -> JobLimits:
        """The narrower of the two in everything."""
        return JobLimits(
            *(
                min((one for one in pair if one is not None), default=None)
                for pair in zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other),
                                strict=True)
            )
        )  # fmt: skip


def choose(
    queued: list[Job],
    running: dict[str, int],
    *,
    most: int | None,
    each: dict[str, int | None],
) -> list[Job]:
    """Which queued jobs start now: owners with the fewest running first, then by age.

    `running` counts jobs by owner, `most` is the limit for all of them together, `each` an owner's.
    """
    counts = dict(running)
    free = len(queued) if most is None else most - sum(counts.values())
    chosen: list[Job] = []
    waiting = sorted(queued, key=lambda job: job.number)
    while free > 0:
        able = [job for job in waiting if _may_run(job.owner, counts, each)]
        if not able:
            break
        job = min(able, key=lambda one: (counts.get(one.owner, 0), one.number))
        waiting.remove(job)
        chosen.append(job)
        counts[job.owner] = counts.get(job.owner, 0) + 1
        free -= 1
    return chosen


def _may_run(owner: str, counts: dict[str, int], each: dict[str, int | None]) -> bool:
    limit = each.get(owner)
    return limit is None or counts.get(owner, 0) < limit
