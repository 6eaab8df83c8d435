"""pages.jsonl: one line a visit, appended through aiofiles in groups."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import aiofiles
import msgspec

from crawler.errors import SinkError
from crawler.model import Visit
from crawler.sinks.record import record


class JsonLines:
    """Implements `protocols.Sink`. A group is one write: one a page costs a third of a crawl."""

    name = "pages.jsonl"

    def __init__(self, path: Path, *, durable: str = "process") -> None:
        self._path = path
        self._fsync = durable == "power"
        self._encoder = msgspec.json.Encoder()
        self._file: Any = None
        self._length = 0

    async def __aenter__(self) -> Self:
        try:
            # Unbuffered: a returned write has reached the operating system and outlives us.
            self._file = await aiofiles.open(self._path, "ab", buffering=0)
            self._length = await self._file.tell()
        except OSError as error:
            raise SinkError(f"{self._path}: {error.strerror}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._file.close()

    async def append(self, visits: Sequence[Visit]) -> int:
        return await self.write([record(visit) for visit in visits])

    async def write(self, rows: Sequence[object]) -> int:
        """One line a row; the file's new length. Raises SinkError."""
        lines = self._encoder.encode_lines(rows)
        try:
            await self._write(lines)
            if self._fsync:
                await asyncio.to_thread(os.fsync, self._file.fileno())
        except OSError as error:
            raise SinkError(f"{self._path}: {error.strerror}") from error
        return self._length

    async def _write(self, lines: bytes) -> None:
        rest = memoryview(lines)
        while rest:  # a raw write may be short, as on a disk that is just filling up
            written = await self._file.write(rest)
            self._length += written
            rest = rest[written:]

    async def cut(self, mark: int) -> None:
        if self._length < mark:
            raise SinkError(
                f"{self._path}: {self._length} bytes, but {mark} were committed: it was changed"
            )
        try:
            await self._file.truncate(mark)
        except OSError as error:
            raise SinkError(f"{self._path}: {error.strerror}") from error
        self._length = mark
