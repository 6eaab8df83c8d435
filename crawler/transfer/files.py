"""The loop's view of downloads: a Fetcher whose page is a file, a Parser that has nothing to read,
and a Sink that hands files over.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from crawler.errors import FetchError
from crawler.model import Extract, Link, Outcome, Page, Visit
from crawler.transfer.desk import Desk
from crawler.transfer.order import File
from crawler.transfer.transfer import Transfer


class FileTrips:
    """Implements `protocols.Fetcher` and `protocols.Parser`.

    `fetch` ends when the file lies under its name, verified; to read it is nobody's business.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def fetch(self, link: Link) -> Page:
        """Raises FetchError: among others Mismatch, when every source has wrong bytes."""
        desk = self._desk
        book = desk.book
        transfer = Transfer(link, book.orders[link.url], book.progress[link.url], desk)
        try:
            return await transfer.run()
        except FetchError:
            transfer.failed()
            raise

    async def read(self, page: Page) -> Extract:
        file = self._desk.results.get(page.link.url)
        return Extract(bytes_body=(file.size or 0) if file else 0)


class Arrivals:
    """Implements `protocols.Sink`: tells of each file that is final, before it is crossed off."""

    name = "arrivals"

    def __init__(self, desk: Desk, tell: Callable[[File], Awaitable[None]]) -> None:
        self._desk = desk
        self._tell = tell

    async def append(self, visits: Sequence[Visit]) -> int:
        for visit in visits:
            await self._tell(self.file(visit))
        return 0

    async def cut(self, mark: int) -> None:
        """Nothing to cut."""

    def file(self, visit: Visit) -> File:
        known = self._desk.results.pop(visit.link.url, None)
        if visit.outcome in {Outcome.DONE, Outcome.UNCHANGED} and known is not None:
            return known
        wire = visit.page.bytes_wire if visit.page is not None else 0
        if known is not None:  # wrong bytes are kept
            return File(visit.link.url, "failed", reason=visit.reason, wire=known.wire,
                        aside=known.aside)  # fmt: skip
        return File(visit.link.url, "failed", reason=visit.reason, wire=wire)
