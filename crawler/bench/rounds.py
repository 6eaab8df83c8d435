"""Runs a plan: every cell once a round, neighbours in time for what is compared (A B A B)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from random import Random

from crawler.bench.measured_run import BenchError, MeasuredRun, free_threaded, run_cell
from crawler.bench.plan import WORKLOADS, BenchCell, BenchPlan
from crawler.bench.site_pool import SitePool
from crawler.bench.sites import unavailable_reason
from crawler.parse.workers.pool import usable_cpus

Progress = Callable[[str], None]
"""Told what is about to run."""


def runnable(plan: BenchPlan) -> tuple[list[BenchCell], list[str]]:
    """The cells that this machine can run, and why it cannot run the others."""
    reasons: dict[str, str] = {}
    wanted = {cell.variant for cell in plan.cells}
    if "threads-nogil" in wanted and (without := free_threaded()[1]):
        reasons["threads-nogil"] = without
    for name in dict.fromkeys(cell.workload for cell in plan.cells):
        docs = WORKLOADS[name].docs
        if docs and (reason := unavailable_reason(docs)):
            reasons[name] = reason
    cells = [c for c in plan.cells if c.variant not in reasons and c.workload not in reasons]
    return cells, [f"{name}: {reason}" for name, reason in reasons.items()]


def run_rounds(
    cells: Sequence[BenchCell], rounds: int, sites: SitePool, progress: Progress
) -> list[MeasuredRun]:
    """All runs. Raises BenchError when one fails or two found different pages."""
    trials: list[MeasuredRun] = []
    digests: dict[tuple[str, int], MeasuredRun] = {}
    processes = usable_cpus()
    for number in range(rounds):
        for cell in _shuffled(cells, number):
            progress(f"round {number + 1}/{rounds}: {cell.variant} on {cell.place}")
            site = sites.site(cell.workload, cell.pages)
            python = free_threaded()[0] if cell.variant == "threads-nogil" else sys.executable
            trial = run_cell(cell, site, number, processes=processes, python=python)
            first = digests.setdefault(cell.web, trial)
            if first.pages.digest != trial.pages.digest:
                raise BenchError(
                    f"{cell.variant} ({cell.parser}) and {first.cell.variant} "
                    f"({first.cell.parser}) differ on {cell.place}: "
                    f"{trial.pages.number} and {first.pages.number} pages"
                )
            trials.append(trial)
    return trials


def _shuffled(cells: Sequence[BenchCell], number: int) -> list[BenchCell]:
    """Places in their order; a place's variants in another each round: none is always last."""
    places: dict[str, list[BenchCell]] = {}
    for cell in cells:
        places.setdefault(f"{cell.workload} {cell.concurrency}", []).append(cell)
    random = Random(number)
    for some in places.values():
        random.shuffle(some)
    return [cell for some in places.values() for cell in some]
