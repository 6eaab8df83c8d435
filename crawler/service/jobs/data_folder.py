"""The service's folder: make it, its disk reserve, and its trash. All of it blocks."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path
from typing import Final

from crawler.errors import FatalError

RESERVE_BYTES: Final = 1024 * 1024
"""Size of the reserve file. It is deleted when the disk is full, so that the job store can still
write that the jobs are held.
"""

_JOB_ID: Final = re.compile(r"[0-9a-f]{12}")


def prepare_data_folder(folder: Path) -> None:
    """Create the folder, test that it is writable, fill the reserve. Raises FatalError."""
    probe = folder / ".writable"
    try:
        (folder / "jobs").mkdir(parents=True, exist_ok=True)
        (folder / "trash").mkdir(exist_ok=True)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise FatalError(
            f"{folder}: {error.strerror}. The service runs as user {os.getuid()}, group "
            f"{os.getgid()}; the folder or volume must be writable by them"
        ) from error
    fill_reserve(folder)


def fill_reserve(folder: Path) -> None:
    """Write the reserve file where it is missing; nothing happens when the disk is full."""
    path = folder / ".reserve"
    try:
        if not path.exists() or path.stat().st_size < RESERVE_BYTES:
            path.write_bytes(b"\0" * RESERVE_BYTES)
    except OSError:
        path.unlink(missing_ok=True)


def release_reserve(folder: Path) -> bool:
    """Delete the reserve file; False when there was none."""
    try:
        (folder / ".reserve").unlink()
    except OSError:
        return False
    return True


def move_to_trash(job_folder: Path) -> Path | None:
    """Rename a job's folder into the trash; returns the new path, None when there is no folder.

    A rename is atomic: a killed deletion leaves no half of a job's folder among the jobs.
    """
    trash = job_folder.parent.parent / "trash" / f"{job_folder.name}-{time.time_ns()}"
    try:
        job_folder.rename(trash)
    except FileNotFoundError:
        return None
    return trash


def empty_trash(folder: Path, known_jobs: set[str]) -> None:
    """Delete the trash, and the folders of jobs that are not in the store: remains of a kill."""
    for job_folder in (folder / "jobs").iterdir():
        if _JOB_ID.fullmatch(job_folder.name) and job_folder.name not in known_jobs:
            move_to_trash(job_folder)
    for trash in (folder / "trash").iterdir():
        shutil.rmtree(trash, ignore_errors=True)
