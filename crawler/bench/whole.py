"""A whole benchmark: plan → rounds → figures → verdict."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from crawler import __version__
from crawler.bench import machine
from crawler.bench.findings import rows
from crawler.bench.plan import Plan
from crawler.bench.results import PeerRow, Results
from crawler.bench.rounds import Progress, run_rounds, runnable
from crawler.bench.stage import Stage
from crawler.bench.verdicts import verdicts
from crawler.parse.pool import usable_cpus


def run_plan(plan: Plan, *, command: str, progress: Progress) -> Results:
    """Measure and judge. Raises BenchError when somebody did not do the work."""
    before, began = machine.load(), time.monotonic()
    cells, skipped = runnable(plan)
    peers: list[PeerRow] = []
    with Stage() as stage:
        found = rows(cells, run_rounds(cells, plan.rounds, stage, progress))
        if plan.peers:
            from crawler.bench.peers.race import race  # noqa: PLC0415 - many need no peers

            peers, without = race(plan, progress)
            skipped += without
    return Results(
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=command,
        revision=machine.revision(),
        version=__version__,
        machine=machine.this(usable_cpus()),
        plan=plan.name,
        rounds=plan.rounds,
        load=(before, machine.load()),
        seconds=time.monotonic() - began,
        rows=tuple(found),
        peers=tuple(peers),
        skipped=tuple(skipped),
        verdicts=tuple(verdicts(found, peers)),
    )
