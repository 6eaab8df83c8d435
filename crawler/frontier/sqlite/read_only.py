"""A connection that reads a frontier's file, while the crawl runs or not, and leaves nothing."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path


def reader(path: Path, *, timeout: float = 5.0) -> sqlite3.Connection:
    """Open the file for questions only. Raises sqlite3.Error; `timeout` is in seconds.

    SQLite's own read-only mode makes `-wal` and `-shm` beside a closed crawl's file and cannot take
    them away again: only a connection that may write does that, when it is the last to close. So
    this one may, and is told to change nothing. In a folder that may not be written to, where the
    crawl was closed, there is nothing to make either: the file is read as it stands.
    """
    where = path.resolve()
    wal = where.with_name(f"{where.name}-wal")
    mode = "mode=rw"
    if not os.access(where.parent, os.W_OK):
        mode = "mode=ro" if wal.exists() else "mode=ro&immutable=1"
    db = sqlite3.connect(f"{where.as_uri()}?{mode}", uri=True, timeout=timeout)
    try:
        db.execute("PRAGMA query_only = ON")
    except sqlite3.Error:
        db.close()
        raise
    return db
