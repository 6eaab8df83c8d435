"""The lock of a crawl's folder: one process at a time, for as long as it lives."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from crawler.errors import FolderLocked, FrontierError


def claim(path: Path) -> int:
    """Claim the crawl for this process, until the descriptor is closed or the process dies.

    Raises FolderLocked when another has it, FrontierError when the folder cannot be written.
    """
    try:
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise FrontierError(f"{path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise FolderLocked(
            f"{path.parent}: another process is crawling into this folder"
        ) from error
    return lock
