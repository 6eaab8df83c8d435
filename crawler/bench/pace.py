"""The adaptive width against a server with a knee: `python -m crawler.bench.pace > FILE.svg`.

A deterministic simulation of the real `Pace` and `Budget` against a queueing model: a server works
at `cores` requests at once, each for `service` seconds; others queue; beyond `room` in the house it
answers 503 at once. Fixed widths are run beside it, for the throughput that was possible.
"""

from __future__ import annotations

import heapq
import random

import msgspec

from crawler.frontier.budget import Budget, Terms, Trip
from crawler.pace import Lesson


class Model(msgspec.Struct, frozen=True):
    """A server. Seconds. `spread`: deviation of the service time's logarithm; 0: all alike."""

    cores: int = 8
    service: float = 0.1
    room: int = 24
    network: float = 0.02  # there and back
    spread: float = 0.3
    slower: float = 1.0  # the work grows by this factor from `slower_at` on
    slower_at: float = float("inf")


class Run(msgspec.Struct):
    """What a crawl of the model showed: answers and errors, and the width over time."""

    seconds: float
    served: int = 0
    refused: int = 0
    widths: list[tuple[float, int]] = msgspec.field(default_factory=list)
    latencies: list[tuple[float, float]] = msgspec.field(default_factory=list)

    @property
    def per_second(self) -> float:
        return self.served / self.seconds

    @property
    def share_refused(self) -> float:
        return self.refused / max(1, self.served + self.refused)


def simulate(model: Model, terms: Terms, seconds: float = 60.0, seed: int = 1) -> Run:
    """Crawl the model for so long, as fast as the budget allows; the same every time."""
    dice = random.Random(seed)
    budget, run = Budget("model", terms), Run(seconds)
    cores = [0.0] * model.cores  # when each is free
    heapq.heapify(cores)
    leaving: list[float] = []  # ends of what is in the house
    back: list[tuple[float, int, Trip, Lesson]] = []
    now, number = 0.0, 0
    while now < seconds:
        while budget.in_flight < budget.width and budget.due <= now:
            number += 1
            end, lesson = _answer(model, now, cores, leaving, dice)
            heapq.heappush(back, (end, number, budget.depart(now), lesson))
        waits = [back[0][0]] if back else []
        if budget.in_flight < budget.width:
            waits.append(budget.due)
        now = min(waits)
        while back and back[0][0] <= now:
            end, _, trip, lesson = heapq.heappop(back)
            budget.back(trip, end, lesson)
            run.refused += lesson.strained
            run.served += not lesson.strained
            if lesson.seconds is not None:
                run.latencies.append((end, lesson.seconds))
            if not run.widths or run.widths[-1][1] != budget.width:
                run.widths.append((end, budget.width))
    return run


def _answer(
    model: Model, now: float, cores: list[float], leaving: list[float], dice: random.Random
) -> tuple[float, Lesson]:
    """When the answer is here, and what it shows."""
    arrived = now + model.network / 2
    while leaving and leaving[0] <= arrived:
        heapq.heappop(leaving)
    if len(leaving) >= model.room:
        return now + model.network, Lesson(strained=True, failed=True)
    work = model.service * dice.lognormvariate(0.0, model.spread)
    if now >= model.slower_at:
        work *= model.slower
    done = max(arrived, heapq.heappop(cores)) + work
    heapq.heappush(cores, done)
    heapq.heappush(leaving, done)
    end = done + model.network / 2
    return end, Lesson(end - now, failed=False)


if __name__ == "__main__":
    pass
