"""Files of jobs that can be fetched, the state of a download's files, and folder sizes.

All functions block. Of a download only complete and verified files can be fetched: unfinished files
have no name yet.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from crawler.config.model import UrlsConfig
from crawler.downloads.download_request import DownloadRequest, FileProgress
from crawler.downloads.file_names import STATE_FOLDER
from crawler.downloads.progress_store import decode_row
from crawler.downloads.request_list import merge_requests
from crawler.frontier.sqlite.statements import STATES
from crawler.policy.urls import Urls
from crawler.service.jobs.download_run import FILES_FOLDER
from crawler.service.results import crawl_results

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
"""Not for download: the frontier is in use, and the settings may contain credentials."""


class FileRow(msgspec.Struct, frozen=True):
    """A file that can be downloaded. `bytes`: its size."""

    path: str
    bytes: int


def list_crawl_files(folder: Path, limit: int = 1000, after: str = "") -> list[FileRow]:
    """Downloadable files sorted by path; only paths greater than `after`."""
    found = []
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "spool" or base != str(folder))
        for name in sorted(names):
            path = Path(base, name)
            relative = str(path.relative_to(folder))
            if relative not in PRIVATE and relative > after and not path.is_symlink():
                found.append(FileRow(relative, path.stat().st_size))
    return sorted(found, key=lambda row: row.path)[:limit]


def locate_crawl_file(folder: Path, relative: str) -> Path | None:
    """A downloadable file; None: it does not exist, is private, or is outside (`..`, symlinks)."""
    if "\0" in relative or relative in PRIVATE or relative.startswith("spool/"):
        return None
    try:
        root = folder.resolve(strict=True)
        path = (root / relative).resolve(strict=True)
        # `resolve` changes paths with `..`, symlinks or double slashes: those are rejected.
        if str(path) != f"{root}/{relative}" or not path.is_file():
            return None
    except (OSError, ValueError):
        return None
    return path


def size_of(folder: Path) -> int:
    """Bytes that a job's folder occupies on the disk."""
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(base, name)).st_blocks * 512  # noqa: PTH118 - hot
            except FileNotFoundError:
                continue
    return total


FILE_STATES: Final = ("waiting", "running", "done", "failed")

_ENDED: Final = {"done": "done", "unchanged": "done", "failed": "failed", "refused": "failed"}
"""Frontier state → file state; every other frontier state is `waiting`, or `running`."""


class FileEntry(msgspec.Struct, frozen=True):
    """One file of a download. `path`: its name for `/files/{path}`, null until it is complete.

    `bytes` is its size, null when not known; `received` the bytes on disk. `checksum` is the
    verified `algorithm:hex`, empty without a checksum to verify.
    """

    number: int
    url: str
    state: str
    path: str | None
    bytes: int | None
    received: int
    checksum: str
    reason: str
    status: int | None


def file_entries(
    folder: Path,
    requests: Sequence[DownloadRequest],
    rules: UrlsConfig,
    *,
    received_bytes: Mapping[str, int],
    states: Collection[str] = (),
    after: int = 0,
    limit: int = 100,
) -> list[FileEntry]:
    """Files in the order of the request, with a number greater than `after`.

    `received_bytes` maps the URL of each file in progress to the bytes received.
    """
    known = _stored_progress(folder)
    found: list[FileEntry] = []
    for number, request in enumerate(merge_requests(Urls(rules), requests), 1):
        if number <= after:
            continue
        entry = _entry(number, request, known.get(request.url), received_bytes)
        if not states or entry.state in states:
            found.append(entry)
            if len(found) == limit:
                break
    return found


def list_download_files(folder: Path) -> list[FileRow]:
    """Complete files, sorted by path."""
    rows = [
        FileRow(progress.name, progress.size or 0)
        for _, _, _, progress in _stored_progress(folder).values()
        if progress.finished
    ]
    return sorted(rows, key=lambda row: row.path)


def locate_download_file(folder: Path, relative: str) -> Path | None:
    """A complete file; None: there is no such file, or it is not complete."""
    if relative not in {row.path for row in list_download_files(folder)}:
        return None
    return locate_crawl_file(folder / FILES_FOLDER, relative)


def _stored_progress(folder: Path) -> dict[str, tuple[str, str, int | None, FileProgress]]:
    """(state, reason, status, progress) by URL; empty before the first run."""
    try:
        with crawl_results.open_frontier(folder / FILES_FOLDER / STATE_FOLDER) as db:
            rows: list[Any] = db.execute(
                "SELECT link.url, link.state, link.reason, link.status, file.ordered, "
                "file.progress FROM file JOIN link ON link.url = file.url"
            ).fetchall()
    except FileNotFoundError:
        return {}
    return {
        url: (STATES[state], reason or "", status, decode_row(ordered, progress)[1])
        for url, state, reason, status, ordered, progress in rows
    }


def _entry(
    number: int,
    request: DownloadRequest,
    known: tuple[str, str, int | None, FileProgress] | None,
    received_bytes: Mapping[str, int],
) -> FileEntry:
    state, reason, status, progress = known or ("queued", "", None, FileProgress())
    shown = _ENDED.get(state, "running" if request.url in received_bytes else "waiting")
    on_disk = sum(end - start for start, end in progress.spans)
    done = shown == "done" and progress.finished
    return FileEntry(
        number,
        request.url,
        shown,
        progress.name if done else None,
        request.size if progress.size is None else progress.size,
        (progress.size or 0) if done else max(on_disk, received_bytes.get(request.url, 0)),
        progress.digest,
        "" if shown == "done" else reason,
        status,
    )
