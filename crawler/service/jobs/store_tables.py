"""All tables of jobs.db but `job`: events, webhook messages, tokens, schedules, audit log."""

from __future__ import annotations

import sqlite3
import time
from typing import Any, Final

import msgspec

from crawler.service.jobs.database import JobsDatabase
from crawler.service.jobs.job import Job, JobLimits

EVENTS_KEPT: Final = 100_000
"""State changes that are stored for clients that reconnect with a Last-Event-ID."""


class JobEvent(msgspec.Struct, frozen=True):
    """A job changed its state. `id` increases over all jobs, and across restarts."""

    id: int
    job: str
    at: float
    state: str
    reason: str


class Delivery(msgspec.Struct, frozen=True):
    """A webhook message that has not been delivered. `due` is Unix time."""

    id: int
    event: int
    job: str
    url: str
    secret: str | None
    body: str
    attempt: int
    due: float


class EventLog:
    """Reads events and manages the queue of webhook messages. `last_id`: the newest event's id."""

    def __init__(self, database: JobsDatabase) -> None:
        self.last_id = 0
        self._database = database

    async def load(self) -> None:
        """Read `last_id` from the file."""
        rows = await self._database.query(
            "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'event'"
        )
        self.last_id = rows[0][0]

    def record(self, job: Job) -> None:
        """Insert the event of a job's new state, and a message for each webhook that wants it.

        Call it on the database thread, inside the transaction that changes the state.
        """
        now = time.time()
        db = self._database.db
        event = db.execute(
            "INSERT INTO event (job, at, state, reason) VALUES (?, ?, ?, ?)",
            (job.id, now, job.state, job.reason),
        ).lastrowid
        assert event is not None
        db.execute("DELETE FROM event WHERE id <= ?", (event - EVENTS_KEPT,))
        _enqueue_messages(db, job, event, now)
        self.last_id = event

    async def after(self, event: int, job: str | None = None, limit: int = 500) -> list[JobEvent]:
        """Events with an id greater than `event`, oldest first; `job` None: of all jobs."""
        where, values = ("AND job = ?", (job,)) if job is not None else ("", ())
        rows = await self._database.query(
            f"SELECT id, job, at, state, reason FROM event WHERE id > ? {where} ORDER BY id LIMIT ?",  # noqa: S608, E501 - constant text
            event, *values, limit,
        )  # fmt: skip
        return [JobEvent(*row) for row in rows]

    async def deliveries(self, limit: int = 100) -> list[Delivery]:
        """Undelivered webhook messages, earliest `due` first."""
        rows = await self._database.query(
            "SELECT id, event, job, url, secret, body, attempt, due FROM delivery "
            "ORDER BY due LIMIT ?",
            limit,
        )
        return [Delivery(*row) for row in rows]

    async def remove_delivery(self, delivery: int) -> None:
        """Delete a message that was delivered or given up."""
        await self._database.execute("DELETE FROM delivery WHERE id = ?", delivery)

    async def postpone_delivery(self, delivery: int, due: float) -> None:
        """Count a failed attempt; try again at `due` (Unix time)."""
        await self._database.execute(
            "UPDATE delivery SET attempt = attempt + 1, due = ? WHERE id = ?", due, delivery
        )


def _enqueue_messages(db: sqlite3.Connection, job: Job, event: int, now: float) -> None:
    for hook in job.webhooks:
        if hook.events and job.state not in hook.events:
            continue
        body = {
            "type": f"job.{job.state}",
            "event": event,
            "at": now,
            "job": {
                "id": job.id, "name": job.name, "state": job.state, "reason": job.reason,
                "totals": job.totals,
            },
        }  # fmt: skip
        db.execute(
            "INSERT INTO delivery (event, job, url, secret, body, due) VALUES (?, ?, ?, ?, ?, ?)",
            (event, job.id, hook.url, hook.secret, as_json(body), now),
        )


def as_json(value: Any) -> str:
    """JSON text for a column."""
    return msgspec.json.encode(value).decode()


class TokenRow(msgspec.Struct, frozen=True):
    """An access token that was created over the API. `hash` is the token's SHA-256."""

    name: str
    hash: bytes
    role: str
    limits: JobLimits
    created_at: float


class TokenTable:
    """Access tokens that were created over the API."""

    def __init__(self, database: JobsDatabase) -> None:
        self._database = database

    async def all(self) -> list[TokenRow]:
        rows = await self._database.query("SELECT name, hash, role, limits, created_at FROM token")
        return [
            TokenRow(
                name, digest, role, msgspec.json.decode(limits, type=JobLimits), created_at
            )
            for name, digest, role, limits, created_at in rows
        ]  # fmt: skip

    async def insert(self, row: TokenRow) -> None:
        await self._database.execute(
            "INSERT INTO token VALUES (?, ?, ?, ?, ?)",
            row.name, row.hash, row.role, as_json(row.limits), row.created_at,
        )  # fmt: skip

    async def delete(self, name: str) -> None:
        await self._database.execute("DELETE FROM token WHERE name = ?", name)


class CronSchedule(msgspec.Struct, frozen=True):
    """A recurring job. `request` is a job's body, `next_at` Unix time, `last_job` a job's id."""

    name: str
    owner: str
    cron: str
    zone: str
    request: dict[str, Any]
    next_at: float
    last_job: str | None


class ScheduleTable:
    """Recurring jobs."""

    def __init__(self, database: JobsDatabase) -> None:
        self._database = database

    async def all(self) -> list[CronSchedule]:
        """Sorted by name."""
        rows = await self._database.query(
            "SELECT name, owner, cron, zone, request, next_at, last_job FROM schedule ORDER BY name"
        )
        return [
            CronSchedule(name, owner, cron, zone, msgspec.json.decode(request), next_at, last_job)
            for name, owner, cron, zone, request, next_at, last_job in rows
        ]

    async def upsert(self, schedule: CronSchedule, created_at: float) -> None:
        """Insert, or replace all but `last_job` and the time of creation (Unix)."""
        await self._database.execute(
            "INSERT INTO schedule VALUES (?, ?, ?, ?, ?, ?, NULL, ?) ON CONFLICT (name) DO UPDATE "
            "SET owner = excluded.owner, cron = excluded.cron, zone = excluded.zone, "
            "request = excluded.request, next_at = excluded.next_at",
            schedule.name, schedule.owner, schedule.cron, schedule.zone,
            as_json(schedule.request), schedule.next_at, created_at,
        )  # fmt: skip

    async def advance(self, name: str, next_at: float, last_job: str | None) -> None:
        """Store the next time (Unix) and the job that was created last."""
        await self._database.execute(
            "UPDATE schedule SET next_at = ?, last_job = ? WHERE name = ?", next_at, last_job, name
        )

    async def delete(self, name: str) -> bool:
        """False when there is no schedule of that name."""
        return bool(await self._database.execute("DELETE FROM schedule WHERE name = ?", name))


class AuditTable:
    """Who changed what, and when."""

    def __init__(self, database: JobsDatabase) -> None:
        self._database = database

    async def insert(self, who: str, what: str, target: str, detail: str = "") -> None:
        await self._database.execute(
            "INSERT INTO audit (at, who, what, target, detail) VALUES (?, ?, ?, ?, ?)",
            time.time(), who, what, target, detail,
        )  # fmt: skip

    async def before(self, number: int | None, limit: int) -> list[dict[str, Any]]:
        """Rows with an id smaller than `number` (None: from the newest on), newest first."""
        rows = await self._database.query(
            "SELECT id, at, who, what, target, detail FROM audit WHERE id < ? "
            "ORDER BY id DESC LIMIT ?",
            number if number is not None else 2**62, limit,
        )  # fmt: skip
        names = ("id", "at", "who", "what", "target", "detail")
        return [dict(zip(names, row, strict=True)) for row in rows]
