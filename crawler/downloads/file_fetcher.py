"""The loop's view of downloads: a Fetcher whose page is a file, a Parser that has nothing to read,
and a Sink that hands files over.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from crawler.downloads.download_context import DownloadContext
from crawler.downloads.download_request import DownloadResult
from crawler.downloads.file_download import FileDownload
from crawler.errors import FetchError
from crawler.records import CrawlResult, CrawlUrl, Outcome, Page, ParsedPage


class DownloadFetcher:
    """Implements `protocols.Fetcher` and `protocols.Parser`.

    `fetch` ends when the file lies under its name, verified; to read it is nobody's business.
    """

    def __init__(self, desk: DownloadContext) -> None:
        self._desk = desk

    async def fetch(self, link: CrawlUrl) -> Page:
        """Raises FetchError: among others FileMismatch, when every source has wrong bytes."""
        desk = self._desk
        book = desk.book
        transfer = FileDownload(link, book.orders[link.url], book.progress[link.url], desk)
        try:
            return await transfer.run()
        except FetchError:
            transfer.failed()
            raise

    async def read(self, page: Page) -> ParsedPage:
        file = self._desk.results.get(page.link.url)
        return ParsedPage(bytes_body=(file.size or 0) if file else 0)


class DownloadParser:
    """Implements `protocols.Sink`: tells of each file that is final, before it is crossed off."""

    name = "arrivals"

    def __init__(
        self, desk: DownloadContext, tell: Callable[[DownloadResult], Awaitable[None]]
    ) -> None:
        self._desk = desk
        self._tell = tell

    async def append(self, visits: Sequence[CrawlResult]) -> int:
        for visit in visits:
            await self._tell(self.file(visit))
        return 0

    async def cut(self, mark: int) -> None:
        """Nothing to cut."""

    def file(self, visit: CrawlResult) -> DownloadResult:
        known = self._desk.results.pop(visit.link.url, None)
        if visit.outcome in {Outcome.DONE, Outcome.UNCHANGED} and known is not None:
            return known
        wire = visit.page.bytes_wire if visit.page is not None else 0
        if known is not None:  # wrong bytes are kept
            return DownloadResult(visit.link.url, "failed", reason=visit.reason, wire=known.wire,
                        aside=known.aside)  # fmt: skip
        return DownloadResult(visit.link.url, "failed", reason=visit.reason, wire=wire)
