"""What a random web answers, and who keeps what came of it: the made-up parts of `model.py`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random

from crawler.errors import FetchError, TimedOut, Truncated, Unreachable, Unresolved
from crawler.interfaces import Frontier
from crawler.policy.outcome import ResponseClassifier
from crawler.records import CrawlResult, CrawlUrl, Kind, Page, ParsedPage, Timings
from helpers.webs import Web, host_of, origin_of

ERRORS: dict[str, type[FetchError]] = {
    "down": Unreachable, "timeout": TimedOut, "truncated": Truncated, "dns": Unresolved,
}  # fmt: skip


class Site:
    """Implements Fetcher and Parser: what the web answers, after a while."""

    def __init__(self, web: Web, rng: Random) -> None:
        self.frontier: Frontier
        self.asked: Counter[str] = Counter()
        self.failed: set[str] = set()  # hosts that did not serve, at some time
        self._web = web
        self._rng = rng
        self._slow = rng.choice((0.01, 0.3, 3.0))

    async def _while(self) -> None:
        dice = self._rng.random()
        if dice < 0.9:
            await asyncio.sleep(0.0 if dice < 0.1 else self._slow * self._rng.random())
        elif dice > 0.99:
            await asyncio.sleep(20.0)

    async def fetch(self, link: CrawlUrl) -> Page:
        await self._while()
        if self._rng.random() < 0.9:
            self.frontier.sent(link)
        await self._while()
        self.asked[link.url] += 1
        answer = self._answer(link, self.asked[link.url] - 1)
        if answer in {"status:429", "status:503", *ERRORS}:
            self.failed.add(link.host)
        if error := ERRORS.get(answer):
            raise error(answer)
        word, _, rest = answer.partition(":")
        status = int(rest) if word == "status" else 302 if word == "moved" else 200
        headers: list[tuple[str, str]] = []
        if status in {429, 503} and self._rng.random() < 0.5:
            headers.append(("Retry-After", self._rng.choice(("0", "1", "3", "soon"))))
        if answer == "cookie":
            status, word, rest = 302, "moved", link.url
            headers.append(("Set-Cookie", "a=b"))
        home = self._web.robots.get(origin_of(link.url))
        if link.kind is Kind.ROBOTS and home is not None and home.age is not None:
            headers.append(("Cache-Control", f"max-age={home.age}"))
        ip = f"10.0.0.{len(host_of(link.url)) % 3}"
        return Page(
            link, status, tuple(headers), b"", asyncio.get_running_loop().time(), Timings(5.0),
            self._rng.choice((0, 100, 5000)), rest if word == "moved" else None, ip,
        )  # fmt: skip

    def _answer(self, link: CrawlUrl, number: int) -> str:
        if link.url.endswith("/robots.txt"):
            answers = self._web.robots[origin_of(link.url)].answers
            return answers[min(number, len(answers) - 1)]
        node = self._web.node(link.url)
        if number < len(node.fails):
            return "" if node.fails[number] == "cookie" and link.cookie else node.fails[number]
        if node.kind == "moved":
            return f"moved:{node.links[0]}"
        if node.kind == "error":
            return f"status:{node.status}" if node.status else "timeout"
        return ""

    async def read(self, page: Page) -> ParsedPage:
        await self._while()
        link = page.link
        if link.kind is Kind.ROBOTS:
            return ParsedPage(body=self._robots(link.url))
        node = self._web.node(link.url)
        listed = node.kind == "sitemap"
        depth = link.depth + (not listed)
        kinds = [
            Kind.SITEMAP if self._web.node(one).kind == "sitemap" else Kind.PAGE
            for one in node.links
        ]
        found = [
            self.verdict.judged(one, depth, kind)
            for one, kind in zip(node.links, kinds, strict=True)
        ]
        alike = Random(link.url.rpartition("/")[0] if node.trap else link.url).getrandbits(64)
        return ParsedPage(tuple(found), digest=f"sha256:{alike:064x}", simhash=alike)

    verdict: ResponseClassifier

    def _robots(self, url: str) -> bytes:
        if not url.endswith("/robots.txt"):
            return b"User-agent: *\nDisallow:\n"
        robots = self._web.robots[origin_of(url)]
        lines = ["User-agent: *", *(f"Disallow: {path}" for path in robots.forbidden)]
        return "\n".join([*lines, *(f"Sitemap: {one}" for one in robots.sitemaps)]).encode()


class Record:
    """A sink that keeps what it gets, and what was committed of it."""

    name = "record"

    def __init__(self) -> None:
        self.visits: list[CrawlResult] = []

    async def append(self, visits: Sequence[CrawlResult]) -> int:
        self.visits += visits
        return len(self.visits)

    async def cut(self, mark: int) -> None:
        del self.visits[mark:]
