"""A file that one process holds at a time; the claim dies with the process, however it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from crawler.errors import FatalError, FolderLocked


def claim(path: Path, who: str) -> int:
    """A file descriptor that holds the claim until it is closed. Raises FolderLocked,
    FatalError.
    """
    lock = path.with_suffix(".lock")
    try:
        held = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FatalError(
            f"{path.parent}: {error.strerror}; the service needs a folder that user "
            f"{os.getuid()} may write"
        ) from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(held)
        raise FolderLocked(f"{path.parent}: {who} is using this folder") from error
    return held
