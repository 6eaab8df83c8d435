"""A finished file under one more name: a copy of its own, whole or not there at all. Blocking."""

from __future__ import annotations

import filecmp
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from crawler.downloads.file_names import numbered
from crawler.downloads.rename import rename_new
from crawler.downloads.temp_file import SUFFIX
from crawler.errors import SinkError


def duplicate(path: Path, target: Path, *, exists: str, fsync: bool) -> Path | None:
    """Copy `path` to `target`; where the copy lies. None: another file is there, and it stays.

    `exists` is `download.exists`: with replace and newer another file of that name gives way, with
    skip it stays, with rename the copy gets the next free name. A copy that is there already is
    left alone, so that this may be repeated. Raises SinkError.
    """
    temporary = target.with_name(f".{target.name}{SUFFIX}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for place in _places(target):
            if os.path.lexists(place):
                if place.is_file() and filecmp.cmp(path, place, shallow=False):
                    return place
                if exists == "skip":
                    return None
                if exists == "rename":
                    continue
            shutil.copy2(path, temporary)
            if fsync:
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
            if exists in {"replace", "newer"}:
                temporary.replace(place)
                return place
            try:
                rename_new(str(temporary), str(place))
            except FileExistsError:  # somebody made one in the meantime
                continue
            return place
    except OSError as error:
        raise SinkError(f"{error.filename or target}: {error.strerror}") from error
    raise AssertionError("there is always another name")


def _places(target: Path) -> Iterator[Path]:
    """The name, and others that are free more likely."""
    yield target
    for number in itertools.count(1):
        yield target.with_name(numbered(target.name, number))
