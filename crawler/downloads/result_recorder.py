"""The outcome of a file download: the result for the sink and the page for the engine."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from crawler.downloads.download_context import DownloadContext
from crawler.downloads.download_request import DownloadResult
from crawler.downloads.finalizer import size_of
from crawler.downloads.partial_file import PartialFile
from crawler.downloads.response_validator import ResponseValidator
from crawler.errors import ProtocolError
from crawler.records import CrawlUrl, Page, Timings


class ResultRecorder:
    """Records the result of one file; `link` is the lease of the engine."""

    def __init__(
        self,
        link: CrawlUrl,
        partial: PartialFile,
        target: ResponseValidator,
        context: DownloadContext,
    ) -> None:
        self._link = link
        self._partial = partial
        self._target = target
        self._context = context

    def record(self, file: DownloadResult, page: Page | None = None) -> Page:
        """Store the result for the sink; returns the page for the engine."""
        self._context.results[file.url] = file
        return self.page(304 if file.status == "here" else 200, page)

    def record_failure(self, aside: Path | None) -> None:
        """Store where wrong bytes were kept, for the report of the failure; None: nowhere."""
        if aside is not None:
            url = self._partial.request.url
            self._context.results[url] = DownloadResult(
                url, "failed", wire=self._target.wire, aside=aside
            )

    def response_without_file(self, page: Page) -> Page:
        """The page for a response without the file: 304 (unchanged) or an error status."""
        if page.status != 304:
            return self.page(page.status, page)
        if self._context.settings.exists != "newer":
            raise ProtocolError("304 to a request without a condition")
        partial = self._partial
        path = self._context.folder / (partial.saved.name or partial.provisional_name())
        size = max(0, size_of(path))
        file = DownloadResult(
            partial.request.url, "here", path, size, "", "unchanged", self._target.wire
        )
        return self.record(file, page)

    def page(self, status: int, page: Page | None = None) -> Page:
        """One page for the whole download, from its last response if there was one."""
        if page is None:
            return Page(self._link, status, (), b"", time.time(), Timings(0.0), self._target.wire)
        return msgspec.structs.replace(
            page,
            link=self._link,
            status=status,
            body=b"",
            bytes_wire=self._target.wire,
            location=None,
        )
