"""What one host, or a group of hosts that share a slot, may be asked: width, delay, rests, parking;
and the queue of each of them.

Pure; time is an argument (monotonic seconds). The schedule asks `free` and `due`, tells `depart`
and `back`, and nothing else decides how fast anybody is asked.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from crawler.frontier.scheduling.slot_settings import SlotSettings
from crawler.policy.autothrottle import START, AutoThrottle, HostPace, ResponseSample
from crawler.policy.token_bucket import TokenBucket
from crawler.records import CrawlUrl

LOW_WATER = 16
"""Links in a host's buffer below which it asks for more."""


class SlotState(NamedTuple):
    """What must survive a restart; `parked_until` is Unix time in the store, monotonic here."""

    key: str
    width: float
    failures: int
    parks: int
    parked_until: float


class Cooldown(NamedTuple):
    """A rest that was asked for. `until` is monotonic; `why` and `url`: see `HostPace`."""

    until: float
    why: str
    url: str


class Reservation(msgspec.Struct, frozen=True, gc=False):
    """One departure, as it was."""

    began: float
    pause: float  # seconds owed after it
    before: float  # `due` before it
    after: float  # … and after it
    full: bool  # with it, the whole width was in use
    reserved: float  # bytes
    waits: bool  # its pause begins when it is `sent`


class Slot:
    """One politeness key. `members` share it; those in `ring` have something to ask for."""

    __slots__ = (
        "_terms", "asked", "crawl_delay", "delay", "due", "ended", "failures", "in_flight", "key",
        "limit", "listed", "members", "meter", "pace", "parked_until", "parks", "rested", "ring",
        "stranger", "unsent", "width",
    )  # fmt: skip

    def __init__(self, key: str, terms: SlotSettings, *, stranger: bool = False) -> None:
        self.key = key
        self.members: set[HostQueue] = set()
        self.ring: list[HostQueue] = []
        self.listed = 0  # turn of its entry in the schedule's heap; 0: none
        self.in_flight = 0
        self.unsent = 0  # of these, how many have a pause to keep that has not begun
        self.due = 0.0  # nobody is asked anything before
        self.ended = float("-inf")  # when the last answer came
        self.stranger = stranger  # its address, and so its group, is not known yet: one at a time
        self.limit = terms.width
        self.delay = terms.delay  # seconds between two requests, jitter aside
        self.crawl_delay = 0.0
        self.asked: float | None = None  # a Crawl-delay beyond what is honoured
        self.failures = 0  # in a row
        self.parks = 0  # in a row
        self.parked_until = 0.0
        self.rested: Cooldown | None = None  # the longest that was asked for, and is not over
        self.pace = AutoThrottle(min(START, terms.width), terms.width) if terms.adaptive else None
        self.meter = TokenBucket(terms.rate) if terms.rate else None
        self._terms = terms
        self._fit()

    @property
    def is_down(self) -> bool:
        """It failed so often in a row that it is asked one thing at a time, if at all."""
        return 0 < self._terms.park_after <= self.failures

    @property
    def tired(self) -> bool:
        """Parked so often in a row that the end of the crawl does not wait for it."""
        return self.parks > self._terms.max_parks

    @property
    def has_room(self) -> bool:
        """One more may be on its way, once its moment has come. Not while another still makes its
        connection: the pause between the two begins when that one's request is written.
        """
        return self.in_flight < self.width and not self.unsent

    # ── a trip ───────────────────────────────────────────────────────────────────────────────

    def depart(self, now: float, dice: Callable[[], float] = random.random) -> Reservation:
        before, pause = self.due, self.delay
        if self._terms.jitter:
            pause = self._varied(dice)
        self.in_flight += 1
        waits = bool(pause) and self._terms.told
        self.unsent += waits
        self.due = due = max(before, now + pause)
        reserved = 0.0
        if self.meter is not None:
            reserved = self.meter.reserve(now)
            self.due = due = max(due, self.meter.due)
        return Reservation(now, pause, before, due, self.in_flight >= self.width, reserved, waits)

    def sent(self, trip: Reservation, now: float, *, again: bool) -> None:
        """A trip's request is being written. `again`: it was before, on a connection that broke."""
        self.unsent -= not again
        self.due = max(self.due, now + trip.pause)

    def back(self, trip: Reservation, now: float, lesson: ResponseSample | None) -> bool:
        """A request was made and has ended. True: what must survive a restart has changed."""
        self.in_flight -= 1
        self.ended = now
        if self.width == 1:
            # RFC 9309 leaves Crawl-delay open; from the end of the answer is the reading that
            # no server can call too fast, whatever the connection's set-up cost.
            self.due = max(self.due, now + trip.pause)
        if self.meter is not None:
            self.meter.correct(trip.reserved, lesson.bytes if lesson else 0)
            self.due = max(self.due, self.meter.due)
        return self._learn(lesson, trip, now) if lesson is not None else False

    def refund(self, trip: Reservation) -> None:
        """No request was made after all: no pause is owed for it."""
        self.in_flight -= 1
        if self.due == trip.after:  # nobody else has been asked, or asked us to rest, since
            self.due = trip.before
        if self.meter is not None:
            self.meter.correct(trip.reserved, None)

    def rest(self, until: float, why: str = "", url: str = "") -> None:
        """Nobody is asked anything before `until`. `why` and `url`: see `HostPace`."""
        self.due = max(self.due, until)
        if why and (self.rested is None or self.rested.until < until):
            self.rested = Cooldown(until, why, url)

    def slow(self, delay: float, asked: float | None = None) -> None:
        """A robots.txt names a Crawl-delay: it can only slow. `asked`: before it was clamped."""
        if asked is not None and asked > delay:
            self.asked = max(asked, self.asked or 0.0)
        if delay > self.delay:
            self.delay = self.crawl_delay = delay
            self.limit = 1
            self.due = max(self.due, self.ended + delay)  # the robots.txt was a request too
            self._fit()

    # ── what is learnt ───────────────────────────────────────────────────────────────────────

    def _learn(self, lesson: ResponseSample, trip: Reservation, now: float) -> bool:
        width, failures, parks = self.width, self.failures, self.parks
        if self.pace is not None:
            self.pace = self.pace.learn(lesson, now, began=trip.began, full=trip.full)
        if lesson.failed is False:
            self.failures = self.parks = 0
            self.parked_until = 0.0
        elif lesson.failed and trip.began >= self.parked_until:  # else it left before the parking
            self.failures += 1
            if self.is_down:
                seconds = self._terms.park * 2.0 ** min(self.parks, 32)
                self.parks += 1
                self.parked_until = now + min(self._terms.park_most, seconds)
                self.due = max(self.due, self.parked_until)
        self._fit()
        return (width, failures, parks) != (self.width, self.failures, self.parks)

    def _fit(self) -> None:
        if self.stranger or self.is_down:
            self.width = 1  # one at a time until it has answered
        else:
            wide = self.limit if self.pace is None else int(self.pace.width)
            self.width = min(self.limit, wide)

    def _varied(self, dice: Callable[[], float]) -> float:
        jitter = self._terms.jitter
        own = self._terms.delay * (1 + jitter * (2 * dice() - 1))
        return max(own, self.crawl_delay * (1 + jitter * dice()))  # a site's wish: only upwards

    # ── across a restart ─────────────────────────────────────────────────────────────────────

    def kept(self) -> SlotState:
        width = self.pace.width if self.pace is not None else float(self.limit)
        return SlotState(self.key, width, self.failures, self.parks, self.parked_until)

    def recall(self, kept: SlotState) -> None:
        """Take up what an earlier run learnt. A host that was given up gets one try at once."""
        if self.pace is not None:
            width = min(max(1.0, kept.width), self.pace.limit)
            self.pace = msgspec.structs.replace(self.pace, width=width, eager=False)
        self.failures, self.parks = kept.failures, kept.parks
        if self.tired:
            self.parks = self._terms.max_parks
        else:
            self.parked_until = kept.parked_until
            self.due = max(self.due, kept.parked_until)
        self._fit()

    def introduce(self) -> None:
        """Its address is known: it is no stranger any more."""
        self.stranger = False
        self._fit()

    def absorb(self, other: Slot) -> None:
        """Take over what a host has under way, and was owed, under its former key."""
        self.in_flight += other.in_flight
        self.unsent += other.unsent
        self.due = max(self.due, other.due)
        self.ended = max(self.ended, other.ended)
        self.rested = self.rested or other.rested
        if other.crawl_delay:
            self.slow(other.crawl_delay, other.asked)

    # ── what is shown ────────────────────────────────────────────────────────────────────────

    def shown(self, now: float) -> HostPace:
        rested = self.rested
        if rested is None or rested.until <= now:
            rested = self.rested = None
        return HostPace(
            name=self.key,
            width=self.width,
            limit=self.limit,
            in_flight=self.in_flight,
            queued=sum(host.pending + host.resting for host in self.members),
            delay=self.delay,
            rest=max(0.0, self.due - now),
            parked=max(0.0, self.parked_until - now),
            failures=self.failures,
            parks=self.parks,
            crawl_delay=self.asked,
            why=rested.why if rested else "",
            url=rested.url if rested else "",
        )

    def __repr__(self) -> str:
        return f"<Budget {self.key} {self.in_flight}/{self.width} in flight, due {self.due:.3f}>"


class HostQueue:
    """One name with its port. How fast it may be asked is its budget's, shared in a group."""

    __slots__ = (
        "asking", "budget", "buffer", "in_flight", "name", "number", "open_until", "pending",
        "ready", "resting", "unused",
    )  # fmt: skip

    def __init__(self, name: str, number: int, budget: Slot) -> None:
        self.name = name
        self.number = number  # its id in the store
        self.budget = budget
        self.in_flight = 0
        self.pending = 0  # queued links, those in the buffer included, leased ones not
        self.resting = 0  # links that wait for a later try
        self.buffer: list[
            CrawlUrl
        ] = []  # the next is the last: an empty deque weighs ten times this
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
