"""What the engine needs of the other packages, as protocols. Each has a fake of under 50 lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from crawler.policy.autothrottle import HostPace, ResponseSample
from crawler.policy.waits import Wait
from crawler.records import Counts, CrawlResult, CrawlUrl, Outlink, Page, ParsedPage, RobotsRecord


class Frontier(Protocol):
    """The durable async queue: owns order, deduplication, leases and politeness."""

    async def add(self, found: Sequence[Outlink], *, depth: int = 0) -> int:
        """Queue links that came from outside (seeds); the number that were new."""
        ...

    async def lease(self) -> CrawlUrl | None:
        """The next link whose host may be asked now; waits for one.

        None: there is no more work and there will be none (or `stop` was called). A link stays
        leased until it is settled; one that never is returns to the queue when the frontier is
        opened again. Before the first link of an origin comes a link of kind ROBOTS, alone. Of
        links leased and not yet released there are never more than connections (`concurrency`).
        """
        ...

    def release(
        self,
        link: CrawlUrl,
        *,
        asked: bool = True,
        rest: float = 0.0,
        why: str = "",
        lesson: ResponseSample | None = None,
    ) -> None:
        """The host's connection is free again; the link stays leased.

        With `asked=False` no request was made, so the host is owed no pause for it. `rest` seconds
        (Retry-After) pass before the host is asked anything again, and `why` (`rest_why`) is shown
        meanwhile. `lesson` is what the exchange showed of the host; None: nothing. A second
        call does nothing.
        """
        ...

    def sent(self, link: CrawlUrl) -> bool:
        """The link's request is about to be written: the pause that its host is owed begins here,
        for what went before was the network's time. Until then, or until the link is released,
        the host is asked nothing else. Costs no waiting. False: the link is another's by now, and
        must not be asked for.
        """
        ...

    async def recognise(self, visits: Sequence[CrawlResult]) -> Sequence[CrawlResult]:
        """The visits, `duplicate_of` set where an earlier page had the same bytes.

        Call it with what is settled next, and by the one who settles: nothing may come between.
        """
        ...

    async def turn(self, link: CrawlUrl) -> None:
        """Wait until the link's host may be asked something that no queue holds (where a robots.txt
        redirects to), at its pace. `release(link)` ends it; `link.id` is a number below nothing.
        """
        ...

    async def settle(self, visits: Sequence[CrawlResult], marks: Mapping[str, int]) -> None:
        """Cross visits off, queue what they found, keep the sinks' marks: one transaction."""
        ...

    def forgo(self, link: CrawlUrl) -> None:
        """Give a lease back unvisited: the link is queued as if it had never been leased."""
        ...

    def stop(self) -> None:
        """From now on `lease` answers None."""
        ...

    @property
    def exhausted(self) -> bool:
        """As many pages as were asked for are done."""
        ...

    @property
    def stranded(self) -> bool:
        """The crawl ends though links are queued: their hosts have been down for long."""
        ...

    def paces(self, most: int = 10) -> list[HostPace]:
        """How hosts are treated now: those held back first, then those with most to do."""
        ...

    async def waits(self, most: int = 10) -> list[Wait]:
        """Hosts and URLs that wait for long, and why: those that wait longest first."""
        ...

    async def rules(self, origin: str) -> RobotsRecord | None:
        """The robots.txt of an origin as last entered; None: never."""
        ...

    async def counts(self) -> Counts: ...


class Fetcher(Protocol):
    """One HTTP exchange. Follows no redirect, decodes nothing, retries only the connecting."""

    async def fetch(self, link: CrawlUrl) -> Page:
        """Raises FetchError. A status of 400 and above is a Page like any other."""
        ...


class Receiver(Protocol):
    """Takes one answer's body as it comes. `close` or `discard` ends it."""

    size: int  # bytes taken so far
    truncated: str  # why the rest is missing; empty: it is not

    @property
    def full(self) -> bool:
        """No more is wanted: the exchange may end here."""
        ...

    async def head(self, status: int, fields: tuple[tuple[str, str], ...]) -> None:
        """What comes before the body. Raises FetchError where the body is not wanted."""
        ...

    async def add(self, chunk: bytes) -> None:
        """Raises OSError or SinkError when there is no place for it."""
        ...

    async def close(self) -> bytes | Path:
        """All came; what stands for the body in the Page."""
        ...

    async def discard(self) -> None:
        """The exchange broke."""
        ...


class FileFetcher(Protocol):
    """A Fetcher that hands bodies on as they come and asks for parts of them."""

    async def fetch(
        self,
        link: CrawlUrl,
        *,
        headers: Mapping[str, str] | None = None,
        into: Receiver | None = None,
    ) -> Page: ...


class Parser(Protocol):
    """Reads a page without burning the loop's CPU."""

    async def read(self, page: Page) -> ParsedPage:
        """Raises ParseError when this page, and this page alone, cannot be read."""
        ...


class Sink(Protocol):
    """An output that can be cut back to any length it once reported."""

    name: str

    async def append(self, visits: Sequence[CrawlResult]) -> int:
        """Write the visits, flush, and return the file's new length in bytes: its mark.

        Raises SinkError. Idempotent sinks (one file a page) return 0.
        """
        ...

    async def cut(self, mark: int) -> None:
        """Forget everything after `mark`; called once, on opening, before any append.

        A sink with a true `rewinds` can do it at any time, and writes nothing of an append that
        fails with anything but SinkError.
        """
        ...
