"""A file that only grows, and can be cut back to any length it once had: a mark."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, Self

import aiofiles

from crawler.errors import SinkError, SinkLost
from crawler.utils.file_identity import trouble


class AppendOnlyFile:
    """Appends through aiofiles. A returned `append` has reached the operating system."""

    def __init__(self, path: Path, *, durable: str = "process") -> None:
        self.length = 0
        self._path = path
        self._fsync = durable == "power"
        self._file: Any = None

    async def __aenter__(self) -> Self:
        try:
            # Unbuffered: a returned write has reached the operating system and outlives us.
            self._file = await aiofiles.open(self._path, "ab", buffering=0)
            self.length = await self._file.tell()
        except OSError as error:
            raise SinkError(f"{self._path}: {error.strerror}") from error
        return self

    async def __aexit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        """Raises SinkError when the file is not at its path any more, unless all failed already."""
        try:
            if kind is None:
                self._look()
        finally:
            await self._file.close()

    async def append(self, data: bytes) -> int:
        """Write, and return the new length. Raises SinkError, also when what was written can be
        found at the path no more: it must not be crossed off then.
        """
        try:
            if data:
                await self._write(data)
            if self._fsync:
                await asyncio.to_thread(os.fsync, self._file.fileno())
        except OSError as error:
            raise SinkError(f"{self._path}: {error.strerror}") from error
        self._look()
        return self.length

    async def cut(self, mark: int) -> None:
        """Forget what lies behind the mark. Raises SinkError when the file is too short for it."""
        if self.length < mark:
            raise SinkError(
                f"{self._path}: {self.length} bytes, but {mark} were committed: it was changed"
            )
        try:
            await self._file.truncate(mark)
        except OSError as error:
            raise SinkError(f"{self._path}: {error.strerror}") from error
        self.length = mark

    def _look(self) -> None:
        """On the loop: going to a thread would cost more than the two system calls."""
        try:
            wrong = trouble(self._path, self._file.fileno(), self.length)
        except OSError as error:
            raise SinkError(f"{self._path}: {error.strerror}") from error
        if wrong:
            raise SinkLost(f"{self._path}: {wrong}")

    async def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:  # a raw write may be short, as on a disk that is just filling up
            written = await self._file.write(rest)
            self.length += written
            rest = rest[written:]
