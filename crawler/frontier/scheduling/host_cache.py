"""The hosts in memory: met with what is known of them, forgotten when nothing is left to do there.

A crawl of millions of hosts has something to do at few of them at a time. What lasts of a host (the
width it bears, failures, rests, its robots.txt, its address) is in the store, and comes back with
it when it is met again. Forgetting goes round like the hand of a clock: each host that is met pays
for two looks, so hosts with nothing to do are about as many as those with something at most, and
no moment is spent looking at all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from crawler.frontier.scheduling.slot import HostQueue
from crawler.frontier.scheduling.slot_registry import SlotRegistry

KEPT: Final = 4096
"""Hosts in memory below which none is forgotten: 6 MB, and small crawls show all their hosts."""

LOOKS: Final = 2
"""Hosts looked at for each one met."""


class HostCache:
    """`hosts` by name; read it freely, change it here only."""

    def __init__(self, groups: SlotRegistry, kept: int = KEPT) -> None:
        self.hosts: dict[str, HostQueue] = {}
        self._groups = groups
        self._kept = kept
        self._round: deque[HostQueue] = deque()  # the next to be looked at is the first
        self._looks = 0  # paid for

    def admit(self, name: str, number: int, address: str | None) -> HostQueue:
        """The host of that name, made when it is not there."""
        host = self.hosts.get(name)
        if host is None:
            host = self.hosts[name] = self._groups.admit(name, number, address)
            self._round.append(host)
            self._looks += LOOKS
        return host

    def forget(self, now: float, needed: Iterable[str]) -> None:
        """Forget hosts that have nothing to do and owe nothing; those of these names stay."""
        looks, self._looks = self._looks, 0
        if len(self.hosts) <= self._kept:
            return
        busy = {*needed}
        for _ in range(looks):
            host = self._round.popleft()
            if host.is_idle and host.name not in busy and self._groups.dismiss(host, now):
                del self.hosts[host.name]
            else:
                self._round.append(host)
