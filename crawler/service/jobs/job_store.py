"""DIR/jobs.db: the jobs, and how each ended.

Every method is one transaction; a change of state, its event and its webhook messages are entered
together, so that after `kill -9` either all of them have happened or none.
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
from crawler.service.jobs.job import AFTER_A_CRASH, ENDED, Job, JobKind, JobState, Totals, Webhook
from crawler.service.jobs.messages import Delivery, JobEvent, as_json, happened

_COLUMNS: Final = (
    "id, number, name, owner, state, reason, config, webhooks, created_at, started_at, ended_at, "
    "runs, schedule, totals, files IS NOT NULL"
)


class JobStore:
    """An async context manager around the file. Raises FolderLocked when another service has it."""

    def __init__(self, folder: Path) -> None:
        self._file = JobsDatabase(folder / "jobs.db")
        self.bell = asyncio.Event()  # replaced at each ring: take it before looking
        self.newest = 0  # id of the last event

    async def __aenter__(self) -> Self:
        await self._file.__aenter__()
        try:
            rows = await self._file.run(
                self._file.fetch,
                "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'event'",
                (),
            )
        except BaseException:
            await self._file.__aexit__()
            raise
        self.newest = rows[0][0]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._file.__aexit__()

    def ring(self) -> None:
        """Wake everybody who waits for news."""
        bell, self.bell = self.bell, asyncio.Event()
        bell.set()

    # ── jobs ─────────────────────────────────────────────────────────────────────────────────

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
        """A new job, queued; and whether it is new: an owner's `key` makes one job only.

        `files` are a download's orders; None: it is a crawl.
        """

        def work() -> tuple[Job, bool]:
            with self._file.transaction():
                if key is not None:
                    old = self._select("WHERE owner = ? AND key = ?", (owner, key))
                    if old:
                        return old[0], False
                identity = secrets.token_hex(6)
                self._file.db.execute(
                    "INSERT INTO job (id, name, owner, state, config, webhooks, created_at, "
                    "schedule, key, files) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        identity, name, owner, JobState.QUEUED, as_json(config), as_json(webhooks),
                        time.time(), schedule, key, None if files is None else as_json(files),
                    ),
                )  # fmt: skip
                self.newest = happened(self._file.db, self._one(identity))
                return self._one(identity), True

        made = await self._file.run(work)
        self.ring()
        return made

    async def get(self, identity: str) -> Job | None:
        found = await self._file.run(self._select, "WHERE id = ?", (identity,))
        return found[0] if found else None

    async def files(self, identity: str) -> tuple[DownloadRequest, ...]:
        """What a download is to fetch, as it was ordered. Raises KeyError: there is no such job."""
        rows = await self._file.run(
            self._file.fetch, "SELECT files FROM job WHERE id = ?", (identity,)
        )
        if not rows:
            raise KeyError(identity)
        return msgspec.json.decode(rows[0][0] or "[]", type=tuple[DownloadRequest, ...])

    async def jobs(
        self,
        *,
        states: Collection[str] = (),
        kind: str | None = None,
        owner: str | None = None,
        name: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[Job]:
        """Newest first; `before`: only jobs with a smaller number, for paging."""
        rules, values = ["1"], list[Any]()
        if states:
            rules.append(f"state IN ({', '.join('?' * len(states))})")
            values += states
        if kind is not None:
            rules.append(f"files IS {'NOT ' if kind == JobKind.DOWNLOAD else ''}NULL")
        if owner is not None:
            rules.append("owner = ?")
            values.append(owner)
        if name is not None:
            rules.append("instr(lower(name), lower(?)) > 0")
            values.append(name)
        if before is not None:
            rules.append("number < ?")
            values.append(before)
        where = f"WHERE {' AND '.join(rules)} ORDER BY number DESC LIMIT ?"
        return await self._file.run(self._select, where, (*values, limit))

    async def counts(self, owner: str | None = None) -> dict[str, int]:
        """Jobs by state."""
        where, values = ("WHERE owner = ?", (owner,)) if owner is not None else ("", ())
        rows = await self._file.run(
            self._file.fetch,
            f"SELECT state, count(*) FROM job {where} GROUP BY state",  # noqa: S608 - ours
            values,
        )
        return dict(rows)

    async def change(
        self,
        identity: str,
        state: JobState | Callable[[JobState], JobState],
        *,
        reason: str = "",
        totals: Totals | None = None,
        opened: bool = False,
    ) -> Job:
        """Give a job a new state; a function gets the present one and may refuse by raising.

        `opened`: a crawl starts. Raises KeyError when there is no such job. Nothing happens, and
        nothing is told to anybody, when the state stays as it is.
        """

        def work() -> Job:
            with self._file.transaction():
                job = self._one(identity)
                new = state if isinstance(state, JobState) else state(job.state)
                if totals is not None:
                    self._file.db.execute(
                        "UPDATE job SET totals = ? WHERE id = ?", (as_json(totals), identity)
                    )
                if new is job.state and not opened:
                    return self._one(identity)
                now = time.time()
                self._file.db.execute(
                    "UPDATE job SET state = ?, reason = ?, runs = runs + ?, "
                    "started_at = coalesce(started_at, ?), ended_at = ? WHERE id = ?",
                    (
                        new, reason, opened, now if opened else None,
                        now if new in ENDED else None, identity,
                    ),
                )  # fmt: skip
                job = self._one(identity)
                self.newest = happened(self._file.db, job)
                return job

        job = await self._file.run(work)
        self.ring()
        return job

    async def note(self, identity: str, totals: Totals) -> None:
        """Keep what a running job has reached; it is shown while nothing runs."""
        await self._file.run(
            self._file.write, "UPDATE job SET totals = ? WHERE id = ?", (as_json(totals), identity)
        )

    async def delete(self, identity: str) -> None:
        """Forget a job and its story; its folder is the caller's business, beforehand."""

        def work() -> None:
            with self._file.transaction():
                for table, column in (("delivery", "job"), ("event", "job"), ("job", "id")):
                    self._file.db.execute(f"DELETE FROM {table} WHERE {column} = ?", (identity,))  # noqa: S608 - ours

        await self._file.run(work)
        self.ring()

    async def recover(self) -> list[Job]:
        """Jobs whose process died under them, each in the state it goes on from."""

        def work() -> list[Job]:
            changed = []
            with self._file.transaction():
                for job in self._select(
                    f"WHERE state IN ({', '.join('?' * len(AFTER_A_CRASH))})", tuple(AFTER_A_CRASH)
                ):
                    new = AFTER_A_CRASH[job.state]
                    self._file.db.execute(
                        "UPDATE job SET state = ?, reason = 'restart', ended_at = ? WHERE id = ?",
                        (new, time.time() if new in ENDED else None, job.id),
                    )
                    self.newest = happened(self._file.db, self._one(job.id))
                    changed.append(self._one(job.id))
            return changed

        return await self._file.run(work)

    # ── events, webhooks, audit ──────────────────────────────────────────────────────────────

    async def events(self, after: int, job: str | None = None, limit: int = 500) -> list[JobEvent]:
        """What happened after an event, in order."""
        where, values = ("AND job = ?", (job,)) if job is not None else ("", ())
        rows = await self._file.run(
            self._file.fetch,
            f"SELECT id, job, at, state, reason FROM event WHERE id > ? {where} ORDER BY id LIMIT ?",  # noqa: S608, E501 - ours
            (after, *values, limit),
        )
        return [JobEvent(*row) for row in rows]

    async def deliveries(self, limit: int = 100) -> list[Delivery]:
        """Messages to be delivered, the most urgent first."""
        rows = await self._file.run(
            self._file.fetch,
            "SELECT id, event, job, url, secret, body, attempt, due FROM delivery "
            "ORDER BY due LIMIT ?",
            (limit,),
        )
        return [Delivery(*row) for row in rows]

    async def delivered(self, delivery: int) -> None:
        await self._file.run(self._file.write, "DELETE FROM delivery WHERE id = ?", (delivery,))

    async def postpone(self, delivery: int, due: float) -> None:
        await self._file.run(
            self._file.write,
            "UPDATE delivery SET attempt = attempt + 1, due = ? WHERE id = ?",
            (due, delivery),
        )

    async def audit(self, who: str, what: str, target: str, detail: str = "") -> None:
        await self._file.run(
            self._file.write,
            "INSERT INTO audit (at, who, what, target, detail) VALUES (?, ?, ?, ?, ?)",
            (time.time(), who, what, target, detail),
        )

    async def audited(self, before: int | None, limit: int) -> list[dict[str, Any]]:
        """Changes, the newest first."""
        rows = await self._file.run(
            self._file.fetch,
            "SELECT id, at, who, what, target, detail FROM audit WHERE id < ? "
            "ORDER BY id DESC LIMIT ?",
            (before if before is not None else 2**62, limit),
        )
        names = ("id", "at", "who", "what", "target", "detail")
        return [dict(zip(names, row, strict=True)) for row in rows]

    # ── plain rows, for tokens and schedules ─────────────────────────────────────────────────

    async def rows(self, query: str, *values: Any) -> list[Any]:
        return await self._file.run(self._file.fetch, query, values)

    async def write(self, query: str, *values: Any) -> int:
        """The number of rows changed."""
        return await self._file.run(self._file.write, query, values)

    # ── inside, on the thread ────────────────────────────────────────────────────────────────

    def _select(self, where: str, values: Sequence[Any]) -> list[Job]:
        rows = self._file.db.execute(f"SELECT {_COLUMNS} FROM job {where}", values)  # noqa: S608 - ours
        return [_job(row) for row in rows]

    def _one(self, identity: str) -> Job:
        found = self._select("WHERE id = ?", (identity,))
        if not found:
            raise KeyError(identity)
        return found[0]

    def __repr__(self) -> str:
        return f"<Register {self._file.path}, event {self.newest}>"


def _job(row: Sequence[Any]) -> Job:
    identity, number, name, owner, state, reason, config, webhooks, *rest = row
    created, started, ended, runs, schedule, totals, is_download = rest
    return Job(
        identity,
        number,
        name,
        owner,
        JobState(state),
        reason,
        msgspec.json.decode(config),
        msgspec.json.decode(webhooks, type=tuple[Webhook, ...]),
        created,
        started,
        ended,
        runs,
        schedule,
        msgspec.json.decode(totals, type=Totals),
        JobKind.DOWNLOAD if is_download else JobKind.CRAWL,
    )
