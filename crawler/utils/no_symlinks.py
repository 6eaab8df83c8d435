"""Writing below a folder without going through symbolic links that lie in it.

A crawl's folder may have been unpacked, shared or prepared by somebody else; what the crawl writes
must not land elsewhere. The folder itself may be a link: whoever named it meant its target.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO


def make_folders(root: Path, relative: str) -> Path:
    """The path of a file below `root`, whose folders are there afterwards.

    Raises OSError (ELOOP) where one of them, or the file itself, is a symbolic link.
    """
    place = str(root)
    *folders, name = relative.split("/")
    if not os.path.isdir(place):  # noqa: PTH112 - strings are twice as fast, for each file
        root.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        place = f"{place}/{folder}"
        mode = _mode(place)
        if mode is None:
            Path(place).mkdir(exist_ok=True)
        elif stat.S_ISLNK(mode):
            raise OSError(errno.ELOOP, REFUSED, place)
    path = Path(place, name)
    refuse_link(path)
    return path


def refuse_link(path: Path) -> None:
    """Raises OSError (ELOOP) where there is a symbolic link."""
    mode = _mode(str(path))
    if mode is not None and stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, REFUSED, str(path))


REFUSED = "is a symbolic link, through which nothing is written; remove it, or name its target"


def open_new(path: Path, mode: int = 0o666) -> IO[bytes]:
    """A file opened for writing, empty; a new one gets `mode` before the umask.

    Raises OSError where a symbolic link lies.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.fdopen(os.open(path, flags, mode), "wb")
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, REFUSED, str(path)) from error
        raise


def _mode(path: str) -> int | None:
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return None
