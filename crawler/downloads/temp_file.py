"""The unfinished file: written under a temporary name and renamed when complete.

All functions block and run in a thread; errors are SinkError, and what was written is kept. Each of
ten thousand small files passes through here in a few tens of microseconds, so paths are plain
strings.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from crawler.downloads.rename import rename_new
from crawler.errors import SinkError

TEMP_SUFFIX: Final = ".part"

MAX_WRITE_BUFFERS: Final = 512
"""Buffers in one write; the system's limit (IOV_MAX) is 1024."""

PREALLOCATE_MIN_BYTES: Final = 1024 * 1024
"""From this size on, disk space is reserved before the first byte, so that a full disk fails at
once."""


class TempFile:
    """`final_path` is the finished file; the bytes are in `temp_path` beside it until `publish`."""

    def __init__(self, final_path: str, *, fsync: bool) -> None:
        self.final_path = final_path
        self.temp_path = final_path + TEMP_SUFFIX
        self._fsync = fsync
        self._fd = -1

    @property
    def folder(self) -> str:
        """The folder of both paths."""
        return self.final_path.rpartition("/")[0] or "/"

    @property
    def is_open(self) -> bool:
        """Whether it is open for writing."""
        return self._fd >= 0

    def open(self, size: int | None, *, fresh: bool) -> None:
        """Open for writing, with `size` bytes reserved (None: unknown); `fresh` truncates it.
        Raises SinkError.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | (os.O_TRUNC if fresh else 0)
        try:
            try:
                self._fd = os.open(self.temp_path, flags, 0o644)
            except FileNotFoundError:
                Path(self.folder).mkdir(parents=True, exist_ok=True)
                self._fd = os.open(self.temp_path, flags, 0o644)
            if size is not None and size >= PREALLOCATE_MIN_BYTES:
                try:
                    os.posix_fallocate(self._fd, 0, size)
                except OSError as error:
                    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                        raise  # other errors: preallocation is not supported
        except OSError as error:
            raise self._sink_error(error) from error

    def write(self, chunks: Sequence[bytes], offset: int) -> None:
        """Write at `offset`. Raises SinkError, for example for a full disk."""
        buffers: list[bytes | memoryview] = list(chunks)
        try:
            while buffers:
                written = os.pwritev(self._fd, buffers[:MAX_WRITE_BUFFERS], offset)
                offset += written
                while buffers and written >= len(buffers[0]):
                    written -= len(buffers.pop(0))
                if written:
                    buffers[0] = memoryview(buffers[0])[written:]
        except OSError as error:
            raise self._sink_error(error) from error

    def sync(self) -> None:
        """fsync, if the file is open and fsync is on. Raises SinkError."""
        if self._fsync and self._fd >= 0:
            try:
                os.fsync(self._fd)
            except OSError as error:
                raise self._sink_error(error) from error

    def close(self) -> None:
        """Close it, if it is open; nothing is renamed."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def complete(self, size: int | None, modified: float | None) -> None:
        """All bytes are written: truncate to `size` (None: no space was reserved), set the
        modification time (Unix time), fsync if on, close. Raises SinkError.
        """
        try:
            if size is not None:
                os.ftruncate(self._fd, size)
            if modified is not None:
                with contextlib.suppress(OSError, OverflowError):
                    os.utime(self._fd, (modified, modified))
            if self._fsync:
                os.fsync(self._fd)
            self.close()
        except OSError as error:
            raise self._sink_error(error) from error

    def publish(self, *, replace: bool) -> None:
        """Rename the complete, verified file to `final_path`. Raises SinkError, FileExistsError.

        Without `replace`, a file that was created there meanwhile is not touched.
        """
        try:
            if replace:
                Path(self.temp_path).replace(self.final_path)
            else:
                rename_new(self.temp_path, self.final_path)
        except FileExistsError:
            raise
        except OSError as error:
            raise self._sink_error(error) from error

    def set_aside(self) -> Path:
        """Rename wrong bytes to `NAME.wrong`, or the next free number; returns the path. Raises
        SinkError.
        """
        self.close()
        number = 0
        while True:
            wrong_path = f"{self.final_path}.wrong{f'.{number}' * bool(number)}"
            if not os.path.lexists(wrong_path):
                break
            number += 1
        try:
            Path(self.temp_path).replace(wrong_path)
        except OSError as error:
            raise self._sink_error(error) from error
        return Path(wrong_path)

    def _sink_error(self, error: OSError) -> SinkError:
        return SinkError(f"{error.filename or self.temp_path}: {error.strerror}")
