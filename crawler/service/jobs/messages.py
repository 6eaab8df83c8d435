"""Events of a job's changes, for listeners and for its webhooks."""

from __future__ import annotations

import sqlite3
import time
from typing import Any, Final

import msgspec

from crawler.service.jobs.job import Job

EVENTS_KEPT: Final = 100_000
"""Changes of state remembered for clients that come back with a Last-Event-ID."""


class JobEvent(msgspec.Struct, frozen=True):
    """A job changed its state. `id` grows over all jobs, also over restarts."""

    id: int
    job: str
    at: float
    state: str
    reason: str


class Delivery(msgspec.Struct, frozen=True):
    """A webhook message that is still to be delivered."""

    id: int
    event: int
    job: str
    url: str
    secret: str | None
    body: str
    attempt: int
    due: float


def happened(db: sqlite3.Connection, job: Job) -> int:
    """Enter the event and its webhook messages, inside a transaction. The event's id."""
    now = time.time()
    number = db.execute(
        "INSERT INTO event (job, at, state, reason) VALUES (?, ?, ?, ?)",
        (job.id, now, job.state, job.reason),
    ).lastrowid
    assert number is not None
    db.execute("DELETE FROM event WHERE id <= ?", (number - EVENTS_KEPT,))
    for hook in job.webhooks:
        if hook.events and job.state not in hook.events:
            continue
        body = {
            "type": f"job.{job.state}",
            "event": number,
            "at": now,
            "job": {
                "id": job.id, "name": job.name, "state": job.state, "reason": job.reason,
                "totals": job.totals,
            },
        }  # fmt: skip
        db.execute(
            "INSERT INTO delivery (event, job, url, secret, body, due) VALUES (?, ?, ?, ?, ?, ?)",
            (number, job.id, hook.url, hook.secret, as_json(body), now),
        )
    return number


def as_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
