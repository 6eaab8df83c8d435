"""What is there of one file: bytes on disk, their spans, and what the book says of them.

The name is claimed, and in the book, before there is anything under it; a span is in the book only
after its bytes are in the file.
"""

from __future__ import annotations

import asyncio

from crawler.downloads import file_names
from crawler.downloads.byte_ranges import ByteRanges
from crawler.downloads.download_context import DownloadContext
from crawler.downloads.download_request import DownloadRequest, FileProgress
from crawler.downloads.temp_file import TempFile

RENEWING = frozenset({"replace", "newer"})
"""Wishes by which a file that is there gives way."""


class PartialFile:
    """One file's local side. `validator` identifies the version that the spans are of, `source` is
    where they came from; `fresh`: nothing in the part is good.
    """

    def __init__(
        self, order: DownloadRequest, progress: FileProgress, desk: DownloadContext
    ) -> None:
        self.order = order
        self.before = progress
        self.name = progress.name
        self.size = progress.size
        self.spans = ByteRanges(progress.spans)
        self.validator = progress.validator
        self.source = progress.source
        self.modified = progress.modified
        self.spoilt = list(progress.spoilt)
        self.coded = ""  # how the bytes are coded: gzip …
        self.part: TempFile | None = None
        self.adopted = False  # what is there was begun by another program
        self._fresh = not progress.spans
        self._desk = desk
        self._opening = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Some of it is written, or about to be."""
        return self.part is not None and self.part.is_open

    @property
    def identified(self) -> bool:
        """Something tells two versions of the file apart."""
        return bool(self.validator or self.order.checksums or self.adopted)

    def close(self) -> None:
        if self.part is not None:
            self.part.close()

    # ── bytes ────────────────────────────────────────────────────────────────────────────────

    async def write(self, chunks: list[bytes], at: int) -> None:
        """Once it returns, the bytes are with the operating system. Raises SinkError."""
        if not self.is_open:
            async with self._opening:
                if not self.is_open:
                    await self._open()
        part = self.part
        assert part is not None
        await self._desk.disk.run(part.write, chunks, at)
        self.spans.add(at, at + sum(map(len, chunks)))

    async def _open(self) -> None:
        part = self.new_part()
        if self._fresh:
            await self._desk.book.save(self.order.url, self.progress(()))
        await self._desk.disk.run(part.open, self.size, fresh=self._fresh)
        self._fresh = False
        self.part = part

    def new_part(self) -> TempFile:
        return TempFile(self._desk.place(self.name), fsync=self._desk.fsync)

    async def save(self) -> None:
        """Tell the book of what is safe on disk. Raises SinkError, FrontierError."""
        part, spans = self.part, self.spans.tuple()
        known = self._desk.book.progress[self.order.url].spans
        if part is not None and part.is_open and spans != known:
            await self._desk.disk.run(part.sync)
            await self._desk.book.save(self.order.url, self.progress(spans))

    def finished(self, size: int, digest: str) -> FileProgress:
        """All bytes are there and right: the name may be given."""
        return FileProgress(
            name=self.name,
            size=size,
            spans=((0, size),) if size else (),
            validator=self.validator,
            source=self.source,
            modified=self.modified,
            spoilt=tuple(self.spoilt),
            finished=True,
            digest=digest,
        )

    def progress(self, spans: tuple[tuple[int, int], ...]) -> FileProgress:
        return FileProgress(
            name=self.name,
            size=self.size,
            spans=() if self.coded else spans,  # another run would not know that they are coded
            validator=self.validator,
            source=self.source,
            modified=self.modified,
            spoilt=tuple(self.spoilt),
        )

    def forget(self) -> None:
        """What the book says is there is not."""
        self.spans = ByteRanges()
        self.adopted = False
        self._fresh = True
        self.size = None
        self.validator = ""
        self.coded = ""

    async def start_over(self) -> None:
        """Nothing that is there is good."""
        self.forget()
        self.close()
        self.part = None
        if self.name:
            await self._desk.book.save(self.order.url, self.progress(()))

    # ── names ────────────────────────────────────────────────────────────────────────────────

    def early_name(self) -> str:
        """The name as far as it is known before there is an answer."""
        name = file_names.tame(file_names.from_url(self.order.url))
        return self.order.name or self._desk.named(self.order.url, name)

    def wished(self, disposition: str, url: str) -> str:
        """What it would be called, were it alone in the world; `url` is where redirects led."""
        if self.order.name is not None:
            return self.order.name
        rules, name = self._desk.rules, None
        if rules.disposition and rules.exists != "skip":
            name = file_names.disposed(disposition)
        name = file_names.tame(name or file_names.chosen(self.order.url, url))
        return self._desk.named(self.order.url, name)

    def adopt(self, name: str, size: int) -> None:
        """The first `size` bytes lie in the part of this name, written by another program. Nothing
        identifies their version: who asks for this says that it is the same file.
        """
        self.name = self._desk.claims.claim(name, self.order.url, replace=True)
        self.spans = ByteRanges(((0, size),))
        self.adopted, self._fresh = True, False

    def claim(self, name: str) -> None:
        replace = self._desk.rules.exists in RENEWING
        self.name = self._desk.claims.claim(name, self.order.url, replace=replace)
