"""May we go? A site's robots.txt, fetched as any other link is: leased, paced, entered.

The frontier hands out an origin's robots.txt before any other link of it, alone, so one fetch is
under way per origin, only that host's links wait, and the answer survives a restart. The gate
turns it into a verdict. What it does when there is no clear answer (RFC 9309 §2.3.1.4):

    an earlier answer is known           it holds, and is asked for again in 5 min … 1 h
    429, 5xx, a timeout                  the host's links wait in the queue, up to `patience`
    no connection at all                 as many tries as a page gets
    after that                           its links are refused, `robotsUnreachable:503`; where there
                                         was no connection they fail with that cause, as they would
                                         have by themselves; links found later ask again, in 5 min
                                         … 1 h
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from crawler.config.model import PaceConfig, RobotsConfig, SitemapConfig
from crawler.engine.robots_fetcher import RobotsFetcher, RobotsResponse
from crawler.errors import LeaseLost, TimedOut, Unresolved
from crawler.interfaces import Fetcher, Frontier, Parser
from crawler.policy.outcome import USUAL_PLACES, ResponseClassifier
from crawler.policy.retry_policy import SHORT, RetryPolicy, parse_retry_after
from crawler.policy.robots_txt import RobotsExplanation, RobotsTxt, is_unreachable, read_robots
from crawler.policy.urls import Urls, origin
from crawler.records import CrawlResult, CrawlUrl, Kind, Outcome, Outlink, Page, RobotsRecord

COMPILED: Final = 1000
COMPILED_RULES: Final = 200_000
"""Robots files kept compiled, and rules in them all (30 MB); the others are read again from the
frontier.
"""

LARGE: Final = 64 * 1024
"""Bytes of a robots.txt above which a thread compiles it: 100 ms for half a megabyte."""

SHORTEST_AGE: Final = 60.0
"""A robots.txt without caching, or with an age of nothing, is still good for a minute."""

MAX_SITEMAPS: Final = 1000
"""Sitemaps taken from one robots.txt."""


class RobotsPatience(msgspec.Struct, frozen=True, gc=False):
    """How often and since when an origin's robots.txt could not be had; `rounds`: given up."""

    since: float
    tries: int = 0
    rounds: int = 0


class RobotsGate:
    """Judges links by their origin's robots.txt and fetches those files when leased."""

    def __init__(
        self,
        frontier: Frontier,
        fetcher: Fetcher,
        parser: Parser,
        *,
        agent: str,
        robots: RobotsConfig,
        sitemap: SitemapConfig | None = None,
        pace: PaceConfig,
        retry: RetryPolicy,
        urls: Urls,
        verdict: ResponseClassifier | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._frontier = frontier
        self._asker = RobotsFetcher(fetcher, parser, urls)
        self._agent = agent
        self._config = robots
        self._sitemap = sitemap or SitemapConfig(follow=False)
        self._pace = pace
        self._retry = retry
        self._urls = urls
        self._verdict = verdict
        self._clock = clock
        self._compiled: OrderedDict[str, RobotsTxt] = OrderedDict()
        self._rules = 0  # in all that is compiled
        self._troubles: OrderedDict[str, RobotsPatience] = OrderedDict()

    async def refuses(self, link: CrawlUrl) -> str:
        """The reason not to go, or nothing. `ResponseClassifier.not_asked` makes a visit of it."""
        if not self._config.obey:
            return ""
        robots = await self._robots(origin(link.url))
        return "" if robots.allows(link.url) else robots.trouble or "robotsTxt"

    async def explain(self, url: str) -> RobotsExplanation:
        """What `refuses` goes by, with the rule and its line."""
        return (await self._robots(origin(url))).explain(url)

    async def ask(self, link: CrawlUrl) -> CrawlResult:
        """Fetch the robots.txt that `link` names. RETRY when the site gave no clear answer.

        Files in which bodies of the visit and its trail lie are the caller's.
        """
        answer = await self._asker.ask(link, self._frontier)
        visit = await self._judge(link, answer)
        trail = tuple((page, None) for page in answer.trail)
        return msgspec.structs.replace(visit, kept=answer.kept, trail=trail)

    async def _judge(self, link: CrawlUrl, answer: RobotsResponse) -> CrawlResult:
        home = origin(link.url)
        if isinstance(answer.error, LeaseLost):  # nothing was learnt of the site
            return CrawlResult(link, Outcome.RETRY, reason=answer.trouble, retry_in=0.0)
        status, body, trouble = answer.status, answer.body, answer.refusal
        asked, rest = 0.0, 0.0
        why = f"robots:{answer.trouble}"
        if not is_unreachable(status):
            self._troubles.pop(home, None)
            age = self._age(answer.page)
        else:
            asked = self._asked_to_wait(answer.page)
            old = await self._frontier.rules(home)
            if old is not None and old.status is not None and old.status < 300:
                status, body, trouble = old.status, old.body, ""  # the last good copy still holds
                rest = asked if asked <= SHORT else 0.0  # longer: this file's alone, see `age`
            else:
                wait = self._wait(home, answer, asked)
                if wait is not None:
                    return CrawlResult(
                        link,
                        Outcome.RETRY,
                        answer.page,
                        reason=answer.trouble,
                        retry_in=wait,
                        rest=wait,
                        rest_why=why,
                    )
            age = max(self._recheck(home), asked)
        robots = await self._compile(home, status, body, trouble)
        rules = RobotsRecord(home, status, body, self._clock() + age, robots.delay, trouble)
        outcome = Outcome.DONE
        if robots.unreachable:
            # Refusing asks the host nothing, so its links need not wait for what it asked for:
            # `age` keeps us from asking for the robots.txt earlier.
            outcome = Outcome.FAILED
        found = self._sitemaps(home, robots)
        return CrawlResult(
            link, outcome, answer.page, found=found, reason=answer.trouble,
            rest=rest, rest_why=why if rest else "", rules=rules,
        )  # fmt: skip

    def given_up(self, link: CrawlUrl, reason: str) -> CrawlResult:
        """The robots.txt that `link` names could not be asked for, and it is not the site's fault:
        what waits for it is refused for `reason`.
        """
        home = origin(link.url)
        known = self._troubles.get(home) or RobotsPatience(self._clock())
        self._note(home, RobotsPatience(known.since, 0, known.rounds + 1))
        self._shelve(home, read_robots(None, b"", self._agent, reason))
        rules = RobotsRecord(home, None, b"", self._clock() + self._config.recheck, trouble=reason)
        return CrawlResult(link, Outcome.FAILED, reason=reason, rules=rules)

    # ── no clear answer ──────────────────────────────────────────────────────────────────────

    def _wait(self, home: str, answer: RobotsResponse, asked: float) -> float | None:
        """Seconds until the next try, while the links wait; None: they are refused."""
        now = self._clock()
        known = self._troubles.get(home) or RobotsPatience(now)
        if known.rounds and not known.tries:
            known = msgspec.structs.replace(known, since=now)
        error = answer.error
        if error is not None and not isinstance(error, TimedOut):
            limit = 1 if isinstance(error, Unresolved) else None
            wait = self._retry.wait(known.tries, limit=limit) if self._retry.worth(error) else None
        else:
            left = known.since + self._config.patience - now
            wait = max(asked, min(self._retry.backoff(known.tries), left)) if left > 0 else None
            if wait is not None and wait > left:
                wait = None  # the site asks for more time than there is
        if wait is not None:
            known = msgspec.structs.replace(known, tries=known.tries + 1)
            self._note(home, known)
        return wait

    def _recheck(self, home: str) -> float:
        """Seconds until a robots.txt that could not be had is asked for again: ever longer."""
        known = self._troubles.get(home) or RobotsPatience(self._clock())
        self._note(home, RobotsPatience(known.since, 0, known.rounds + 1))
        return min(self._config.recheck * 2.0 ** min(known.rounds, 32), self._config.max_recheck)

    def _asked_to_wait(self, page: Page | None) -> float:
        """Seconds of the answer's Retry-After that are kept; 0: it has none."""
        if page is None:
            return 0.0
        seconds = parse_retry_after(page.header("retry-after"), self._clock())
        return min(seconds or 0.0, self._pace.max_retry_after)

    # ── a clear answer ───────────────────────────────────────────────────────────────────────

    def _age(self, page: Page | None) -> float:
        """How long an answer holds: as its Cache-Control says, a day at most (RFC 9309 §2.4)."""
        age = self._config.max_age
        control = (
            ",".join(value for name, value in page.headers if name.lower() == "cache-control")
            if page
            else ""
        )
        for part in control.lower().split(","):
            name, _, value = part.strip().partition("=")
            value = value.strip('"')
            if name == "max-age" and value.isascii() and value.isdigit():
                age = min(age, float(value[:12]))
            elif name in {"no-cache", "no-store"}:
                age = 0.0
        return max(age, SHORTEST_AGE)

    def _sitemaps(self, home: str, robots: RobotsTxt) -> tuple[Outlink, ...]:
        """The sitemaps that the file names; where it names none and it was asked for, guesses."""
        if self._verdict is None or robots.unreachable:
            return ()
        urls: list[str] = []
        if self._sitemap.follow or self._sitemap.only:
            joined = (self._urls.join(home, url) for url in robots.sitemaps[:MAX_SITEMAPS])
            urls = [url for url in joined if url is not None]
        if not urls and ("guess" in self._sitemap.urls or self._sitemap.only):
            urls = [home + place for place in USUAL_PLACES]
        return tuple(self._verdict.judged(url, 1, Kind.SITEMAP) for url in urls)

    async def _robots(self, home: str) -> RobotsTxt:
        robots = self._compiled.get(home)
        if robots is not None:
            self._compiled.move_to_end(home)
        else:
            rules = await self._frontier.rules(home)
            # None: not ours to ask (robots are off, or a test).
            known = rules or RobotsRecord(home, 404, b"", 0.0)
            robots = await self._compile(home, known.status, known.body, known.trouble)
        return robots

    async def _compile(self, home: str, status: int | None, body: bytes, trouble: str) -> RobotsTxt:
        if len(body) > LARGE:
            robots = await asyncio.to_thread(read_robots, status, body, self._agent, trouble)
        else:
            robots = read_robots(status, body, self._agent, trouble)
        self._shelve(home, robots)
        return robots

    def _shelve(self, home: str, robots: RobotsTxt) -> None:
        """Keep a compiled file, and as many of the others as there is room for."""
        old = self._compiled.pop(home, None)
        self._rules += len(robots.rules) - (len(old.rules) if old else 0)
        self._compiled[home] = robots
        while len(self._compiled) > COMPILED or (
            self._rules > COMPILED_RULES and len(self._compiled) > 1
        ):
            self._rules -= len(self._compiled.popitem(last=False)[1].rules)

    def _note(self, home: str, trouble: RobotsPatience) -> None:
        self._troubles[home] = trouble
        self._troubles.move_to_end(home)
        if len(self._troubles) > COMPILED:
            self._troubles.popitem(last=False)
