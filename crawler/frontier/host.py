"""One host's queue: what waits for it, and whose robots.txt is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crawler.model import Link

if TYPE_CHECKING:
    from crawler.frontier.budget import Budget

LOW_WATER = 16  # links in a host's buffer below which it asks for more


class Host:
    """One name with its port. How fast it may be asked is its budget's, shared in a group."""

    __slots__ = (
        "asking", "budget", "buffer", "in_flight", "name", "number", "open_until", "pending",
        "ready", "resting", "unused",
    )  # fmt: skip

    def __init__(self, name: str, number: int, budget: Budget) -> None:
        self.name = name
        self.number = number  # its id in the store
        self.budget = budget
        self.in_flight = 0
        self.pending = 0  # queued links, those in the buffer included, leased ones not
        self.resting = 0  # links that wait for a later try
        self.buffer: list[Link] = []  # the next is the last: an empty deque weighs ten times this
        self.open_until: dict[str, float] = {}  # origin → when its robots.txt expires
        self.unused: tuple[str, ...] = ()  # origins whose robots.txt came and nothing went since
        self.asking = False  # a robots.txt is on its way: nothing else goes
        self.ready = False  # stands in its budget's ring

    @property
    def is_low(self) -> bool:
        """There is more in the store, and little in the buffer."""
        return len(self.buffer) < LOW_WATER and self.pending > len(self.buffer)

    @property
    def is_idle(self) -> bool:
        """Nothing waits, rests or is under way. Links that came home may still be on lease."""
        return not (self.pending or self.resting or self.in_flight or self.asking or self.ready)

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.pending} queued, {self.in_flight} in flight>"
