"""Several files and folders that appear in a folder together, or not at all.

    OUT/.merge-x1y2z3/new        built here
    OUT/.merge-x1y2z3/old        what is replaced, until all that is new is in its place
    OUT/.merge-x1y2z3/moving     there while things are moved into OUT
    OUT/.merge-x1y2z3/lock       held by the process that builds; free: it died

A process that is killed leaves its folder behind. The next one takes back what was moved, restores
what was replaced, and removes the folder: everything can be built again from its sources.
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

PREFIX: Final = ".merge-"


class AtomicOutput:
    """A folder below OUT in which something is built."""

    def __init__(self, out: Path, folder: Path) -> None:
        self.new = folder / "new"
        self._out = out
        self._folder = folder
        self.new.mkdir()

    def publish(self, names: Sequence[str]) -> None:
        """Move what was built to its place, in this order. Raises OSError."""
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
def building(out: Path) -> Iterator[AtomicOutput]:
    """A room in OUT, which is removed at the end."""
    folder = Path(mkdtemp(dir=out, prefix=PREFIX))
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield AtomicOutput(out, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def clear_torn(out: Path) -> None:
    """Remove what processes that were killed left in OUT. Raises FolderLocked, OSError."""
    for folder in out.glob(f"{PREFIX}*"):
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _clear(out, folder)
        except BlockingIOError as error:
            raise FolderLocked(f"{out}: another process merges into this folder") from error
        finally:
            os.close(lock)


def _clear(out: Path, folder: Path) -> None:
    """Undo what was moved, step by step backwards, so that this too may be killed anywhere."""
    moving = folder / "moving"
    for name in moving.read_text().splitlines() if moving.exists() else ():
        new, old, place = folder / "new" / name, folder / "old" / name, out / name
        if not new.exists():
            place.replace(new)
        if old.exists():
            old.replace(place)
    shutil.rmtree(folder)
