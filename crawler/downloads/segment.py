"""One request's part of a file: buffers received bytes and writes them at their offset."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from crawler.downloads.byte_ranges import ByteRanges
from crawler.errors import FileMismatch, SinkError, TooLarge

BUFFER_MAX_BYTES: Final = 1024 * 1024
BUFFERS_TOTAL_BYTES: Final = 16 * 1024 * 1024
"""Bytes buffered before they are written: for one connection, and for all (two buffers each)."""

BUFFER_MAX_S: Final = 0.1
"""Seconds that bytes are buffered at most, so that a slow connection loses little in a kill."""


class SegmentTarget(Protocol):
    """The file that segments write to."""

    changed: bool  # the server has another version: discard what comes
    max_bytes: int  # maximum size of the file
    buffer_bytes: int  # bytes buffered before a write

    async def on_headers(self, segment: Segment, status: int, fields: Fields) -> bool:
        """Whether to take the body; sets the segment's position. Raises FetchError."""
        ...

    async def write(self, chunks: list[bytes], offset: int) -> None:
        """Write at `offset`; once it returns, the operating system has the bytes and they are
        counted.
        """
        ...

    def on_bytes(self, segment: Segment, number: int) -> float:
        """Count received bytes; returns the seconds to wait before reading more."""
        ...


Fields = tuple[tuple[str, str], ...]


class Segment:
    """Implements `interfaces.Receiver`. `position` is the offset of the next byte; `end`
    (exclusive) None: unknown.

    `end` may be lowered meanwhile: another connection fetches the rest. `requested_end` is the end
    in the Range header. One buffer is written while the next is filled.
    """

    def __init__(
        self, target: SegmentTarget, start: int, end: int | None, *, primary: bool = False
    ) -> None:
        self.size = 0
        self.truncated = ""
        self.position = start
        self.end = end
        self.requested_end = end
        self.primary = primary  # may restart the file; other segments only add to it
        self.source = ""  # URL of the request or a mirror
        self.url = ""  # URL after redirects
        self.buffered: list[bytes] = []
        self._target = target
        self.buffered_bytes = 0  # bytes in `buffered`
        self._buffered_since = 0.0  # arrival of the first buffered byte, loop clock
        self._accepting = False
        self._writing: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        """The rest belongs to another connection. False when the response ends there by itself: its
        connection is reused.
        """
        return self.end is not None and self.position >= self.end and self.end != self.requested_end

    async def head(self, status: int, fields: Fields) -> None:
        """Check the response's headers with the target."""
        self.size = 0
        self._accepting = await self._target.on_headers(self, status, fields)

    async def add(self, chunk: bytes) -> None:
        """Buffer a chunk; starts a write when the buffer is full or old. Raises FileMismatch,
        TooLarge.
        """
        self.size += len(chunk)
        if (wait := self._target.on_bytes(self, len(chunk))) > 0:
            await asyncio.sleep(wait)
        if not self._accepting:
            return
        if self._target.changed:
            raise FileMismatch("changed during the download")
        if self.end is not None and len(chunk) > self.end - self.position:
            chunk = chunk[: max(0, self.end - self.position)]
        self.position += len(chunk)
        if self.position > self._target.max_bytes:
            raise TooLarge(f"more than {self._target.max_bytes} bytes")
        now = asyncio.get_running_loop().time()
        if not self.buffered:
            self._buffered_since = now
        self.buffered.append(chunk)
        self.buffered_bytes += len(chunk)
        if (
            self.buffered_bytes >= self._target.buffer_bytes
            or now - self._buffered_since > BUFFER_MAX_S
        ):
            await self._start_write()

    async def close(self) -> bytes | Path:
        """Finish a pending write. A small file stays buffered: it is written and renamed in one
        step.
        """
        if self._writing is not None:
            await self._finish_write()
            await self.flush()
        return b""

    async def discard(self) -> None:
        """Write what came before the error: it is good. A full disk was reported already."""
        with contextlib.suppress(SinkError):
            await self._finish_write()
            if self._accepting and not self._target.changed:
                await self.flush()

    async def flush(self) -> None:
        """Write all buffered bytes."""
        await self._start_write()
        await self._finish_write()

    async def _start_write(self) -> None:
        await self._finish_write()
        if self.buffered:
            chunks, count = self.buffered, self.buffered_bytes
            self.buffered, self.buffered_bytes = [], 0
            self._writing = asyncio.create_task(self._target.write(chunks, self.position - count))

    async def _finish_write(self) -> None:
        writing = self._writing
        if writing is not None:
            try:
                await asyncio.shield(writing)
            finally:
                if writing.done():
                    self._writing = None


def next_gap(
    spans: ByteRanges, size: int | None, segments: Sequence[Segment]
) -> tuple[int, int | None] | None:
    """The first span of a file that is missing and that no segment fetches; None: there is none.

    `size` None: unknown; then the gap has no end.
    """
    if size is None:
        return spans.total, None
    if spans.empty and not segments:
        return (0, size) if size else None
    covered = ByteRanges(spans.as_tuple())
    for segment in segments:
        end = size if segment.end is None else segment.end
        covered.add(segment.position - segment.buffered_bytes, end)
    gaps = covered.gaps(size)
    return gaps[0] if gaps else None
