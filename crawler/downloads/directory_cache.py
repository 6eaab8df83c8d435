"""A cache of the names in a download's folders: each folder is read once, not checked for each
name.

A check of one name releases the interpreter's lock and has to acquire it again: measured, a tenth
of a small file's CPU. A file that another program creates later is found when a download gets its
name, because that rename replaces nothing.
"""

from __future__ import annotations

import os
from itertools import islice
from typing import Final

MAX_CACHED_NAMES: Final = 10_000
"""Names and folders in the cache (3 ms, 1 MB). Folders beyond that are checked name by name."""


class DirectoryCache:
    """Names in the folders below `root`. A name is a path relative to `root`."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._names: dict[str, set[str] | None] = {}  # by folder; None: too many to cache
        self._free = MAX_CACHED_NAMES

    def exists(self, name: str) -> bool:
        """Whether the name exists. An unreadable folder counts as empty: writing there fails with
        the reason.
        """
        folder, _, last = name.rpartition("/")
        if folder not in self._names and self._free > 0:
            self._names[folder] = names = self._read(folder)
            self._free -= 1 + len(names or ())
        known = self._names.get(folder)
        if known is None:
            return os.path.lexists(f"{self._root}/{name}")
        return last in known

    def add(self, name: str) -> None:
        """Record a name that another program created; nothing to do where its folder is not
        cached.
        """
        folder, _, last = name.rpartition("/")
        known = self._names.get(folder)
        if known is not None:
            known.add(last)

    def _read(self, folder: str) -> set[str] | None:
        try:
            with os.scandir(f"{self._root}/{folder}") as entries:
                names = {entry.name for entry in islice(entries, self._free + 1)}
        except OSError:
            return set()
        return names if len(names) <= self._free else None
