"""Which file name belongs to which URL of a download; no two names collide on any file system."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import PurePosixPath


def numbered(name: str, number: int) -> str:
    """`name.3.ext` or `name.3.tar.gz` for the number 3."""
    path = PurePosixPath(name)
    stem, suffix = path.stem, path.suffix
    if stem.endswith(".tar"):
        stem, suffix = stem[:-4], f".tar{suffix}"
    return str(path.with_name(f"{stem}.{number}{suffix}"))


class NameRegistry:
    """Names in use, by this download or by existing files; no name is claimed for two URLs.

    Case and Unicode forms are folded, so that two names are distinct on every file system.
    """

    def __init__(self, exists: Callable[[str], bool]) -> None:
        self._exists = exists
        self._taken: dict[str, str] = {}  # folded → url
        self._last: dict[str, int] = {}  # folded → the number given last

    def restore(self, name: str, url: str) -> None:
        """Record a claim of an earlier run."""
        self._taken[_fold(name)] = url

    def claim(self, name: str, url: str, *, replace: bool = False) -> str:
        """Claim the name, or the first of `name.1.ext`, `name.2.ext` … that is free; returns it.

        With `replace`, an existing file does not block the name; a claim of another URL still does.
        """
        folded = _fold(name)
        if self._is_free(folded, name, url, replace=replace):
            self._taken[folded] = url
            return name
        while True:
            number = self._last[folded] = self._last.get(folded, 0) + 1
            candidate = numbered(name, number)
            if self._is_free(_fold(candidate), candidate, url, replace=replace):
                self._taken[_fold(candidate)] = url
                return candidate

    def _is_free(self, folded: str, name: str, url: str, *, replace: bool) -> bool:
        owner = self._taken.get(folded)
        return owner == url or (owner is None and (replace or not self._exists(name)))

    def release(self, name: str, url: str) -> None:
        """Release the claim of `url` on the name."""
        if self._taken.get(_fold(name)) == url:
            del self._taken[_fold(name)]


def _fold(name: str) -> str:
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFKC", name).casefold()
