"""What one worker of many learns of traps. In memory: each learns by itself, from its own visits.

So a trap costs each worker its patience, and a worker that starts anew learns again; no page is
lost by it, and no trap swallows a crawl. What is parked is counted and kept on the server.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from crawler.config.model import ScopeConfig
from crawler.policy.trap_rules import TrapJudge, UrlTemplate
from crawler.records import CrawlResult, Kind, Outcome, Outlink

REMEMBERED: Final = 50_000
"""Templates, of 200 bytes each."""


class RedisTraps:
    """Asked for each link that was found, told of each page."""

    def __init__(self, rules: ScopeConfig) -> None:
        self._off = rules.trap != "brake"
        self._known: OrderedDict[str, UrlTemplate] = OrderedDict()
        self._brake = TrapJudge(rules, self._known.get)
        self._fruitful: set[str] = set()

    def judged(self, one: Outlink, visit: CrawlResult) -> Outlink:
        """The link, with the reason to park it where there is one."""
        if self._off or one[4]:
            return one
        reason = self._brake.judge(one[0], visit.link.url)
        return (*one[:4], reason) if reason else one

    def found(self, visit: CrawlResult, new: Iterable[Outlink]) -> None:
        """Links of a page that nobody had found before."""
        if self._off:
            return
        for one in new:
            self._brake.found(one[0])
            if visit.link.url in self._fruitful:
                continue
            if (
                self._brake.shows(visit.link.url)
                if one[3] == Kind.ASSET.value
                else self._brake.promises(one[0], visit.link.url)
            ):
                self._fruitful.add(visit.link.url)

    def learn(self, visit: CrawlResult) -> None:
        """A page was read and settled; after `found` of all its links."""
        url, extract = visit.link.url, visit.extract
        fruitful = url in self._fruitful
        self._fruitful.discard(url)
        if self._off or extract is None or visit.outcome is not Outcome.DONE:
            return
        if visit.link.kind is not Kind.PAGE:
            return
        copied = visit.duplicate_of is not None
        self._brake.learn(url, visit.link.via, extract.simhash, copied=copied, fruitful=fruitful)
        for name, template in self._brake.changed.items():
            self._known[name] = template
            self._known.move_to_end(name)
        self._brake.changed.clear()
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
