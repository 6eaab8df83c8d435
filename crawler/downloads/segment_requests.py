"""The requests for the segments of one file, each in a slot of its host.

The first request uses the lease of the engine; every other acquires a slot from the frontier.
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

DEFAULT_HEADERS: Final = {"Accept": "*/*", "Accept-Encoding": "identity"}
"""Sent with every request of a download: without content coding, because ranges refer to the
encoded bytes."""


class SegmentRequests:
    """The requests of one file. `link` is the lease of the engine; the first request uses or
    releases it.
    """

    def __init__(self, link: CrawlUrl, partial: PartialFile, context: DownloadContext) -> None:
        self._link = link
        self._partial = partial
        self._context = context
        self._leased = True

    async def fetch(self, segment: Segment) -> Page:
        """Fetch a segment from its source, following redirects. Raises FetchError."""
        url, context = segment.source, self._context
        for _ in range(context.max_redirects + 1):
            segment.url = url
            page = await self._exchange(await self._acquire_slot(url), segment)
            if page.location is None:
                return page
            target = context.urls.canonical(page.location)
            if target is None:
                raise ProtocolError("redirect to a URL that is not http or https")
            url = target
        raise ProtocolError("too many redirects")

    async def _acquire_slot(self, url: str) -> CrawlUrl:
        """Wait for a slot of the URL's host: the engine's lease at first, then a slot out of queue.
        `_exchange` releases it.
        """
        link, frontier = self._link, self._context.frontier
        leased, self._leased = self._leased, False
        if leased and host_key(url) == link.host:
            return link if url == link.url else msgspec.structs.replace(link, url=url)
        if leased:  # a mirror: the lease is for another host
            frontier.release(link, asked=False)
        hop = self._context.unqueued_link(url, link)
        await frontier.turn(hop)
        return hop

    async def _exchange(self, hop: CrawlUrl, segment: Segment) -> Page:
        context, lesson = self._context, None
        try:
            headers = self._headers(hop.url, segment)
            page = await context.fetcher.fetch(hop, headers=headers, into=segment)
            lesson = lesson_of(page)
        except FetchError as error:
            lesson = lesson_of(None, error)
            raise
        else:
            return page
        finally:
            context.frontier.release(hop, lesson=lesson)

    def _headers(self, url: str, segment: Segment) -> dict[str, str]:
        partial = self._partial
        headers: dict[str, str] = {}
        if partial.request.headers and origin(url) == origin(partial.request.url):
            headers |= partial.request.headers
        is_part = segment.position > 0 or (segment.end is not None and segment.end != partial.size)
        if is_part or not segment.primary:
            last = "" if segment.end is None else segment.end - 1
            headers["Range"] = f"bytes={segment.position}-{last}"
            if partial.validator and segment.source == partial.source:
                headers["If-Range"] = partial.validator
        elif self._context.settings.exists == "newer":
            with contextlib.suppress(OSError):
                path = self._context.folder / (partial.saved.name or partial.provisional_name())
                headers["If-Modified-Since"] = formatdate(path.stat().st_mtime, usegmt=True)
        return headers
