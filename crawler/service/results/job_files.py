"""The files of a job's folder: which may be had, and how much they take. All of it blocks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

PRIVATE: Final = (
    "frontier.db",
    "frontier.db-wal",
    "frontier.db-shm",
    "frontier.lock",
    "crawl.toml",
    "shares.db",
    "shares.db-wal",
    "shares.db-shm",
    "pages.jsonl.part",
)
"""Not for download: the frontier is in use, and the settings may hold credentials."""


class FileRow(msgspec.Struct, frozen=True):
    """A file that can be downloaded."""

    path: str
    bytes: int


def files(folder: Path, limit: int = 1000, after: str = "") -> list[FileRow]:
    """What can be downloaded, by path, those that sort after `after`."""
    found = []
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "spool" or base != str(folder))
        for name in sorted(names):
            path = Path(base, name)
            relative = str(path.relative_to(folder))
            if relative not in PRIVATE and relative > after and not path.is_symlink():
                found.append(FileRow(relative, path.stat().st_size))
    return sorted(found, key=lambda row: row.path)[:limit]


def locate(folder: Path, relative: str) -> Path | None:
    """A downloadable file; None: there is none, or it lies outside (`..`, links, private)."""
    if "\0" in relative or relative in PRIVATE or relative.startswith("spool/"):
        return None
    try:
        root = folder.resolve(strict=True)
        path = (root / relative).resolve(strict=True)
        # Only the plain name of a file inside: no `..`, no link, no slash too many.
        if str(path) != f"{root}/{relative}" or not path.is_file():
            return None
    except (OSError, ValueError):
        return None
    return path


def size_of(folder: Path) -> int:
    """Bytes that a job's folder takes on the disk."""
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(base, name)).st_blocks * 512  # noqa: PTH118 - hot
            except FileNotFoundError:
                continue
    return total
