"""What there is of each file, on disk: progress written in groups, like the ledger's visits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol, Self

import msgspec

from crawler.downloads.download_request import DownloadRequest, FileProgress

NOTHING: Final = FileProgress()
"""Of a file that nobody has begun; one for all, since it never changes."""

GATHER: Final = 0.005
"""Seconds that the first of a group waits for others. No connection waits with it, and what lands
and is crossed off after it comes in groups as large: a quarter of the threads' CPU less."""


class ProgressBackend(Protocol):
    """What is asked of the frontier."""

    async def files(self) -> list[tuple[str, bytes, bytes | None]]: ...
    async def keep_files(self, rows: Sequence[tuple[str, bytes, bytes | None]]) -> None: ...


class ProgressStore:
    """Orders and progress by URL. Entered after the frontier, left before it."""

    def __init__(self, shelf: ProgressBackend) -> None:
        self.orders: dict[str, DownloadRequest] = {}
        self.progress: dict[str, FileProgress] = {}
        self._shelf = shelf
        self._encode = msgspec.msgpack.Encoder().encode
        self._waiting: dict[str, FileProgress] = {}
        self._savers: list[asyncio.Future[None]] = []
        self._busy: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        for url, ordered, progress in await self._shelf.files():
            self.orders[url], self.progress[url] = read(ordered, progress)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._busy is not None:
            await asyncio.wait([self._busy])

    async def enter(self, orders: Sequence[DownloadRequest]) -> None:
        """New orders, or new wishes for known ones; what is there already stays."""
        rows: list[tuple[str, bytes, bytes | None]] = []
        for order in orders:
            self.orders[order.url] = order
            known = self.progress.setdefault(order.url, NOTHING)
            blob = None if known is NOTHING else self._encode(known)
            rows.append((order.url, self._kept(order), blob))
        await self._shelf.keep_files(rows)

    def _kept(self, order: DownloadRequest) -> bytes:
        """As it is written down: without headers, which may be secrets (decision 30)."""
        return self._encode(msgspec.structs.replace(order, headers={}) if order.headers else order)

    async def save(self, url: str, progress: FileProgress) -> None:
        """Returns once it is committed. Raises FrontierError."""
        self.progress[url] = progress
        self._waiting[url] = progress
        saved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._savers.append(saved)
        if self._busy is None or self._busy.done():
            self._busy = asyncio.create_task(self._write(), name="book")
        await saved

    async def _write(self) -> None:
        while self._waiting:
            await asyncio.sleep(GATHER)
            group, self._waiting = self._waiting, {}
            savers, self._savers = self._savers, []
            try:
                rows = [
                    (url, self._kept(self.orders[url]), self._encode(progress))
                    for url, progress in group.items()
                ]
                await self._shelf.keep_files(rows)
            except Exception as error:  # noqa: BLE001 - raised again in all who wait
                for saved in savers:
                    if not saved.done():  # else who waited was cancelled
                        saved.set_exception(error)
            else:
                for saved in savers:
                    if not saved.done():
                        saved.set_result(None)


def read(ordered: bytes, progress: bytes | None) -> tuple[DownloadRequest, FileProgress]:
    """One row's records."""
    order = msgspec.msgpack.decode(ordered, type=DownloadRequest)
    if progress is None:
        return order, NOTHING
    return order, msgspec.msgpack.decode(progress, type=FileProgress)
