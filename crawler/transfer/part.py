"""The unfinished file: written where the bytes belong, under a name of its own, renamed when whole.

All functions block and run on a thread of their own; errors are SinkErrors: what was written stays.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from crawler.errors import SinkError

SUFFIX: Final = ".part"

VECTORS: Final = 512
"""Buffers in one write; the system's limit (IOV_MAX) is 1024."""

PREALLOCATE: Final = 1024 * 1024
"""Bytes from which room is reserved before the first byte: a full disk says so at once."""


class Part:
    """`path` is the finished name; the bytes lie beside it until `finish`."""

    def __init__(self, path: Path, *, fsync: bool) -> None:
        self.path = path
        self.part = Path(f"{path}{SUFFIX}")
        self._fsync = fsync
        self._fd = -1

    @property
    def is_open(self) -> bool:
        return self._fd >= 0

    def open(self, size: int | None, *, fresh: bool) -> None:
        """For writing; `fresh`: nothing in it is good. Raises SinkError."""
        with self._mapped():
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | (os.O_TRUNC if fresh else 0)
            try:
                self._fd = os.open(self.part, flags, 0o644)
            except FileNotFoundError:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._fd = os.open(self.part, flags, 0o644)
            if size is not None and size >= PREALLOCATE:
                try:
                    os.posix_fallocate(self._fd, 0, size)
                except OSError as error:
                    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                        raise  # the rest: a file system that cannot

    def empty(self) -> None:
        """Nothing in it is good any more."""
        with self._mapped():
            os.ftruncate(self._fd, 0)

    def write(self, chunks: Sequence[bytes], at: int) -> None:
        """Raises SinkError, disk full among others."""
        with self._mapped():
            buffers = [memoryview(chunk) for chunk in chunks]
            while buffers:
                written = os.pwritev(self._fd, buffers[:VECTORS], at)
                at += written
                while buffers and written >= len(buffers[0]):
                    written -= len(buffers.pop(0))
                if written:
                    buffers[0] = buffers[0][written:]

    def sync(self) -> None:
        """What is written survives a power cut, where that was asked for."""
        if self._fsync and self._fd >= 0:
            with self._mapped():
                os.fsync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def seal(self, size: int | None, modified: float | None) -> None:
        """All of it is written: `size` bytes, None: no room was reserved. Closed; with fsync it
        survives a power cut. Raises SinkError.
        """
        with self._mapped():
            if size is not None:
                os.ftruncate(self._fd, size)
            if modified is not None:
                with contextlib.suppress(OSError, OverflowError):
                    os.utime(self._fd, (modified, modified))
            if self._fsync:
                os.fsync(self._fd)
            self.close()

    def finish(self, *, replace: bool) -> None:
        """The bytes are whole, right and sealed: give them their name. Raises SinkError,
        FileExistsError.

        Without `replace` a file that has come to be there in the meantime is not touched.
        """
        with self._mapped():
            if replace:
                self.part.replace(self.path)
            else:
                self._link()

    def _link(self) -> None:
        """Rename without replacing: a hard link cannot overwrite (rename can)."""
        try:
            os.link(self.part, self.path)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}:
                raise
            if self.path.exists():
                raise FileExistsError(errno.EEXIST, "exists", str(self.path)) from error
            self.part.rename(self.path)
        else:
            self.part.unlink()

    def put_aside(self) -> Path:
        """Wrong bytes are kept under a name that nobody takes for the file. Raises SinkError."""
        with self._mapped():
            self.close()
            number = 0
            while True:
                aside = self.path.with_name(f"{self.path.name}.wrong{f'.{number}' * bool(number)}")
                if not aside.exists():
                    self.part.replace(aside)
                    return aside
                number += 1

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except FileExistsError:
            raise
        except OSError as error:
            raise SinkError(f"{error.filename or self.part}: {error.strerror}") from error
