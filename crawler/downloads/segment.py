"""One exchange's part of a file: takes bytes as they come and writes them where they belong."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Final, Protocol

from crawler.errors import FileMismatch, SinkError, TooLarge

BUFFER: Final = 1024 * 1024
BUFFERS: Final = 16 * 1024 * 1024
"""Bytes gathered before they are written: of one connection, of all (two of each are filled)."""

HELD: Final = 0.1
"""Seconds that bytes are gathered at most: what a slow line brings is soon safe from a kill."""


class SegmentTarget(Protocol):
    """The file as its segments see it."""

    changed: bool  # the server has another file by now: whatever comes is of no use
    most: int  # bytes that the file may have
    buffer: int  # bytes gathered before they are written

    async def greet(self, segment: Segment, status: int, fields: Fields) -> bool:
        """Whether the body is taken; sets the segment's place. Raises FetchError."""
        ...

    async def write(self, chunks: list[bytes], at: int) -> None:
        """Once it returns, the bytes are with the operating system and counted as there."""
        ...

    def came(self, segment: Segment, number: int) -> float:
        """So many bytes came over the wire; seconds until more may."""
        ...


Fields = tuple[tuple[str, str], ...]


class Segment:
    """Implements `protocols.Receiver`. `at` is where the next byte goes; `end` None: not known.

    `end` may be lowered while it runs: another connection fetches the rest. `asked` is the end that
    the server was asked for. Writing one buffer and gathering the next overlap.
    """

    def __init__(
        self, sheet: SegmentTarget, start: int, end: int | None, *, first: bool = False
    ) -> None:
        self.size = 0
        self.truncated = ""
        self.at = start
        self.end = end
        self.asked = end
        self.first = first  # may start the file over; the others only add to it
        self.source = ""  # as ordered
        self.url = ""  # … and where its redirects led
        self.held: list[bytes] = []
        self._sheet = sheet
        self.gathered = 0  # bytes in `held`
        self._since = 0.0  # when the first of what is held came, on the loop's clock
        self._taking = False
        self._writing: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        """Another connection has the rest; an answer that ends by itself keeps its connection."""
        return self.end is not None and self.at >= self.end and self.end != self.asked

    async def head(self, status: int, fields: Fields) -> None:
        self.size = 0
        self._taking = await self._sheet.greet(self, status, fields)

    async def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if (wait := self._sheet.came(self, len(chunk))) > 0:
            await asyncio.sleep(wait)
        if not self._taking:
            return
        if self._sheet.changed:
            raise FileMismatch("changed while it was fetched")
        if self.end is not None and len(chunk) > self.end - self.at:
            chunk = chunk[: max(0, self.end - self.at)]
        self.at += len(chunk)
        if self.at > self._sheet.most:
            raise TooLarge(f"more than {self._sheet.most} bytes")
        now = asyncio.get_running_loop().time()
        if not self.held:
            self._since = now
        self.held.append(chunk)
        self.gathered += len(chunk)
        if self.gathered >= self._sheet.buffer or now - self._since > HELD:
            await self._flush()

    async def close(self) -> bytes | Path:
        """What is still held stays so: a small file is written in one go with its name."""
        if self._writing is not None:
            await self._settle()
            await self.flush()
        return b""

    async def discard(self) -> None:
        """What came is good, wherever it broke off; a full disk has been told of already."""
        with contextlib.suppress(SinkError):
            await self._settle()
            if self._taking and not self._sheet.changed:
                await self.flush()

    async def flush(self) -> None:
        """Everything that came is written."""
        await self._flush()
        await self._settle()

    async def _flush(self) -> None:
        await self._settle()
        if self.held:
            chunks, count = self.held, self.gathered
            self.held, self.gathered = [], 0
            self._writing = asyncio.create_task(self._sheet.write(chunks, self.at - count))

    async def _settle(self) -> None:
        writing = self._writing
        if writing is not None:
            try:
                await asyncio.shield(writing)
            finally:
                if writing.done():
                    self._writing = None
