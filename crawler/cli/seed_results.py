"""What became of the seeds: a sink that writes nothing, and says at the end what failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from crawler.cli.exits import SeedOutcome, fate
from crawler.records import CrawlResult

SHOWN: Final = 5
"""Seeds whose failure is told one by one; a list of a million is in pages.jsonl."""


class SeedResults:
    """Implements `protocols.Sink`. Bounded whatever the number of seeds."""

    name = "seeds"

    def __init__(self) -> None:
        self.fates: dict[SeedOutcome, int] = {}
        self.troubles: list[tuple[str, str, str]] = []  # url, reason, where it leads
        self.moves: list[tuple[str, str]] = []  # to other hosts: url, what is crawled in its place

    async def append(self, visits: Sequence[CrawlResult]) -> int:
        for visit in visits:
            if visit.link.depth == 0:
                self._note(visit)
        return 0

    async def cut(self, mark: int) -> None:
        """Nothing to cut."""

    def _note(self, visit: CrawlResult) -> None:
        if visit.adopts and visit.found[0][1] != visit.link.host and len(self.moves) < SHOWN:
            self.moves.append((visit.link.url, visit.found[0][0]))
        one = fate(visit)
        self.fates[one] = self.fates.get(one, 0) + 1
        if one not in {SeedOutcome.READ, SeedOutcome.MOVED} and len(self.troubles) < SHOWN:
            target = visit.found[0][0] if visit.found else ""
            self.troubles.append((visit.link.url, visit.reason, target))
