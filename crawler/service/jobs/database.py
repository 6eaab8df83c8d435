"""The file jobs.db: opened, made or brought up to date, and owned by one thread."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, Final, ParamSpec, Self, TypeVar

from crawler.errors import FrontierError
from crawler.service.jobs.file_lock import claim

P = ParamSpec("P")
T = TypeVar("T")

VERSION: Final = 2

MIGRATIONS: Final = {1: "ALTER TABLE job ADD COLUMN files TEXT"}
"""What makes the next version of one."""


class JobsDatabase:
    """An async context manager. Raises FolderLocked when another service has the file.

    `db` is for work on the thread only: what `run` is given.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db: sqlite3.Connection
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="register")
        self._lock: int | None = None

    async def __aenter__(self) -> Self:
        self._lock = claim(self.path, "another service")
        try:
            await self.run(self._open)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if hasattr(self, "db"):
            await self.run(self.db.close)
        self._thread.shutdown(wait=False)
        if self._lock is not None:
            os.close(self._lock)

    def _open(self) -> None:
        self.db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self.path.chmod(0o600)  # it holds the secrets that sign webhooks
        version = self.db.execute("PRAGMA user_version").fetchone()[0]
        if version not in {0, VERSION, *MIGRATIONS}:
            raise FrontierError(f"{self.path} has version {version}, this program reads {VERSION}")
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")  # few commits, each a promise to somebody
        if version == 0:
            schema = resources.files(__package__).joinpath("jobs.sql").read_text("utf-8")
            self.db.executescript(f"BEGIN;\n{schema}\nPRAGMA user_version = {VERSION};\nCOMMIT;")
        while version in MIGRATIONS:
            step = f"{MIGRATIONS[version]};\nPRAGMA user_version = {version + 1};"
            self.db.executescript(f"BEGIN;\n{step}\nCOMMIT;")
            version += 1

    def fetch(self, query: str, values: Sequence[Any]) -> list[Any]:
        """On the thread, as the two below."""
        return self.db.execute(query, values).fetchall()

    def write(self, query: str, values: Sequence[Any]) -> int:
        """The number of rows changed, in a transaction of its own."""
        with self.transaction():
            return self.db.execute(query, values).rowcount

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it happens, or nothing."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.db.execute("COMMIT")
        finally:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Work on the thread. Raises FrontierError for what the file cannot do."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, lambda: work(*args, **kwargs))
        except sqlite3.Error as error:
            raise FrontierError(f"{self.path}: {error}") from error
