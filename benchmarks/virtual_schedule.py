"""The real scheduler in virtual time: hosts are page counts, response times are simulated.

The real `Scheduler` decides as in a crawl: robots.txt first, then one URL of a host after each
delay. Only the clock, the store and the web are simulated. The store hands over a few URLs at a
time, so a host of ten million pages needs no more memory than one of ten.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from random import Random
from typing import Final

import msgspec

from benchmarks.fluid_model import between
from crawler.frontier.scheduling.scheduler import Scheduler
from crawler.frontier.scheduling.slot import LOW_WATER, HostQueue
from crawler.frontier.scheduling.slot_settings import SlotSettings
from crawler.policy.autothrottle import ResponseSample
from crawler.records import CrawlUrl, Kind

ROBOTS_HOLDS: Final = 86_400.0  # seconds, RFC 9309 §2.4; `robots.max_age`
HANDED: Final = 2 * LOW_WATER  # links that the store hands over at a time


class VirtualRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a simulated crawl came to. Virtual seconds; `done[i]` pages by `times[i]`,
    a hundred times in all; between two entries it is a line.

    `gap` is the shortest time between two departures to one host, infinite when none was asked
    twice. `fetched` counts robots.txt files too.
    """

    hosts: int
    pages: int
    fetched: int
    seconds: float
    gap: float
    in_flight: int  # most at a time
    times: tuple[float, ...]
    done: tuple[int, ...]

    def when(self, share: float) -> float:
        """By when this share of the pages was done."""
        return between(self.done, self.times, share * self.pages)


def simulate(
    sizes: Iterable[int],
    terms: SlotSettings,
    *,
    rate: float = math.inf,
    slots: int | None = None,
    latency: float = 0.3,
    seed: int = 1,
) -> VirtualRun:
    """Crawl hosts of these sizes, all of their pages known at the start, to the last page.

    `rate`: requests a second that the machines can make; `slots`: connections in all. An answer
    takes between half and one and a half times `latency`.
    """
    return _Simulation(sizes, terms, rate, slots, latency, seed).run()


class _Simulation:
    def __init__(
        self,
        sizes: Iterable[int],
        terms: SlotSettings,
        rate: float,
        slots: int | None,
        latency: float,
        seed: int,
    ) -> None:
        self.rng = Random(seed).random
        self.schedule = Scheduler(terms, slots=slots, dice=self.rng)
        self.latency = latency
        self.pause = 1 / rate
        self.left: list[tuple[float, int, CrawlUrl]] = []  # under way, by when the answer comes
        self.last: dict[str, float] = {}
        self.gap = math.inf
        self.fetched = self.most = self.number = 0
        self.pages = 0
        for pages in sizes:
            self.pages += pages
            host = self.schedule.host(f"h{len(self.last)}.test", len(self.last) + 1)
            self.last[host.name] = -math.inf
            self.schedule.queue(host, pages)
        self.step = max(1, self.pages // 100)
        self.marks: list[tuple[float, int]] = [(0.0, 0)]

    def run(self) -> VirtualRun:
        schedule, now, free = self.schedule, 0.0, 0.0
        self._feed()
        while not schedule.finished:
            while free <= now and (link := schedule.take(now)) is not None:
                self._leave(link, now)
                free = max(free, now - self.pause) + self.pause
            if schedule.has_thirsty:
                self._feed()
            due = schedule.next_due()
            # Rounding must not let the clock stand: a moment that has come is `now`.
            after = math.inf if due is None else max(due, free, now)
            if self.left and self.left[0][0] <= after:
                now = max(now, self.left[0][0])
                self._answer(now)
            else:
                assert after < math.inf, f"nothing will ever happen again: {schedule}"
                now = after
        if self.marks[-1][1] < schedule.pages:
            self.marks.append((now, schedule.pages))
        times, done = zip(*self.marks, strict=True)
        return VirtualRun(
            hosts=len(self.last),
            pages=schedule.pages,
            fetched=self.fetched,
            seconds=now,
            gap=self.gap,
            in_flight=self.most,
            times=times,
            done=done,
        )

    def _leave(self, link: CrawlUrl, now: float) -> None:
        self.fetched += 1
        self.gap = min(self.gap, now - self.last[link.host])
        self.last[link.host] = now
        comes = now + self.latency * (0.5 + self.rng())
        heapq.heappush(self.left, (comes, self.fetched, link))
        self.most = max(self.most, len(self.left))

    def _answer(self, now: float) -> None:
        comes, _, link = heapq.heappop(self.left)
        schedule = self.schedule
        schedule.release(link, now, lesson=ResponseSample(self.latency, failed=False))
        if link.kind is Kind.ROBOTS:
            home = link.url.removesuffix("/robots.txt")
            schedule.open(schedule.hosts[link.host], home, now + ROBOTS_HOLDS, None)
            return
        schedule.finish(link, page=True)
        if schedule.pages % self.step == 0:
            self.marks.append((comes, schedule.pages))

    def _feed(self) -> None:
        for host in self.schedule.thirsty():
            self.schedule.fill(host, self._read(host))

    def _read(self, host: HostQueue) -> list[CrawlUrl]:
        number = min(HANDED, host.pending - len(host.buffer))
        first, self.number = self.number + 1, self.number + number
        url = f"http://{host.name}/"
        return [CrawlUrl(url, host.name, id=first + i) for i in range(number)]
