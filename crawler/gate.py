"""May we go? A site's robots.txt, fetched as any other link is: leased, paced, entered.

The frontier hands out an origin's robots.txt before any other link of it, alone, so one fetch is
under way per origin, only that host's links wait, and the answer survives a restart. The gate
turns it into a verdict.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from crawler.config import PaceConfig, RobotsConfig
from crawler.errors import FetchError, ParseError
from crawler.model import Link, Outcome, Page, Rules, Visit
from crawler.protocols import Fetcher, Frontier, Parser
from crawler.retry import Retry, parse_retry_after
from crawler.robots import Robots, read_robots
from crawler.urls import Urls, host_key, origin

T = TypeVar("T")

MAX_HOPS = 5
"""Redirects followed for a robots.txt (RFC 9309 §2.3.1.2); more means "unavailable": allowed."""

COMPILED = 1000
"""Robots files kept compiled; the others are read again from the frontier."""

SHORTEST_AGE = 60.0
"""A robots.txt without caching, or with an age of nothing, is still good for a minute."""


class Gate:
    """Judges links by their origin's robots.txt and fetches those files when leased."""

    def __init__(
        self,
        frontier: Frontier,
        fetcher: Fetcher,
        parser: Parser,
        *,
        agent: str,
        robots: RobotsConfig,
        pace: PaceConfig,
        retry: Retry,
        urls: Urls,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._frontier = frontier
        self._fetcher = fetcher
        self._parser = parser
        self._agent = agent
        self._config = robots
        self._pace = pace
        self._retry = retry
        self._urls = urls
        self._clock = clock
        self._compiled: OrderedDict[str, Robots] = OrderedDict()
        self._attempts: OrderedDict[str, int] = OrderedDict()  # failed tries in a row, per origin

    async def refuses(self, link: Link) -> str:
        """The reason not to go, or nothing."""
        if not self._config.obey:
            return ""
        robots = self._compiled.get(home := origin(link.url))
        if robots is None:
            robots = await self._recall(home)
        if robots.allows(link.url):
            return ""
        return "robotsUnreachable" if robots.unreachable else "robotsTxt"

    async def ask(self, link: Link) -> Visit:
        """Fetch the robots.txt that `link` names. RETRY when the site gave no clear answer."""
        home = origin(link.url)
        status, body, page, failure = await self._fetch(link)
        busy = status is None or status == 429 or status >= 500
        if busy:
            attempt = self._attempts.get(home, 0)
            asked = self._asked_to_wait(page)
            wait = self._retry.wait(attempt, retry_after=asked)
            if wait is not None:
                self._remember(self._attempts, home, attempt + 1)
                return Visit(link, Outcome.RETRY, page, reason=failure, retry_in=wait, rest=wait)
            old = await self._frontier.rules(home)
            if old is not None and old.status is not None and old.status < 400:
                status, body = old.status, old.body  # the last good copy still holds
        self._attempts.pop(home, None)
        robots = read_robots(status, body, self._agent)
        self._remember(self._compiled, home, robots)
        age = self._config.recheck if busy else self._age(page)
        rules = Rules(home, status, body, self._clock() + age, robots.delay)
        found = ()
        outcome = Outcome.FAILED if robots.unreachable else Outcome.DONE
        return Visit(link, outcome, page, found=found, reason=failure, rules=rules)

    async def _fetch(self, link: Link) -> tuple[int | None, bytes, Page | None, str]:
        """Status (None: unreachable), decoded body, the page if there was one, what went wrong."""
        hop = link
        for _ in range(MAX_HOPS + 1):
            try:
                page = await self._fetcher.fetch(hop)
            except FetchError as error:
                return None, b"", None, f"{error.reason}:{error.detail}"
            target = self._urls.canonical(page.location) if page.location else None
            if page.location is None or target is None:
                break
            hop = Link(target, host_key(target), kind=link.kind, hops=hop.hops + 1)
        else:
            return 404, b"", page, "too-many-redirects"  # RFC 9309: may assume unavailable
        if page.status >= 300:
            return page.status, b"", page, f"status:{page.status}"
        try:
            extract = await self._parser.read(page)
        except ParseError as error:
            return None, b"", page, str(error)
        return page.status, extract.body or b"", page, ""

    async def _recall(self, home: str) -> Robots:
        rules = await self._frontier.rules(home)
        robots = (
            read_robots(rules.status, rules.body, self._agent)
            if rules is not None
            else read_robots(404, b"", self._agent)  # not ours to ask (robots are off, or a test)
        )
        self._remember(self._compiled, home, robots)
        return robots

    def _asked_to_wait(self, page: Page | None) -> float | None:
        if page is None:
            return None
        seconds = parse_retry_after(page.header("retry-after"), self._clock())
        return None if seconds is None else min(seconds, self._pace.max_retry_after)

    def _age(self, page: Page | None) -> float:
        """How long the answer holds: Cache-Control's max-age, a day at most (RFC 9309 §2.4)."""
        age = self._config.max_age
        for part in page.header("cache-control").lower().split(",") if page else ():
            name, _, value = part.strip().partition("=")
            if name == "max-age" and value.strip('"').isdigit():
                age = min(age, float(value.strip('"')))
        return max(age, SHORTEST_AGE)

    @staticmethod
    def _remember(memory: OrderedDict[str, T], home: str, value: T) -> None:
        memory[home] = value
        memory.move_to_end(home)
        if len(memory) > COMPILED:
            memory.popitem(last=False)
