"""What became of each file of a download, read from outside while it runs or not. All of it blocks.

Only files that are whole and right are handed out: unfinished ones have no name yet.
"""

from __future__ import annotations

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
from crawler.service.jobs.download_run import FILES
from crawler.service.results import crawl_results, job_files

FILE_STATES: Final = ("waiting", "running", "done", "failed")

_ENDED: Final = {"done": "done", "unchanged": "done", "failed": "failed", "refused": "failed"}
"""A link's state as a file's; every other one waits."""


class FileEntry(msgspec.Struct, frozen=True):
    """One file of a download. `path` is its name for `/files/{path}`, once it is there.

    `bytes` is its size, null: not known (yet); `received` what is there of it. `checksum` is
    `algorithm:hex` of what was verified, empty where there was nothing to verify by.
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


def entries(
    folder: Path,
    orders: Sequence[DownloadRequest],
    rules: UrlsConfig,
    *,
    receiving: Mapping[str, int],
    states: Collection[str] = (),
    after: int = 0,
    limit: int = 100,
) -> list[FileEntry]:
    """Files in the order they were ordered in, those with a greater number than `after`.

    `receiving` are those under way now, with the bytes that are there.
    """
    known = _known(folder)
    found: list[FileEntry] = []
    for number, order in enumerate(merge_requests(Urls(rules), orders), 1):
        if number <= after:
            continue
        entry = _entry(number, order, known.get(order.url), receiving)
        if not states or entry.state in states:
            found.append(entry)
            if len(found) == limit:
                break
    return found


def finished(folder: Path) -> list[job_files.FileRow]:
    """What can be fetched, by path."""
    rows = [
        job_files.FileRow(progress.name, progress.size or 0)
        for _, _, _, progress in _known(folder).values()
        if progress.finished
    ]
    return sorted(rows, key=lambda row: row.path)


def locate(folder: Path, relative: str) -> Path | None:
    """A finished file; None: there is none of that name, or not yet."""
    if relative not in {row.path for row in finished(folder)}:
        return None
    return job_files.locate(folder / FILES, relative)


def _known(folder: Path) -> dict[str, tuple[str, str, int | None, FileProgress]]:
    """State, reason, status and progress by URL; nothing before the first run."""
    try:
        with crawl_results.opened(folder / FILES / STATE_FOLDER) as db:
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
    order: DownloadRequest,
    known: tuple[str, str, int | None, FileProgress] | None,
    receiving: Mapping[str, int],
) -> FileEntry:
    state, reason, status, progress = known or ("queued", "", None, FileProgress())
    shown = _ENDED.get(state, "running" if order.url in receiving else "waiting")
    there = sum(end - start for start, end in progress.spans)
    done = shown == "done" and progress.finished
    return FileEntry(
        number,
        order.url,
        shown,
        progress.name if done else None,
        order.size if progress.size is None else progress.size,
        (progress.size or 0) if done else max(there, receiving.get(order.url, 0)),
        progress.digest,
        "" if shown == "done" else reason,
        status,
    )
