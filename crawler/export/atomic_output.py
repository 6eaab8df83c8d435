"""Publish several files and folders together: all of them appear, or none.

    OUT/.merge-x1y2z3/new        new files, built here
    OUT/.merge-x1y2z3/old        replaced files, until all new ones are in place
    OUT/.merge-x1y2z3/moving     names being moved into OUT; exists only meanwhile
    OUT/.merge-x1y2z3/lock       held by the building process; unlocked: it was killed

A killed process leaves its work folder. The next one moves the new files back, restores the
replaced ones, and removes the folder: everything can be built again from its sources.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from crawler.errors import FolderLocked

WORK_FOLDER_PREFIX: Final = ".merge-"


class AtomicOutput:
    """A work folder below OUT; files are built in `new`."""

    def __init__(self, out: Path, folder: Path) -> None:
        self.new = folder / "new"
        self._out = out
        self._folder = folder
        self.new.mkdir()

    def publish(self, names: Sequence[str]) -> None:
        """Move these names from `new` into OUT, in this order. Raises OSError."""
        built = [name for name in names if (self.new / name).exists()]
        old = self._folder / "old"
        old.mkdir()
        moving = self._folder / "moving"
        moving.write_text("".join(f"{name}\n" for name in built))
        for name in built:
            if (self._out / name).exists():
                (self._out / name).replace(old / name)
            (self.new / name).replace(self._out / name)
        moving.unlink()


@contextmanager
def atomic_output(out: Path) -> Iterator[AtomicOutput]:
    """A work folder in OUT, removed on exit."""
    folder = Path(mkdtemp(dir=out, prefix=WORK_FOLDER_PREFIX))
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield AtomicOutput(out, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def recover_interrupted(out: Path) -> None:
    """Roll back and remove the work folders of killed processes. Raises FolderLocked, OSError."""
    for folder in out.glob(f"{WORK_FOLDER_PREFIX}*"):
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _roll_back(out, folder)
        except BlockingIOError as error:
            raise FolderLocked(f"{out}: another process merges into this folder") from error
        finally:
            os.close(lock)


def _roll_back(out: Path, folder: Path) -> None:
    """Undo the moves of a killed process, last first, so that this too may be killed at any
    point.
    """
    moving = folder / "moving"
    for name in moving.read_text().splitlines() if moving.exists() else ():
        new, old, target = folder / "new" / name, folder / "old" / name, out / name
        if not new.exists():
            target.replace(new)
        if old.exists():
            old.replace(target)
    shutil.rmtree(folder)
