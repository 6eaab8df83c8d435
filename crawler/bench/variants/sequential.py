"""One request after another. What everything else is measured against."""

from __future__ import annotations

from collections import deque

from crawler.bench.blocking import Client
from crawler.bench.haul import Haul
from crawler.bench.job import Job
from crawler.bench.reading import Reading


def run(job: Job, haul: Haul) -> None:
    """Breadth-first, with a list of what to do and a set of what was seen."""
    reading = Reading(job)
    todo, seen = deque([reading.seed]), {reading.seed}
    with haul.clock(), Client() as client:
        while todo:
            leaf = reading.read(client.get(todo.popleft()))
            haul.keep(leaf)
            for url in leaf.found:
                if url not in seen:
                    seen.add(url)
                    todo.append(url)
