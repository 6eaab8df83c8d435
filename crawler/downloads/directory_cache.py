"""What lay in a download's folders before it: each is read once, not asked for every name.

A look at one name gives up the interpreter's lock and queues for it again: measured, a tenth of a
small file's CPU. What somebody else puts there later is met when a name is given, which replaces
nothing.
"""

from __future__ import annotations

import os
from itertools import islice
from typing import Final

MOST: Final = 10_000
"""Names and folders kept (3 ms, 1 MB). Where they have no room, each name is asked for."""


class DirectoryCache:
    """Those below `root`. A name is a path relative to it."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._names: dict[str, set[str] | None] = {}  # by folder; None: there was no room
        self._room = MOST

    def has(self, name: str) -> bool:
        """Somebody has the name. A folder that cannot be read has none: to write there will fail,
        and say why.
        """
        folder, _, last = name.rpartition("/")
        if folder not in self._names and self._room > 0:
            self._names[folder] = names = self._read(folder)
            self._room -= 1 + len(names or ())
        known = self._names.get(folder)
        if known is None:
            return os.path.lexists(f"{self._root}/{name}")
        return last in known

    def meet(self, name: str) -> None:
        """It turned out to be there. Where its folder was not read, it is seen there anyway."""
        folder, _, last = name.rpartition("/")
        known = self._names.get(folder)
        if known is not None:
            known.add(last)

    def _read(self, folder: str) -> set[str] | None:
        try:
            with os.scandir(f"{self._root}/{folder}") as entries:
                names = {entry.name for entry in islice(entries, self._room + 1)}
        except OSError:
            return set()
        return names if len(names) <= self._room else None
