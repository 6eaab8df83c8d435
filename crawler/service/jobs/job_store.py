"""The service's database DIR/jobs.db: table `job`, and access to the other tables.

Each method is one transaction. A state change, its event and its webhook messages are committed
together, so that after `kill -9` either all of them are stored or none.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from crawler.downloads.download_request import DownloadRequest
from crawler.service.jobs.database import JobsDatabase
from crawler.service.jobs.job import (
    ENDED_STATES,
    STATE_AFTER_CRASH,
    Job,
    JobKind,
    JobState,
    Totals,
    Webhook,
)
from crawler.service.jobs.store_tables import (
    AuditTable,
    EventLog,
    ScheduleTable,
    TokenTable,
    as_json,
)

_COLUMNS: Final = (
    "id, number, name, owner, state, reason, config, webhooks, created_at, started_at, ended_at, "
    "runs, schedule, totals, files IS NOT NULL"
)


class JobStore:
    """An async context manager. Raises FolderLocked when another service has the file open."""

    def __init__(self, folder: Path) -> None:
        self.database = JobsDatabase(folder / "jobs.db")
        self.events = EventLog(self.database)
        self.tokens = TokenTable(self.database)
        self.schedules = ScheduleTable(self.database)
        self.audit = AuditTable(self.database)
        self.changed = asyncio.Event()
        """Set by the next `notify`, and then replaced: get it before reading what may change."""

    async def __aenter__(self) -> Self:
        await self.database.__aenter__()
        try:
            await self.events.load()
        except BaseException:
            await self.database.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.database.__aexit__()

    def notify(self) -> None:
        """Wake all tasks that wait for `changed`."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    async def create(
        self,
        *,
        name: str,
        owner: str,
        config: dict[str, Any],
        webhooks: Sequence[Webhook] = (),
        schedule: str | None = None,
        key: str | None = None,
        files: Sequence[Any] | None = None,
    ) -> tuple[Job, bool]:
        """Create a queued job. `files`: the requests of a download; None: the job is a crawl.

        Returns the job, and whether it is new: when the owner has a job with the same idempotency
        `key`, that job is returned.
        """

        def work() -> tuple[Job, bool]:
            with self.database.transaction():
                if key is not None:
                    existing = self._select("WHERE owner = ? AND key = ?", (owner, key))
                    if existing:
                        return existing[0], False
                job_id = secrets.token_hex(6)
                self.database.db.execute(
                    "INSERT INTO job (id, name, owner, state, config, webhooks, created_at, "
                    "schedule, key, files) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        job_id, name, owner, JobState.QUEUED, as_json(config), as_json(webhooks),
                        time.time(), schedule, key, None if files is None else as_json(files),
                    ),
                )  # fmt: skip
                job = self._get(job_id)
                self.events.record(job)
                return job, True

        created = await self.database.run(work)
        self.notify()
        return created

    async def get(self, job_id: str) -> Job | None:
        """A job by id; None: there is no such job."""
        found = await self.database.run(self._select, "WHERE id = ?", (job_id,))
        return found[0] if found else None

    async def download_requests(self, job_id: str) -> tuple[DownloadRequest, ...]:
        """The files of a download, in the order of its request. Raises KeyError: no such job."""
        rows = await self.database.query("SELECT files FROM job WHERE id = ?", job_id)
        if not rows:
            raise KeyError(job_id)
        return msgspec.json.decode(rows[0][0] or "[]", type=tuple[DownloadRequest, ...])

    async def find(
        self,
        *,
        states: Collection[str] = (),
        kind: str | None = None,
        owner: str | None = None,
        name: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[Job]:
        """Jobs that meet all conditions, newest first. `name`: a part of the name, in any case;
        `before`: only jobs with a smaller number, for paging.
        """
        conditions, values = ["1"], list[Any]()
        if states:
            conditions.append(f"state IN ({', '.join('?' * len(states))})")
            values += states
        if kind is not None:
            conditions.append(f"files IS {'NOT ' if kind == JobKind.DOWNLOAD else ''}NULL")
        if owner is not None:
            conditions.append("owner = ?")
            values.append(owner)
        if name is not None:
            conditions.append("instr(lower(name), lower(?)) > 0")
            values.append(name)
        if before is not None:
            conditions.append("number < ?")
            values.append(before)
        where = f"WHERE {' AND '.join(conditions)} ORDER BY number DESC LIMIT ?"
        return await self.database.run(self._select, where, (*values, limit))

    async def count_by_state(self, owner: str | None = None) -> dict[str, int]:
        """Number of jobs in each state; `owner` None: of all owners."""
        where, values = ("WHERE owner = ?", (owner,)) if owner is not None else ("", ())
        rows = await self.database.query(
            f"SELECT state, count(*) FROM job {where} GROUP BY state",  # noqa: S608 - constant text
            *values,
        )
        return dict(rows)

    async def change_state(
        self,
        job_id: str,
        state: JobState | Callable[[JobState], JobState],
        *,
        reason: str = "",
        totals: Totals | None = None,
        starts_run: bool = False,
    ) -> Job:
        """Set a job's state, and its totals when given. A function as `state` maps the present
        state to the new one, and may raise to refuse.

        `starts_run` counts a run and sets the time of the first start. Without it, a state that
        does not change creates no event. Raises KeyError when there is no such job.
        """

        def work() -> Job:
            with self.database.transaction():
                job = self._get(job_id)
                new_state = state if isinstance(state, JobState) else state(job.state)
                if totals is not None:
                    self._set_totals(job_id, totals)
                if new_state is job.state and not starts_run:
                    return self._get(job_id)
                now = time.time()
                self.database.db.execute(
                    "UPDATE job SET state = ?, reason = ?, runs = runs + ?, "
                    "started_at = coalesce(started_at, ?), ended_at = ? WHERE id = ?",
                    (
                        new_state, reason, starts_run, now if starts_run else None,
                        now if new_state in ENDED_STATES else None, job_id,
                    ),
                )  # fmt: skip
                job = self._get(job_id)
                self.events.record(job)
                return job

        job = await self.database.run(work)
        self.notify()
        return job

    async def save_totals(self, job_id: str, totals: Totals) -> None:
        """Store the totals of a running job: a restarted service shows them until it runs again."""
        await self.database.execute(
            "UPDATE job SET totals = ? WHERE id = ?", as_json(totals), job_id
        )

    async def delete(self, job_id: str) -> None:
        """Delete a job, its events and webhook messages. The caller deletes its folder before."""

        def work() -> None:
            with self.database.transaction():
                for table, column in (("delivery", "job"), ("event", "job"), ("job", "id")):
                    self.database.db.execute(f"DELETE FROM {table} WHERE {column} = ?", (job_id,))  # noqa: S608 - constant text

        await self.database.run(work)
        self.notify()

    async def recover(self) -> list[Job]:
        """Move the jobs that were active when the process died to their `STATE_AFTER_CRASH`."""

        def work() -> list[Job]:
            recovered = []
            with self.database.transaction():
                for job in self._select(
                    f"WHERE state IN ({', '.join('?' * len(STATE_AFTER_CRASH))})",
                    tuple(STATE_AFTER_CRASH),
                ):
                    new_state = STATE_AFTER_CRASH[job.state]
                    self.database.db.execute(
                        "UPDATE job SET state = ?, reason = 'restart', ended_at = ? WHERE id = ?",
                        (new_state, time.time() if new_state in ENDED_STATES else None, job.id),
                    )
                    recovered.append(self._get(job.id))
                    self.events.record(recovered[-1])
            return recovered

        return await self.database.run(work)

    # ── on the database thread ───────────────────────────────────────────────────────────────

    def _set_totals(self, job_id: str, totals: Totals) -> None:
        self.database.db.execute(
            "UPDATE job SET totals = ? WHERE id = ?", (as_json(totals), job_id)
        )

    def _select(self, where: str, values: Sequence[Any]) -> list[Job]:
        rows = self.database.db.execute(f"SELECT {_COLUMNS} FROM job {where}", values)  # noqa: S608 - constant text
        return [_job_of_row(row) for row in rows]

    def _get(self, job_id: str) -> Job:
        found = self._select("WHERE id = ?", (job_id,))
        if not found:
            raise KeyError(job_id)
        return found[0]

    def __repr__(self) -> str:
        return f"<JobStore {self.database.path}, event {self.events.last_id}>"


def _job_of_row(row: Sequence[Any]) -> Job:
    job_id, number, name, owner, state, reason, config, webhooks, *rest = row
    created_at, started_at, ended_at, runs, schedule, totals, is_download = rest
    return Job(
        job_id,
        number,
        name,
        owner,
        JobState(state),
        reason,
        msgspec.json.decode(config),
        msgspec.json.decode(webhooks, type=tuple[Webhook, ...]),
        created_at,
        started_at,
        ended_at,
        runs,
        schedule,
        msgspec.json.decode(totals, type=Totals),
        JobKind.DOWNLOAD if is_download else JobKind.CRAWL,
    )
