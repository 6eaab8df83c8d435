"""Buffer a response body: in memory while it is small and memory is free, else in a file."""

from __future__ import annotations

import asyncio
import weakref
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import aiofiles

from crawler.errors import SinkError
from crawler.records import Page


class MemoryBudget:
    """Memory for bodies, of all exchanges and all pages that anybody still holds, in bytes.

    A body that finds no room goes to a file: nobody waits for room, so nobody can wait for ever.
    The room of a page comes back when the last reference to it goes, whoever has it.
    """

    def __init__(self, size: int) -> None:
        self.used = 0
        self._size = size
        self._pages: dict[int, weakref.ref[Page]] = {}  # by id: a hash would go over the body

    def take(self, count: int) -> bool:
        """Whether there is room; if so it is taken."""
        if self.used + count > self._size:
            return False
        self.used += count
        return True

    def back(self, count: int) -> None:
        """Room that is free again."""
        self.used -= count

    def follow(self, page: Page) -> None:
        """Give back what the page's body took as soon as nobody holds the page."""
        if not (count := len(page.body) if isinstance(page.body, bytes) else 0):
            return

        number = id(page)

        def gone(_: weakref.ref[Page]) -> None:
            del self._pages[number]
            self.used -= count

        self._pages[number] = weakref.ref(page, gone)


class BodyBuffer:
    """Implements `protocols.Receiver`: grows piece by piece; `close` or `discard` ends it."""

    full = False  # however much comes

    def __init__(self, spool: Path, above: int, room: MemoryBudget) -> None:
        self.size = 0
        self.truncated = ""  # see Page
        self._spool = spool
        self._above = above
        self._room = room
        self._held = 0  # bytes in memory
        self._chunks: list[bytes] = []
        self._path: Path | None = None
        self._file: Any = None

    async def head(self, status: int, fields: tuple[tuple[str, str], ...]) -> None:
        """Any answer's body is taken."""

    async def add(self, chunk: bytes) -> None:
        """Raises SinkError when it cannot be written: no page's fault, as a full disk is none."""
        try:
            await self._take(chunk)
        except OSError as error:
            raise self._unwritten(error) from error

    async def _take(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self._file is not None:
            await self._file.write(chunk)
            return
        self._chunks.append(chunk)
        if self.size <= self._above and self._room.take(len(chunk)):
            self._held += len(chunk)
            return
        with NamedTemporaryFile(dir=self._spool, suffix=".body", delete=False) as file:
            self._path = Path(file.name)
        self._file = await aiofiles.open(self._path, "wb")
        await self._file.write(b"".join(self._chunks))
        self._forget()

    async def close(self) -> bytes | Path:
        """The body, whole; a file, and the room of what is in memory, are the caller's now. Raises
        SinkError as `add` does.
        """
        if self._file is None:
            self._held = 0
            body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            self._chunks.clear()
            return body
        try:
            await self._file.close()
        except OSError as error:  # the last of it was still in a buffer
            raise self._unwritten(error) from error
        assert self._path is not None
        return self._path

    async def discard(self) -> None:
        """Leave nothing behind; also when cancelled in the middle of a write."""
        self._forget()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        if self._file is not None:
            with suppress(OSError):  # what is still in its buffer finds no place either
                await asyncio.shield(self._file.close())

    def _unwritten(self, error: OSError) -> SinkError:
        return SinkError(f"{self._spool}: {error.strerror}")

    def _forget(self) -> None:
        self._chunks.clear()
        self._room.back(self._held)
        self._held = 0
