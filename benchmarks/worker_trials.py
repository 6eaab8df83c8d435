"""The trials of `make bench-workers`: the same pages crawled in several ways, start to end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from benchmarks import divided_hosts, worker_steps
from crawler.bench.measured_run import BenchError
from crawler.bench.meter import ProcessCost
from crawler.demo.web import Web

CRAWL_TIMEOUT_S: Final = 1800.0
"""Seconds that one crawl may take."""

SETTINGS: Final = (
    "--fast", "--contact", "bench@example.com", "--json", "--no-report",
    "-s", "fetch.allow_networks=127.0.0.0/8",
)  # fmt: skip


class WorkerPlacement(msgspec.Struct, frozen=True):
    """A site. `web` None: no demo web, so what lies on which of its hosts is not known."""

    url: str
    web: Web | None = None


class WorkerCell(msgspec.Struct, frozen=True):
    """What is compared. `loops` 0: one, with its queue in a file."""

    site: str
    loops: int
    connections: int
    apart: int = 0  # so many crawls beside each other, each with hosts of its own and a file
    uneven: bool = False  # … of which one has half of the pages
    step: int = 0  # links leased, and visits settled, in one call; 0: as the product does

    @property
    def name(self) -> str:
        if self.apart:
            half = ", one with half of the pages" if self.uneven else ""
            return f"SQLite, hosts divided among {self.apart}{half}"
        if self.step:
            return f"{self.loops} worker{'s' * (self.loops > 1)}, steps of {self.step}"
        return f"Redis, {self.loops} loop{'s' * (self.loops > 1)}" if self.loops else "SQLite"


class WorkerGauges(msgspec.Struct, frozen=True):
    loop_cpu: float


class WorkerReport(msgspec.Struct, frozen=True):
    """Of a crawl's --json: what is compared, and the loop's CPU. `server` only of steps."""

    finish_reason: str
    pages: int
    gauges: WorkerGauges | None = None
    loop_cpu: float = 0.0
    server: worker_steps.Server | None = None

    @property
    def loop(self) -> float:
        return self.gauges.loop_cpu if self.gauges else self.loop_cpu


class WorkerTrial(msgspec.Struct, frozen=True):
    """One crawl, start and end included. CPU in seconds, memory in bytes."""

    pages: int
    wall: float
    cpu: float
    loop: float
    memory: int
    server: worker_steps.Server | None = None

    @property
    def rate(self) -> float:
        return self.pages / self.wall

    @property
    def ms(self) -> float:
        """CPU a page of all processes together, the server's too."""
        return 1000 * self.cpu / self.pages


def command(cell: WorkerCell, site: WorkerPlacement, folder: Path) -> list[str]:
    """How a cell is started, as a person would where a person can."""
    own = [sys.executable, "-m"]
    if cell.step:
        return [*own, "benchmarks.worker_steps", site.url, str(folder / "out"),
                *map(str, (cell.loops, cell.connections, cell.step))]  # fmt: skip
    words = [*SETTINGS, "-c", str(cell.connections)]
    if cell.apart:
        assert site.web is not None, "only a demo web's hosts are known before"
        lists = divided_hosts.write_lists(folder, site.web, cell.apart, uneven=cell.uneven)
        return [*own, "benchmarks.divided_hosts", *map(str, lists), "--", *words, "--scope", "host"]
    if cell.loops:
        words += ["--loops", str(cell.loops)]
    scope = "any" if site.web else "host"  # a manual names other sites, not reachable here
    return [*own, "crawler", "crawl", site.url, *words, "--scope", scope, "-O", str(folder / "out")]


def run(cell: WorkerCell, site: WorkerPlacement, folder: Path) -> WorkerTrial:
    """Crawl once. Raises BenchError when it did not come to its end."""
    cost = folder / "cost.json"
    meter = [sys.executable, "-m", "crawler.bench.meter", str(cost), str(CRAWL_TIMEOUT_S)]
    done = subprocess.run(  # noqa: S603 - ours
        [*meter, *command(cell, site, folder)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise BenchError(f"{cell.name} on {cell.site}: {done.stderr.strip()[-500:]}")
    reports = msgspec.json.decode(done.stdout, type=WorkerReport | list[WorkerReport])
    each = reports if isinstance(reports, list) else [reports]
    spent = msgspec.json.decode(cost.read_bytes(), type=ProcessCost)
    if ends := {one.finish_reason for one in each} - {"finished"}:
        raise BenchError(f"{cell.name} on {cell.site}: ended by {', '.join(sorted(ends))}")
    return WorkerTrial(
        sum(one.pages for one in each), spent.wall, spent.user + spent.system,
        sum(one.loop for one in each), spent.memory, each[0].server,
    )  # fmt: skip


def rounds(
    cells: Sequence[WorkerCell], sites: Mapping[str, WorkerPlacement], number: int
) -> dict[WorkerCell, list[WorkerTrial]]:
    """All trials. Raises BenchError when two found different numbers of pages."""
    trials: dict[WorkerCell, list[WorkerTrial]] = {cell: [] for cell in cells}
    pages: dict[str, int] = {}
    for turn in range(number):
        order = list(cells)
        Random(turn).shuffle(order)
        for cell in order:
            sys.stderr.write(f"round {turn + 1}/{number}: {cell.name}, {cell.connections} "
                             f"connections, {cell.site}\n")  # fmt: skip
            with TemporaryDirectory(prefix="bench-workers-") as folder:
                trial = run(cell, sites[cell.site], Path(folder))
            if trial.pages != pages.setdefault(cell.site, trial.pages):
                raise BenchError(
                    f"{cell.name} on {cell.site}: {trial.pages} pages, others {pages[cell.site]}"
                )
            trials[cell].append(trial)
    return trials
