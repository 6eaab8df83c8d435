"""The local state of one file: its bytes on disk, their spans, and the saved progress.

The name is claimed, and in the progress store, before any byte is written under it; a span is in
the progress store only after its bytes are in the file.
"""

from __future__ import annotations

import asyncio

from crawler.downloads import file_names
from crawler.downloads.byte_ranges import ByteRanges
from crawler.downloads.download_context import DownloadContext
from crawler.downloads.download_request import DownloadRequest, FileProgress
from crawler.downloads.temp_file import TempFile

REPLACE_MODES = frozenset({"replace", "newer"})
"""Values of `download.exists` with which an existing file is replaced."""


class PartialFile:
    """The local state of one file. `validator` identifies the version that the spans belong to,
    `source` is the URL that they were fetched from, `saved` the progress of an earlier run.
    """

    def __init__(
        self, request: DownloadRequest, progress: FileProgress, context: DownloadContext
    ) -> None:
        self.request = request
        self.saved = progress
        self.name = progress.name
        self.size = progress.size
        self.spans = ByteRanges(progress.spans)
        self.validator = progress.validator
        self.source = progress.source
        self.modified = progress.modified
        self.spoilt = list(progress.spoilt)
        self.coding = ""  # content coding of the bytes on disk: gzip …
        self.temp: TempFile | None = None
        self.adopted = False  # the bytes on disk are from another program
        self._fresh = not progress.spans
        self._context = context
        self._opening = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the temporary file is open for writing."""
        return self.temp is not None and self.temp.is_open

    @property
    def has_identity(self) -> bool:
        """Whether two versions of the file can be told apart, so that its bytes may be
        continued.
        """
        return bool(self.validator or self.request.checksums or self.adopted)

    def sources(self) -> list[str]:
        """The URL and its mirrors without those that served wrong bytes; the one that the bytes on
        disk came from is the first.
        """
        every = [self.request.url, *self.request.mirrors]
        sources = [url for url in every if url not in self.spoilt] or [self.request.url]
        if self.source in sources:
            sources.remove(self.source)
            sources.insert(0, self.source)
        return sources

    def close(self) -> None:
        """Close the temporary file, if it is open."""
        if self.temp is not None:
            self.temp.close()

    # ── bytes ────────────────────────────────────────────────────────────────────────────────

    async def write(self, chunks: list[bytes], offset: int) -> None:
        """Write at `offset`; once it returns, the operating system has the bytes. Raises
        SinkError.
        """
        if not self.is_open:
            async with self._opening:
                if not self.is_open:
                    await self._open()
        temp = self.temp
        assert temp is not None
        await self._context.disk.run(temp.write, chunks, offset)
        self.spans.add(offset, offset + sum(map(len, chunks)))

    async def _open(self) -> None:
        temp = self.new_temp_file()
        if self._fresh:
            await self._context.store.save(self.request.url, self.progress(()))
        await self._context.disk.run(temp.open, self.size, fresh=self._fresh)
        self._fresh = False
        self.temp = temp

    def new_temp_file(self) -> TempFile:
        """A temporary file for the claimed name, not opened."""
        return TempFile(self._context.path_of(self.name), fsync=self._context.fsync)

    async def save(self) -> None:
        """Save the spans that are safe on disk. Raises SinkError, FrontierError."""
        temp, spans = self.temp, self.spans.as_tuple()
        known = self._context.store.progress[self.request.url].spans
        if temp is not None and temp.is_open and spans != known:
            await self._context.disk.run(temp.sync)
            await self._context.store.save(self.request.url, self.progress(spans))

    def finished(self, size: int, digest: str) -> FileProgress:
        """The progress of a file whose bytes are complete and verified: it may be renamed."""
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
        """The progress to save, with these spans."""
        return FileProgress(
            name=self.name,
            size=self.size,
            spans=() if self.coding else spans,  # the coding is not saved
            validator=self.validator,
            source=self.source,
            modified=self.modified,
            spoilt=tuple(self.spoilt),
        )

    def reset(self) -> None:
        """Forget everything known of the bytes on disk."""
        self.spans = ByteRanges()
        self.adopted = False
        self._fresh = True
        self.size = None
        self.validator = ""
        self.coding = ""

    async def restart(self) -> None:
        """Discard the bytes on disk and start from the beginning."""
        self.reset()
        self.close()
        self.temp = None
        if self.name:
            await self._context.store.save(self.request.url, self.progress(()))

    # ── names ────────────────────────────────────────────────────────────────────────────────

    def provisional_name(self) -> str:
        """The name as far as it is known before there is a response."""
        name = file_names.sanitize(file_names.from_url(self.request.url))
        return self.request.name or self._context.apply_template(self.request.url, name)

    def preferred_name(self, disposition: str, url: str) -> str:
        """The name according to request, Content-Disposition and URL; `url` is the URL after
        redirects. It may be taken.
        """
        if self.request.name is not None:
            return self.request.name
        settings, name = self._context.settings, None
        if settings.disposition and settings.exists != "skip":
            name = file_names.from_content_disposition(disposition)
        name = file_names.sanitize(name or file_names.from_urls(self.request.url, url))
        return self._context.apply_template(self.request.url, name)

    def adopt(self, name: str, size: int) -> None:
        """Continue the first `size` bytes that another program wrote under this name. Nothing
        identifies their version; the user asserts that it is the same file.
        """
        self.name = self._context.names.claim(name, self.request.url, replace=True)
        self.spans = ByteRanges(((0, size),))
        self.adopted, self._fresh = True, False

    def claim(self, name: str) -> None:
        """Claim the name, or a numbered one that is free."""
        replace = self._context.settings.exists in REPLACE_MODES
        self.name = self._context.names.claim(name, self.request.url, replace=replace)
