"""A fluid model of a polite crawl: progress over time from sizes, delay and rate alone. Pure.

The schedule serves hosts in turn, so at any moment all hosts that are not yet done have been asked
equally often, p times, and the next round takes as long as its narrowest place allows: the delay,
or all of these hosts at the machines' rate. So dt = max(delay, hosts larger than p ÷ rate) dp. Who
has fewer pages than p is done. `test_scale.py` holds the real schedule against it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from benchmarks.site_sizes import Sizes

GRID = 5000  # logarithmic steps over the law's sizes


class FluidCourse(msgspec.Struct, frozen=True):
    """Pages done by moments, both ascending. Seconds; between two entries it is a line."""

    times: tuple[float, ...]
    done: tuple[float, ...]

    @property
    def pages(self) -> float:
        return self.done[-1]

    @property
    def seconds(self) -> float:
        """Until the last page of the largest host."""
        return self.times[-1]

    def when(self, share: float) -> float:
        """By when this share of all pages is done."""
        return between(self.done, self.times, share * self.pages)

    def at(self, second: float) -> float:
        """Pages done by a moment."""
        return between(self.times, self.done, second)

    def rate(self, start: float, end: float) -> float:
        """Pages a second between two moments."""
        return (self.at(end) - self.at(start)) / (end - start)


def between(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """The y at an x on the line through points of ascending x; the ends hold beyond them."""
    i = bisect_left(xs, x)
    if i == 0:
        return ys[0]
    if i == len(xs):
        return ys[-1]
    share = (x - xs[i - 1]) / (xs[i] - xs[i - 1])
    return ys[i - 1] + share * (ys[i] - ys[i - 1])


def of_sample(sizes: Iterable[int], *, delay: float, rate: float) -> FluidCourse:
    """Of these very hosts."""
    ordered = sorted(sizes)
    steps: list[tuple[float, float]] = []
    p = 0
    for i, size in enumerate(ordered):
        if size > p:
            steps.append((size - p, len(ordered) - i))
            p = size
    return _flow(steps, len(ordered), delay, rate)


def of_law(sizes: Sizes, *, delay: float, rate: float, most: float = float("inf")) -> FluidCourse:
    """Of all hosts of a law; `most`: no more pages than that are taken of one."""
    end = min(sizes.largest, most)
    grid = [end ** (i / GRID) for i in range(GRID + 1)]
    steps = [(1.0, float(sizes.hosts))]
    for low, high in pairwise(grid):
        # Exactly what the hosts add in between, so that the sum is the law's own.
        pages = sizes.hosts * (sizes.capped(high) - sizes.capped(low))
        steps.append((high - low, pages / (high - low)))
    return _flow(steps, sizes.hosts, delay, rate)


def _flow(
    steps: Iterable[tuple[float, float]], hosts: int, delay: float, rate: float
) -> FluidCourse:
    """Steps of (pages of each host, hosts that have them); robots.txt is the first request."""
    time = max(delay, hosts / rate)
    done = 0.0
    times, sums = [0.0, time], [0.0, 0.0]
    for pages, active in steps:
        time += pages * max(delay, active / rate)
        done += pages * active
        times.append(time)
        sums.append(done)
    return FluidCourse(tuple(times), tuple(sums))
