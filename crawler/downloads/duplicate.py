"""Copy a finished file to another name; the copy is either whole or not there. Blocking."""

from __future__ import annotations

import filecmp
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from crawler.downloads.name_registry import numbered
from crawler.downloads.rename import rename_new
from crawler.downloads.temp_file import TEMP_SUFFIX
from crawler.errors import SinkError


def duplicate(path: Path, target: Path, *, exists: str, fsync: bool) -> Path | None:
    """Copy `path` to `target`; returns where the copy is. None: another file has that name and is
    kept.

    `exists` is the setting `download.exists`: with replace and newer, another file of that name is
    replaced; with skip it is kept; with rename the copy gets the next free name. An identical copy
    is left as it is, so the call can be repeated. Raises SinkError.
    """
    temporary = target.with_name(f".{target.name}{TEMP_SUFFIX}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for candidate in _candidates(target):
            if os.path.lexists(candidate):
                if candidate.is_file() and filecmp.cmp(path, candidate, shallow=False):
                    return candidate
                if exists == "skip":
                    return None
                if exists == "rename":
                    continue
            shutil.copy2(path, temporary)
            if fsync:
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
            if exists in {"replace", "newer"}:
                temporary.replace(candidate)
                return candidate
            try:
                rename_new(str(temporary), str(candidate))
            except FileExistsError:  # created by another program in the meantime
                continue
            return candidate
    except OSError as error:
        raise SinkError(f"{error.filename or target}: {error.strerror}") from error
    raise AssertionError("there is always another name")


def _candidates(target: Path) -> Iterator[Path]:
    """`target` itself, then numbered names."""
    yield target
    for number in itertools.count(1):
        yield target.with_name(numbered(target.name, number))
