"""The unfinished file: written where the bytes belong, under a name of its own, renamed when whole.

All functions block and run on a thread of their own; errors are SinkErrors: what was written stays.
Of ten thousand small files each passes through here in a few tens of microseconds, so places are
plain strings.
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

SUFFIX: Final = ".part"

VECTORS: Final = 512
"""Buffers in one write; the system's limit (IOV_MAX) is 1024."""

PREALLOCATE: Final = 1024 * 1024
"""Bytes from which room is reserved before the first byte: a full disk says so at once."""


class TempFile:
    """`place` is the finished name; the bytes lie beside it, in `part`, until `finish`."""

    def __init__(self, place: str, *, fsync: bool) -> None:
        self.place = place
        self.part = place + SUFFIX
        self._fsync = fsync
        self._fd = -1

    @property
    def folder(self) -> str:
        """Where both names are."""
        return self.place.rpartition("/")[0] or "/"

    @property
    def is_open(self) -> bool:
        return self._fd >= 0

    def open(self, size: int | None, *, fresh: bool) -> None:
        """For writing; `fresh`: nothing in it is good. Raises SinkError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | (os.O_TRUNC if fresh else 0)
        try:
            try:
                self._fd = os.open(self.part, flags, 0o644)
            except FileNotFoundError:
                Path(self.folder).mkdir(parents=True, exist_ok=True)
                self._fd = os.open(self.part, flags, 0o644)
            if size is not None and size >= PREALLOCATE:
                try:
                    os.posix_fallocate(self._fd, 0, size)
                except OSError as error:
                    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                        raise  # the rest: a file system that cannot
        except OSError as error:
            raise self._told(error) from error

    def write(self, chunks: Sequence[bytes], at: int) -> None:
        """Raises SinkError, disk full among others."""
        buffers: list[bytes | memoryview] = list(chunks)
        try:
            while buffers:
                written = os.pwritev(self._fd, buffers[:VECTORS], at)
                at += written
                while buffers and written >= len(buffers[0]):
                    written -= len(buffers.pop(0))
                if written:
                    buffers[0] = memoryview(buffers[0])[written:]
        except OSError as error:
            raise self._told(error) from error

    def sync(self) -> None:
        """What is written survives a power cut, where that was asked for."""
        if self._fsync and self._fd >= 0:
            try:
                os.fsync(self._fd)
            except OSError as error:
                raise self._told(error) from error

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def seal(self, size: int | None, modified: float | None) -> None:
        """All of it is written: `size` bytes, None: no room was reserved. Closed; with fsync it
        survives a power cut. Raises SinkError.
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
            raise self._told(error) from error

    def finish(self, *, replace: bool) -> None:
        """The bytes are whole, right and sealed: give them their name. Raises SinkError,
        FileExistsError.

        Without `replace` a file that has come to be there in the meantime is not touched.
        """
        try:
            if replace:
                Path(self.part).replace(self.place)
            else:
                rename_new(self.part, self.place)
        except FileExistsError:
            raise
        except OSError as error:
            raise self._told(error) from error

    def put_aside(self) -> Path:
        """Wrong bytes are kept under a name that nobody takes for the file. Raises SinkError."""
        self.close()
        number = 0
        while True:
            aside = f"{self.place}.wrong{f'.{number}' * bool(number)}"
            if not os.path.lexists(aside):
                break
            number += 1
        try:
            Path(self.part).replace(aside)
        except OSError as error:
            raise self._told(error) from error
        return Path(aside)

    def _told(self, error: OSError) -> SinkError:
        return SinkError(f"{error.filename or self.part}: {error.strerror}")
