"""The requests of one file's trip: each in its host's turn, for its part of the file.

The first uses the lease of the loop; every other waits for its host's turn in the frontier.
"""

from __future__ import annotations

import contextlib
from email.utils import formatdate
from typing import Final

import msgspec

from crawler.downloads.download_context import DownloadContext
from crawler.downloads.partial_file import PartialFile
from crawler.downloads.segment import Segment
from crawler.errors import FetchError, ProtocolError
from crawler.policy.autothrottle import lesson_of
from crawler.policy.urls import host_key, origin
from crawler.records import CrawlUrl, Page

ALWAYS: Final = {"Accept": "*/*", "Accept-Encoding": "identity"}
"""Sent with every request of a download: the bytes as they are, or ranges would be of others."""


class SegmentRequests:
    """One transfer's. `link` is the lease of the loop: used, or given back, by the first."""

    def __init__(self, link: CrawlUrl, copy: PartialFile, desk: DownloadContext) -> None:
        self._link = link
        self._copy = copy
        self._desk = desk
        self._leased = True

    async def follow(self, segment: Segment) -> Page:
        """The answer to a segment, from its source or where that leads. Raises FetchError."""
        url, desk = segment.source, self._desk
        for _ in range(desk.max_redirects + 1):
            segment.url = url
            page = await self._exchange(await self._turn(url), segment)
            if page.location is None:
                return page
            target = desk.urls.canonical(page.location)
            if target is None:
                raise ProtocolError("redirect to what is no http address")
            url = target
        raise ProtocolError("too many redirects")

    async def _turn(self, url: str) -> CrawlUrl:
        """A moment at which the host may be asked: the loop's lease at first, later one's own. The
        exchange that it is for gives it back.
        """
        link, frontier = self._link, self._desk.frontier
        leased, self._leased = self._leased, False
        if leased and host_key(url) == link.host:
            return link if url == link.url else msgspec.structs.replace(link, url=url)
        if leased:  # a mirror's: the lease is another host's
            frontier.release(link, asked=False)
        hop = self._desk.hop(url, link)
        await frontier.turn(hop)
        return hop

    async def _exchange(self, hop: CrawlUrl, segment: Segment) -> Page:
        desk, lesson = self._desk, None
        try:
            headers = self._headers(hop.url, segment)
            page = await desk.fetcher.fetch(hop, headers=headers, into=segment)
            lesson = lesson_of(page)
        except FetchError as error:
            lesson = lesson_of(None, error)
            raise
        else:
            return page
        finally:
            desk.frontier.release(hop, lesson=lesson)

    def _headers(self, url: str, segment: Segment) -> dict[str, str]:
        copy = self._copy
        headers: dict[str, str] = {}
        if copy.order.headers and origin(url) == origin(copy.order.url):
            headers |= copy.order.headers
        part = segment.at > 0 or (segment.end is not None and segment.end != copy.size)
        if part or not segment.first:
            last = "" if segment.end is None else segment.end - 1
            headers["Range"] = f"bytes={segment.at}-{last}"
            if copy.validator and segment.source == copy.source:
                headers["If-Range"] = copy.validator
        elif self._desk.rules.exists == "newer":
            with contextlib.suppress(OSError):
                path = self._desk.folder / (copy.before.name or copy.early_name())
                headers["If-Modified-Since"] = formatdate(path.stat().st_mtime, usegmt=True)
        return headers
