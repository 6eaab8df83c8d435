"""Requests and progress of the files of a download, stored in groups like crawl results."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol, Self

import msgspec

from crawler.downloads.download_request import DownloadRequest, FileProgress

NO_PROGRESS: Final = FileProgress()
"""Progress of a file that was not begun; one shared frozen record."""

GROUP_DELAY_S: Final = 0.005
"""The first save of a group waits this long for others. No connection is held meanwhile, and later
steps come in groups as large: a quarter less CPU in threads."""


class ProgressBackend(Protocol):
    """The part of the frontier that stores the rows."""

    async def files(self) -> list[tuple[str, bytes, bytes | None]]:
        """All rows: URL, encoded request, encoded progress (None: not begun)."""
        ...

    async def keep_files(self, rows: Sequence[tuple[str, bytes, bytes | None]]) -> None:
        """Insert or replace rows; returns once they are committed."""
        ...


class ProgressStore:
    """Requests and progress by URL. Opened after the frontier, closed before it."""

    def __init__(self, backend: ProgressBackend) -> None:
        self.requests: dict[str, DownloadRequest] = {}
        self.progress: dict[str, FileProgress] = {}
        self._backend = backend
        self._encode = msgspec.msgpack.Encoder().encode
        self._waiting: dict[str, FileProgress] = {}
        self._futures: list[asyncio.Future[None]] = []
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        for url, request_blob, progress in await self._backend.files():
            self.requests[url], self.progress[url] = decode_row(request_blob, progress)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._writer is not None:
            await asyncio.wait([self._writer])

    async def add(self, requests: Sequence[DownloadRequest]) -> None:
        """Add new requests, or replace known ones; their progress is kept."""
        rows: list[tuple[str, bytes, bytes | None]] = []
        for request in requests:
            self.requests[request.url] = request
            known = self.progress.setdefault(request.url, NO_PROGRESS)
            blob = None if known is NO_PROGRESS else self._encode(known)
            rows.append((request.url, self._encode_request(request), blob))
        await self._backend.keep_files(rows)

    def _encode_request(self, request: DownloadRequest) -> bytes:
        """The request as stored: without headers, which may be secrets (decision 30)."""
        return self._encode(
            msgspec.structs.replace(request, headers={}) if request.headers else request
        )

    async def save(self, url: str, progress: FileProgress) -> None:
        """Store the progress of a file; returns once it is committed. Raises FrontierError."""
        self.progress[url] = progress
        self._waiting[url] = progress
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._futures.append(done)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="progress-store")
        await done

    async def _write(self) -> None:
        while self._waiting:
            await asyncio.sleep(GROUP_DELAY_S)
            group, self._waiting = self._waiting, {}
            futures, self._futures = self._futures, []
            try:
                rows = [
                    (url, self._encode_request(self.requests[url]), self._encode(progress))
                    for url, progress in group.items()
                ]
                await self._backend.keep_files(rows)
            except Exception as error:  # noqa: BLE001 - set in every waiting future
                for done in futures:
                    if not done.done():  # else its caller was cancelled
                        done.set_exception(error)
            else:
                for done in futures:
                    if not done.done():
                        done.set_result(None)


def decode_row(request_blob: bytes, progress: bytes | None) -> tuple[DownloadRequest, FileProgress]:
    """The request and progress of one row."""
    request = msgspec.msgpack.decode(request_blob, type=DownloadRequest)
    if progress is None:
        return request, NO_PROGRESS
    return request, msgspec.msgpack.decode(progress, type=FileProgress)
