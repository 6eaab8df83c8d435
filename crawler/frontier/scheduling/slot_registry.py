"""Which hosts share a budget: each its own, those of a registered domain, or of an address.

docs/decisions/0011 says how a host's address is learnt, and what holds until it is.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Literal

from crawler.frontier.scheduling.slot import HostQueue, Reservation, Slot, SlotState
from crawler.frontier.scheduling.slot_settings import SlotSettings
from crawler.policy.autothrottle import HostPace, ResponseSample
from crawler.policy.urls import registered_domain

Grouping = Literal["host", "domain", "ip"]

_KEYS: dict[Grouping, Callable[[str], str]] = {"host": str, "domain": registered_domain, "ip": str}


class SlotRegistry:
    """Owns the budgets and what they were taught."""

    def __init__(self, terms: SlotSettings, grouping: Grouping = "host") -> None:
        self.budgets: dict[str, Slot] = {}
        self.met: dict[int, str] = {}  # host ids whose address was learnt since it was last stored
        self.recovered: set[int] = set()  # ids of hosts that answer again and have links resting
        self._terms = terms
        self._key = _KEYS[grouping]
        self._by_address = grouping == "ip"
        self._shared = grouping != "host"
        self._taught: set[Slot] = set()  # what they learnt is not in the store yet
        self._tired: set[Slot] = set()
        self._held: set[Slot] = set()  # those that may be worth a word: they rest, are slow

    def key_of(self, name: str, address: str | None = None) -> str:
        """Whose budget a host shares. `address`: as an earlier run learnt it."""
        return address if self._by_address and address is not None else self._key(name)

    def admit(self, name: str, number: int, address: str | None = None) -> HostQueue:
        """A new host, in its group."""
        known = self._by_address and address is not None
        key = self.key_of(name, address)
        budget = self.budgets.get(key)
        if budget is None:
            budget = self._found(key, stranger=self._by_address and not known)
        elif known:
            budget.introduce()
        host = HostQueue(name, number, budget)
        budget.members.add(host)
        return host

    def dismiss(self, host: HostQueue, now: float) -> bool:
        """An idle host leaves, and with the last of its group the budget. False: it stays.

        It stays while a pause or a rest is owed, and until what was learnt of it is stored. The
        last of a group stays when one of them asked for a Crawl-delay: later members keep it too.
        """
        budget = host.budget
        if budget.due > now or budget in self._taught or host.number in self.met:
            return False
        if len(budget.members) == 1:
            if budget.crawl_delay and self._shared:
                return False
            del self.budgets[budget.key]
            self._tired.discard(budget)
            self._held.discard(budget)
        budget.members.remove(host)
        return True

    def back(
        self, host: HostQueue, trip: Reservation, now: float, lesson: ResponseSample | None
    ) -> Slot:
        """A request to a host has ended: what it showed goes to the host's budget."""
        budget = host.budget
        if budget.stranger and lesson is not None and lesson.address is not None:
            budget = self._join(host, lesson.address)
        was_parked = budget.is_down
        if budget.back(trip, now, lesson):
            if was_parked and not budget.is_down:
                self.recovered.update(member.number for member in budget.members if member.resting)
            self._taught.add(budget)
            (self._tired.add if budget.tired else self._tired.discard)(budget)
            if budget.is_down:
                self._held.add(budget)
        return budget

    def rest(self, host: HostQueue, until: float, why: str = "", url: str = "") -> None:
        """A host, and its group with it, is not asked anything before `until`."""
        host.budget.rest(until, why, url)
        if why:
            self._held.add(host.budget)

    def slow(self, host: HostQueue, delay: float, asked: float | None) -> None:
        """A host's robots.txt names a Crawl-delay."""
        host.budget.slow(delay, asked)
        self._held.add(host.budget)

    def _join(self, host: HostQueue, address: str) -> Slot:
        """A host's address is known: from here on it shares the budget of all who have it."""
        self.met[host.number] = address
        former = host.budget
        if former.key != address:
            budget = self.budgets.get(address) or self._found(address)
            budget.absorb(former)
            for member in former.members:
                member.budget, member.ready = budget, False
            budget.members |= former.members
            former.members, former.ring = set(), []
            self.budgets.pop(former.key, None)
            self._tired.discard(former)
            if former in self._held:
                self._held.remove(former)
                self._held.add(budget)
            self._taught.discard(former)
        host.budget.introduce()
        return host.budget

    def _found(self, key: str, *, stranger: bool = False) -> Slot:
        budget = self.budgets[key] = Slot(key, self._terms, stranger=stranger)
        return budget

    # ── what they know ───────────────────────────────────────────────────────────────────────

    def taught(self) -> list[SlotState]:
        """What hosts taught since it was last asked for, to be stored."""
        kept = [budget.kept() for budget in self._taught]
        self._taught.clear()
        return kept

    @property
    def some_are_tired(self) -> bool:
        return bool(self._tired)

    def is_tired(self, host: HostQueue) -> bool:
        """The end of the crawl does not wait for it."""
        return host.budget in self._tired

    def stranded(self) -> int:
        """Links of the tired: no host will be asked for them in this run, as things are."""
        hosts = (host for budget in self._tired for host in budget.members)
        return sum(host.pending + host.resting for host in hosts)

    def waiting(self, now: float) -> list[HostPace]:
        """Of hosts that have something to do and were parked, told to rest, or slowed."""
        self._held = {one for one in self._held if one.due > now or one.crawl_delay}
        paces = (budget.shown(now) for budget in self._held if budget.due > now)
        return [pace for pace in paces if pace.queued]

    def shown(self, now: float, most: int) -> list[HostPace]:
        """How hosts are treated: those held back first, then those with most to do."""
        paces = (budget.shown(now) for budget in self.budgets.values())
        return heapq.nlargest(most, paces, key=_notable)


def _notable(pace: HostPace) -> tuple[float, bool, float, int, int]:
    clamped = pace.crawl_delay is not None
    return pace.parked, clamped, round(pace.rest), pace.limit - pace.width, pace.queued
