"""Fetch a site's robots.txt and follow its redirects (RFC 9309 §2.3.1.2)."""

from __future__ import annotations

from itertools import count
from typing import Final

import msgspec

from crawler.errors import FetchError, ParseError
from crawler.interfaces import Fetcher, Frontier, Parser
from crawler.policy.robots_txt import UNREACHABLE, is_unreachable
from crawler.policy.urls import Urls, host_key
from crawler.records import CrawlUrl, Page, WarcRecord

MAX_HOPS: Final = 5
"""Redirects followed for a robots.txt (RFC 9309 §2.3.1.2); more means "unavailable": allowed."""


class RobotsResponse(msgspec.Struct, frozen=True):
    """What came of asking for a robots.txt, redirects followed.

    `status` None: unreachable, `error` says why. `hops` are the URLs asked, the answer's last.
    `trouble` names in a word why the answer is not a file to read, nothing when it is. `kept` is
    the answer as the archive writes it, None: not made yet. `trail` are the redirects before it.
    Files in which bodies lie are the caller's.
    """

    status: int | None
    body: bytes
    hops: tuple[str, ...]
    page: Page | None = None
    trouble: str = ""
    error: FetchError | None = None
    kept: WarcRecord | None = None
    trail: tuple[Page, ...] = ()

    @property
    def refusal(self) -> str:
        """The reason that the origin's links are given; empty: this is an answer to go by.

        Where the host itself could not be reached it is that cause, for its pages would fail with
        it too. A host that answers, be it with a redirect to one that does not, has no robots.txt
        to go by: that is another thing, and another word.
        """
        if not is_unreachable(self.status):
            return ""
        if self.error is not None and self.error.before_asking and len(self.hops) == 1:
            return self.trouble
        return f"{UNREACHABLE}:{self.trouble}"


class RobotsFetcher:
    """Fetches a robots.txt: at most five redirects, also to other hosts, each in its host's turn.

    `turn` waits until a host may be asked; `done` is called after each exchange.
    """

    def __init__(self, fetcher: Fetcher, parser: Parser, urls: Urls) -> None:
        self._fetcher = fetcher
        self._parser = parser
        self._urls = urls
        self._number = count(1)

    async def ask(self, link: CrawlUrl, frontier: Frontier | None = None) -> RobotsResponse:
        """With a `frontier`, `link` is on lease there: it is released after the first exchange, and
        a redirect waits for its own host's turn.
        """
        hop, hops = link, [link.url]
        trail: list[Page] = []
        while True:
            try:
                page = await self._fetcher.fetch(hop)
            except FetchError as error:
                return RobotsResponse(
                    None,
                    b"",
                    tuple(hops),
                    error.take_page(),
                    trouble=error.cause,
                    error=error,
                    trail=tuple(trail),
                )
            finally:
                if frontier is not None:
                    frontier.release(hop)
            target = self._urls.canonical(page.location) if page.location else None
            if target is None:
                break
            if len(hops) > MAX_HOPS:
                trouble = "too-many-redirects"
                return RobotsResponse(404, b"", tuple(hops), page, trouble, trail=tuple(trail))
            hops.append(target)
            trail.append(page)
            # A number below nothing: a lease of ours that no link of the queue has.
            hop = CrawlUrl(target, host_key(target), kind=link.kind, id=-next(self._number))
            if frontier is not None:
                await frontier.turn(hop)
        answer = RobotsResponse(page.status, b"", tuple(hops), page, trail=tuple(trail))
        if page.status >= 300:
            return msgspec.structs.replace(answer, trouble=f"status:{page.status}")
        try:
            extract = await self._parser.read(page)
        except ParseError as error:
            return msgspec.structs.replace(answer, status=None, trouble=f"parse:{error}")
        body = extract.body if isinstance(extract.body, bytes) else b""
        return msgspec.structs.replace(answer, body=body, kept=extract.kept)
