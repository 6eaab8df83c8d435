"""Adapters between the engine and downloads: a Fetcher and Parser, and a Sink for the results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from crawler.downloads.download_context import DownloadContext
from crawler.downloads.download_request import DownloadResult
from crawler.downloads.file_download import FileDownload
from crawler.errors import FetchError
from crawler.records import CrawlResult, CrawlUrl, Outcome, Page, ParsedPage


class DownloadFetcher:
    """Implements `interfaces.Fetcher` and `interfaces.Parser`.

    `fetch` returns when the file is under its final name, verified; nothing is parsed.
    """

    def __init__(self, context: DownloadContext) -> None:
        self._context = context

    async def fetch(self, link: CrawlUrl) -> Page:
        """Raises FetchError, for example FileMismatch when every source has wrong bytes."""
        context = self._context
        store = context.store
        download = FileDownload(link, store.requests[link.url], store.progress[link.url], context)
        try:
            return await download.run()
        except FetchError:
            download.record_failure()
            raise

    async def read(self, page: Page) -> ParsedPage:
        """The size of the file, for the statistics."""
        file = self._context.results.get(page.link.url)
        return ParsedPage(bytes_body=(file.size or 0) if file else 0)


class DownloadParser:
    """Implements `interfaces.Sink`: reports each final result before the frontier settles its
    link.
    """

    name = "arrivals"

    def __init__(
        self, context: DownloadContext, report: Callable[[DownloadResult], Awaitable[None]]
    ) -> None:
        self._context = context
        self._report = report

    async def append(self, visits: Sequence[CrawlResult]) -> int:
        """Report the result of each link."""
        for visit in visits:
            await self._report(self._result(visit))
        return 0

    async def cut(self, mark: int) -> None:
        """Nothing to truncate."""

    def _result(self, visit: CrawlResult) -> DownloadResult:
        """The result for a link that is done or has failed."""
        stored = self._context.results.pop(visit.link.url, None)
        if visit.outcome in {Outcome.DONE, Outcome.UNCHANGED} and stored is not None:
            return stored
        wire = visit.page.bytes_wire if visit.page is not None else 0
        if stored is not None:  # wrong bytes were kept
            return DownloadResult(visit.link.url, "failed", reason=visit.reason, wire=stored.wire,
                        aside=stored.aside)  # fmt: skip
        return DownloadResult(visit.link.url, "failed", reason=visit.reason, wire=wire)
