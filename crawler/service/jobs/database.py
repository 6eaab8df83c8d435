"""The SQLite file DIR/jobs.db: lock, schema, migrations, and the one thread that uses it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, Final, ParamSpec, Self, TypeVar

from crawler.errors import FatalError, FolderLocked, FrontierError

P = ParamSpec("P")
T = TypeVar("T")

SCHEMA_VERSION: Final = 2

MIGRATIONS: Final = {1: "ALTER TABLE job ADD COLUMN files TEXT"}
"""Schema version → the SQL that upgrades it to the next version."""


class JobsDatabase:
    """An async context manager. Raises FolderLocked when another service has the file open.

    Use `db` only in functions that are passed to `run`: they execute on the database thread.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db: sqlite3.Connection
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jobs.db")
        self._lock: int | None = None

    async def __aenter__(self) -> Self:
        self._lock = lock_file(self.path.with_suffix(".lock"))
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
        self.path.chmod(0o600)  # it contains webhook signing secrets
        version = self.db.execute("PRAGMA user_version").fetchone()[0]
        if version not in {0, SCHEMA_VERSION, *MIGRATIONS}:
            raise FrontierError(
                f"{self.path} has version {version}, this program reads {SCHEMA_VERSION}"
            )
        self.db.execute("PRAGMA journal_mode = WAL")
        # Commits are few, and a client that got a response relies on them.
        self.db.execute("PRAGMA synchronous = FULL")
        if version == 0:
            schema = resources.files(__package__).joinpath("jobs.sql").read_text("utf-8")
            self.db.executescript(
                f"BEGIN;\n{schema}\nPRAGMA user_version = {SCHEMA_VERSION};\nCOMMIT;"
            )
        while version in MIGRATIONS:
            step = f"{MIGRATIONS[version]};\nPRAGMA user_version = {version + 1};"
            self.db.executescript(f"BEGIN;\n{step}\nCOMMIT;")
            version += 1

    def fetch(self, query: str, values: Sequence[Any]) -> list[Any]:
        """All rows of a query. Call it on the database thread, like `write` and `transaction`."""
        return self.db.execute(query, values).fetchall()

    def write(self, query: str, values: Sequence[Any]) -> int:
        """Execute one statement in its own transaction; returns the number of changed rows."""
        with self.transaction():
            return self.db.execute(query, values).rowcount

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit when the block succeeds, otherwise roll back."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.db.execute("COMMIT")
        finally:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")

    async def query(self, query: str, *values: Any) -> list[Any]:
        """All rows of a query, from the event loop."""
        return await self.run(self.fetch, query, values)

    async def execute(self, query: str, *values: Any) -> int:
        """`write` from the event loop."""
        return await self.run(self.write, query, values)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` on the database thread. Raises FrontierError for any SQLite error."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, lambda: work(*args, **kwargs))
        except sqlite3.Error as error:
            raise FrontierError(f"{self.path}: {error}") from error


def lock_file(path: Path) -> int:
    """Lock the file exclusively; returns its descriptor.

    The kernel releases the lock when the descriptor is closed or the process dies. Raises
    FolderLocked when another process holds the lock, FatalError when the folder is not writable.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FatalError(
            f"{path.parent}: {error.strerror}; the service needs a folder that user "
            f"{os.getuid()} may write"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise FolderLocked(f"{path.parent}: another service is using this folder") from error
    return descriptor
