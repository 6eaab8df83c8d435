"""What an answer, or the lack of one, means for a link. No I/O: out comes a Visit."""

from __future__ import annotations

import time
from collections.abc import Callable

from crawler.config.model import FetchConfig, PaceConfig
from crawler.errors import FetchError, Forbidden, Insecure, LeaseLost, Unresolved, UnwantedType
from crawler.policy.retry_policy import (
    HostCooldowns,
    RetryPolicy,
    longest_retry_after,
    parse_retry_after,
)
from crawler.policy.robots_txt import UNREACHABLE
from crawler.policy.scope import Scope
from crawler.policy.urls import Urls, fingerprint, host_key, path_of, scheme_of
from crawler.records import CrawlResult, CrawlUrl, Kind, Outcome, Outlink, Page, ParsedPage

SLOW_DOWN = frozenset({429, 503})
"""Statuses that speak for the whole host: its other links wait too, Retry-After or not."""

RETRY_AFTER = "Retry-After"
"""`CrawlResult.rest_why` where the server named the time."""

RULED = frozenset({"robotsTxt", UNREACHABLE, Forbidden.reason})
"""Reasons of the gate that are rules, the site's or ours; all others are failures of the road."""

COOKIE_WALL = "redirect:cookie"
"""A redirect to itself that set a cookie: one more try, with the cookie (httrack#15)."""

USUAL_PLACES = ("/sitemap.xml", "/sitemap_index.xml")
"""Where a sitemap may lie that no robots.txt names; that none is there is no failure."""

_SURE = (Unresolved, Insecure, Forbidden)
"""Errors that a GET would meet as well as a HEAD."""


class ResponseClassifier:
    """Decides done, moved, unchanged, again or failed, by the rules of one crawl."""

    def __init__(
        self,
        urls: Urls,
        scope: Scope,
        retry: RetryPolicy,
        *,
        fetch: FetchConfig,
        pace: PaceConfig,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._urls = urls
        self._scope = scope
        self._retry = retry
        self._max_redirects = fetch.max_redirects
        self._max_retry_after = longest_retry_after(pace)
        self._rests = HostCooldowns()
        self._clock = clock

    def not_asked(self, link: CrawlUrl, reason: str) -> CrawlResult:
        """The gate holds it back: a rule refuses it, or its host could not be reached and it fails
        as it would have by itself.
        """
        refused = reason.partition(":")[0] in RULED
        return CrawlResult(link, Outcome.REFUSED if refused else Outcome.FAILED, reason=reason)

    def on_error(self, link: CrawlUrl, error: FetchError) -> CrawlResult:
        """The fetch failed on the road."""
        reason = error.cause
        if isinstance(error, LeaseLost):
            return CrawlResult(link, Outcome.RETRY, reason=reason, retry_in=0.0)
        if isinstance(error, UnwantedType):
            return CrawlResult(link, Outcome.REFUSED, reason=reason)
        if link.kind is Kind.PROBE and link.attempt == 0 and not isinstance(error, _SURE):
            return CrawlResult(link, Outcome.RETRY, reason=reason, retry_in=0.0)  # as a GET
        wait = None
        if self._retry.worth(error):
            limit = 1 if isinstance(error, Unresolved) else None
            wait = self._retry.wait(link.attempt, retry_after=error.retry_after, limit=limit)
        if wait is None:
            return CrawlResult(link, Outcome.FAILED, reason=reason)
        return CrawlResult(link, Outcome.RETRY, reason=reason, retry_in=wait)

    def on_answer(self, link: CrawlUrl, page: Page) -> CrawlResult:
        """The server answered. DONE means: to be read."""
        status = page.status
        if link.kind is Kind.PROBE and (visit := self._probed(link, page)) is not None:
            return visit
        if status < 400:
            self._rests.served(link.host)
        if page.location is not None:
            return self._moved(link, page, page.location)
        if status == 304 and self._asked_whether_changed(link):
            return CrawlResult(link, Outcome.UNCHANGED, page)
        if status < 300:
            return CrawlResult(link, Outcome.DONE, page)
        reason = f"status:{status}"
        if status in {404, 410} and link.kind is Kind.SITEMAP and _is_usual(link.url):
            return CrawlResult(link, Outcome.REFUSED, page, reason="noSitemap")
        # Whatever the status (RFC 9110 §10.2.3 names no list): who asks for patience gets it.
        asked = parse_retry_after(page.header("retry-after"), self._clock())
        kept = min(asked or 0.0, self._max_retry_after)
        backoff = self._retry.wait(link.attempt) if self._retry.worth_status(status) else None
        rest, why = 0.0, ""
        if asked is not None or status in SLOW_DOWN:
            rest = self._rests.refused(
                link.host, link.url, self._clock(), asked=asked, kept=kept,
                backoff=(backoff or 0.0) if status in SLOW_DOWN else 0.0,
            )  # fmt: skip
            why = reason if asked is None else RETRY_AFTER
        elif status < 500:
            self._rests.served(link.host)
        if backoff is None:
            return CrawlResult(link, Outcome.FAILED, page, reason=reason, rest=rest, rest_why=why)
        wait = max(backoff, kept)
        return CrawlResult(
            link, Outcome.RETRY, page, reason=reason, retry_in=wait, rest=rest, rest_why=why
        )

    @staticmethod
    def _asked_whether_changed(link: CrawlUrl) -> bool:
        """Whether the request had a condition: only then a 304 is an answer. A download looks to
        that itself.
        """
        known = link.known
        return link.kind is Kind.FILE or (known is not None and bool(known.validators))

    def _probed(self, link: CrawlUrl, page: Page) -> CrawlResult | None:
        """A link that is only asked for: a no to HEAD is not yet an answer.

        Servers refuse HEAD that answer GET; the second try, in its turn, is a GET (fetch/http.py).
        """
        if page.status >= 400 and link.attempt == 0 and page.status not in SLOW_DOWN:
            return CrawlResult(
                link, Outcome.RETRY, page, reason=f"status:{page.status}", retry_in=0.0
            )
        return None

    def on_read(self, visit: CrawlResult, extract: ParsedPage) -> CrawlResult:
        """The page was read: its links are entered with it."""
        reason = extract.incomplete
        return CrawlResult(visit.link, Outcome.DONE, visit.page, extract, extract.found, reason)

    def _moved(self, link: CrawlUrl, page: Page, location: str) -> CrawlResult:
        """A redirect is a link: deduplicated and in scope like any other, bounded in number."""
        target = self._urls.canonical(location)
        if target is None:
            return CrawlResult(link, Outcome.FAILED, page, reason=f"redirect:{_not_web(location)}")
        if target == link.url:
            return _itself(link, page)
        if link.hops >= self._max_redirects:
            return CrawlResult(link, Outcome.FAILED, page, reason="redirect:too many")
        if link.depth == 0 and self._scope.leads(link.url):
            return self._led(link, page, target)
        found = self.judged(target, link.depth, link.kind)
        reason = f"redirectToExcluded:{found[4]}" if found[4] else ""
        return CrawlResult(link, Outcome.MOVED, page, found=(found,), reason=reason)

    def _led(self, link: CrawlUrl, page: Page, target: str) -> CrawlResult:
        """A seed redirects: its target is a seed, wherever it lies, unless a rule excludes it."""
        host = host_key(target)
        reason = self._scope.refuses_target(target, host, link.kind)
        found = (target, host, fingerprint(target, host), link.kind.value, reason)
        if reason:
            reason = f"redirectToExcluded:{reason}"
        adopts = "" if reason else "public"
        return CrawlResult(link, Outcome.MOVED, page, found=(found,), reason=reason, adopts=adopts)

    def judged(self, url: str, depth: int, kind: str) -> Outlink:
        """A canonical URL as a link to enter, with scope's reason where it refuses."""
        host = host_key(url)
        kind, reason = self._scope.admit(url, host, depth, kind)
        return url, host, fingerprint(url, host), kind, reason


def _itself(link: CrawlUrl, page: Page) -> CrawlResult:
    """A redirect to the same URL: a loop, unless it sets a cookie that was not sent yet."""
    if link.cookie or not page.header("set-cookie"):
        return CrawlResult(link, Outcome.FAILED, page, reason="redirect:loop")
    return CrawlResult(link, Outcome.RETRY, page, reason=COOKIE_WALL, retry_in=0.0)


def cookies(page: Page) -> str:
    """The cookies an answer sets, as a Cookie header sends them (RFC 6265 §4.2), 4 kB at most."""
    pairs = [
        value.partition(";")[0].strip()
        for name, value in page.headers
        if name.lower() == "set-cookie"
    ]
    fit = (pair for pair in pairs if "=" in pair and pair.isascii() and pair.isprintable())
    return "; ".join(fit)[:4096]


def _is_usual(url: str) -> bool:
    return path_of(url) in USUAL_PLACES


def _not_web(location: str) -> str:
    """Why a redirect's target is none: another scheme, by name, or no URL."""
    name = scheme_of(location)
    return "not a URL" if name in {"", "http", "https"} else f"scheme {name}"
