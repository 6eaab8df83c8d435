"""One machine as a queueing network: pages per second for a number of cores. Pure.

A page passes the loop, a parse process, the loop again, the frontier's thread. The loop and the
frontier do one thing at a time however many cores there are; a parse process needs a core of its
own while it reads. So a second process of the whole kind is what further cores are good for. With
a frontier on Redis, all processes of all machines share the server's one core.
"""

from __future__ import annotations

import heapq
from collections import deque
from random import Random

import msgspec

LOOP, PARSE, FRONTIER, SERVER = "loop", "parse", "frontier", "server"


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """CPU milliseconds a page. `server`: of Redis; 0 where the frontier is a file."""

    loop: float
    parse: float
    frontier: float
    server: float = 0.0

    @property
    def machine(self) -> float:
        """What the crawling machine itself spends."""
        return self.loop + self.parse + self.frontier


class Bound(msgspec.Struct, frozen=True):
    """Pages a second at most, and the station that allows no more (`cores`: all are busy)."""

    rate: float
    by: str


def bound(costs: Costs, cores: int, processes: int = 1) -> Bound:
    """What the costs allow on paper: each station's own limit, and the cores' in all."""
    limits = {
        "cores": cores * 1000 / costs.machine,
        LOOP: processes * 1000 / costs.loop,
        FRONTIER: processes * 1000 / costs.frontier if costs.frontier else float("inf"),
        SERVER: 1000 / costs.server if costs.server else float("inf"),
    }
    by = min(limits, key=lambda name: limits[name])
    return Bound(limits[by], by)


def run(
    costs: Costs, cores: int, *, processes: int = 1, pages: int = 5000, in_hand: int = 256,
    seed: int = 1,
) -> float:  # fmt: skip
    """Pages a second, page by page: exponential times, `in_hand` pages a process under way.

    What waits for a core waits in line; a station that has none holds back what is behind it.
    """
    return _Machine(costs, cores, processes, in_hand, seed).run(pages)


class _Machine:
    def __init__(self, costs: Costs, cores: int, processes: int, in_hand: int, seed: int) -> None:
        half = costs.loop / 2  # before the reading, and after it
        road = [(LOOP, half), (PARSE, costs.parse), (LOOP, half), (FRONTIER, costs.frontier)]
        if costs.server:
            road.append((SERVER, costs.server))
        self.road = [(name, ms / 1000) for name, ms in road if ms]
        self.draw = Random(seed).expovariate
        self.cores = cores
        self.processes = processes
        self.waiting: dict[tuple[str, int], deque[tuple[int, int]]] = {}
        self.busy: set[tuple[str, int]] = set()
        self.line: deque[tuple[int, int]] = deque()  # (process, step) that want a core
        self.ends: list[tuple[float, int, int, int]] = []
        self.number = 0
        self.now = 0.0
        for process in range(processes):
            for _ in range(in_hand):
                self._arrive(process, 0)

    def run(self, pages: int) -> float:
        done, warm, began = 0, pages // 5, 0.0
        self._start()
        while done < pages + warm:
            self.now, _, process, step = heapq.heappop(self.ends)
            self._leave(process, step)
            if step + 1 < len(self.road):
                self._arrive(process, step + 1)
            else:
                done += 1
                if done == warm:
                    began = self.now
                self._arrive(process, 0)
            self._start()
        return pages / (self.now - began)

    def _place(self, process: int, step: int) -> tuple[str, int]:
        name = self.road[step][0]
        return name, 0 if name == SERVER else process

    def _arrive(self, process: int, step: int) -> None:
        name = self.road[step][0]
        place = self._place(process, step)
        if name != PARSE and place in self.busy:
            self.waiting.setdefault(place, deque()).append((process, step))
            return
        self.busy.add(place)
        self._want(process, step)

    def _want(self, process: int, step: int) -> None:
        if self.road[step][0] == SERVER:  # a machine of its own
            self._begin(process, step)
        else:
            self.line.append((process, step))

    def _start(self) -> None:
        while self.line and self.cores:
            self.cores -= 1
            self._begin(*self.line.popleft())

    def _begin(self, process: int, step: int) -> None:
        self.number += 1
        end = self.now + self.draw(1 / self.road[step][1])
        heapq.heappush(self.ends, (end, self.number, process, step))

    def _leave(self, process: int, step: int) -> None:
        name = self.road[step][0]
        if name != SERVER:
            self.cores += 1
        if name == PARSE:
            return
        place = self._place(process, step)
        if queue := self.waiting.get(place):
            self._want(*queue.popleft())
        else:
            self.busy.discard(place)
