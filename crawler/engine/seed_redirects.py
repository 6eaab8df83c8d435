"""A seed's redirect target becomes a seed, for everything in this process that judges links.

The frontier keeps the adopted seeds with the visits that made them, so that a resumed crawl and the
workers of a shared one judge by the same scope (decision 0113).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from crawler.policy.scope import ADOPTED, Scope
from crawler.records import CrawlResult, CrawlUrl, Kind, ParsedPage

log = logging.getLogger(__name__)

PUBLIC = "public"


class SeedTrust(Protocol):
    """What is asked of the guard of addresses: `fetch.guard.AddressGuard`."""

    def first_kind(self, host: str) -> str: ...
    def trust(self, host: str, kind: str) -> None: ...


class SeedRedirects:
    """Widens the scope. Owned by one crawl; nothing here waits but `catch_up`.

    `tell` is told of each URL that widens the scope, for the parse processes. `guard` None: no host
    is trusted with a private address because a seed leads to it. `recall` returns the adopted seeds
    of a crawl that others work on too, None: nobody else does.
    """

    def __init__(
        self,
        scope: Scope,
        *,
        tell: Callable[[str], None],
        guard: SeedTrust | None,
        recall: Callable[[], Awaitable[Mapping[str, str]]] | None = None,
    ) -> None:
        self.number = 0  # of widenings so far
        self._scope = scope
        self._tell = tell
        self._guard = guard
        self._recall = recall

    def take(self, visit: CrawlResult) -> CrawlResult:
        """A seed redirected: adopt its target. The visit as it is to be kept."""
        source, target = visit.link.url, visit.found[0][0]
        kind = self._guard.first_kind(urlsplit(source).hostname or "") if self._guard else ""
        if self._enter(target, kind or PUBLIC):
            log.info("seed %s redirects to %s, which is crawled in its place", source, target)
        return msgspec.structs.replace(visit, adopts=kind or PUBLIC)

    def recalled(self, seeds: Mapping[str, str]) -> None:
        """Seeds that were adopted before, with the kinds of addresses that they may have."""
        for url, kind in seeds.items():
            self._enter(url, kind)

    @property
    def shared(self) -> bool:
        """Whether others adopt seeds too: then `catch_up` is worth its look."""
        return self._recall is not None

    async def catch_up(self, link: CrawlUrl) -> None:
        """Before a link is visited: one that is out of scope was found by a worker that knows of a
        seed we have not heard of.
        """
        assert self._recall is not None
        kind = Kind.PAGE if link.kind is Kind.ROBOTS else link.kind
        if self._scope.judge(link.url, link.host, link.depth, kind.value) in ADOPTED:
            self.recalled(await self._recall())

    def misjudged(self, extract: ParsedPage) -> bool:
        """Whether a page's links were judged by a scope that was too narrow."""
        return any(self._admits(*one[:2], one[3]) for one in _refused(extract))

    def _admits(self, url: str, host: str, kind: str) -> bool:
        kind = Kind.PAGE.value if kind == Kind.PROBE else kind
        return not self._scope.judge(url, host, 1, kind)

    def _enter(self, url: str, kind: str) -> bool:
        if self._guard is not None and kind != PUBLIC:
            self._guard.trust(urlsplit(url).hostname or "", kind)
        if not self._scope.adopt(url):
            return False
        self.number += 1
        self._tell(url)
        return True


def _refused(extract: ParsedPage) -> Iterable[tuple[str, str, bytes, str, str]]:
    return (one for one in extract.found if one[4] == "outOfScope" or one[3] == Kind.PROBE)
