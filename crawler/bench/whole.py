"""A whole benchmark: plan → rounds → figures → verdict."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from crawler.bench import machine
from crawler.bench.findings import rows
from crawler.bench.plan import BenchPlan
from crawler.bench.results import BenchResults, PeerRow
from crawler.bench.rounds import Progress, run_rounds, runnable
from crawler.bench.site_pool import SitePool
from crawler.bench.verdicts import verdicts
from crawler.parse.workers.pool import usable_cpus
from crawler.version import __version__


def run_plan(plan: BenchPlan, *, command: str, progress: Progress) -> BenchResults:
    """Measure and judge. Raises BenchError when a variant or peer fails or misses pages."""
    before, began = machine.load_average(), time.monotonic()
    cells, skipped = runnable(plan)
    peers: list[PeerRow] = []
    with SitePool() as sites:
        found = rows(cells, run_rounds(cells, plan.rounds, sites, progress))
        if plan.peers:
            from crawler.bench.peers.peer_benchmark import run_peers  # noqa: PLC0415 - many need no peers

            peers, without = run_peers(plan, progress)
            skipped += without
    return BenchResults(
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=command,
        revision=machine.revision(),
        version=__version__,
        machine=machine.current(usable_cpus()),
        plan=plan.name,
        rounds=plan.rounds,
        load=(before, machine.load_average()),
        seconds=time.monotonic() - began,
        rows=tuple(found),
        peers=tuple(peers),
        skipped=tuple(skipped),
        verdicts=tuple(verdicts(found, peers)),
    )
