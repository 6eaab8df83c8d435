"""Depth as a barrier: nothing deeper goes while something shallower is unfinished (decision 2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from crawler.frontier.scheduling.slot import HostQueue


class DepthBarrier:
    """Unfinished links by depth, and the hosts whose next link lies too deep for now."""

    def __init__(self) -> None:
        self._open: Counter[int] = Counter()
        self._held: dict[str, HostQueue] = {}

    def recall(self, depths: Iterable[tuple[int, int]]) -> None:
        """Take up an earlier crawl's numbers."""
        self._open = Counter(dict(depths))

    def begin(self, depths: Iterable[tuple[int, int]]) -> None:
        """So many more links of each depth."""
        for depth, links in depths:
            self._open[depth] += links

    def end(self, depth: int, links: int = 1) -> list[HostQueue]:
        """So many are finished, or parked. The hosts that are held no longer."""
        self._open[depth] -= links
        if self._open[depth] > 0:
            return []
        if not self._open[depth]:
            del self._open[depth]
        freed, self._held = list(self._held.values()), {}
        return freed

    def hold(self, host: HostQueue, depth: int) -> bool:
        """Whether a link of this depth has to wait; its host then comes back with an `end`."""
        if depth <= min((level for level, links in self._open.items() if links > 0), default=0):
            return False
        self._held[host.name] = host
        return True

    def unhold(self, host: HostQueue) -> None:
        """Its next link may be another by now: it is held no longer, until it is asked for."""
        self._held.pop(host.name, None)

    @property
    def held(self) -> Iterable[HostQueue]:
        return self._held.values()
