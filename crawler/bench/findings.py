"""From runs to figures: medians with their spread, and ratios that tell noise from a difference.

Pure. Runs of one round stand close in time, so variants are compared round by round: what slowed
the machine down in one round slowed all of it down.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

import msgspec

from crawler.bench.measured_run import MeasuredRun
from crawler.bench.plan import BenchCell

MIN_ROUNDS: Final = 3
"""Rounds below which noise and a difference cannot be told apart."""

MIN_DIFFERENCE: Final = 0.05
"""Less than this share is called no difference even where the rounds agree."""

SITE_CPU_SHARE_MAX: Final = 0.8
"""A site that used more of a core than this may have been what a row measured."""


class Spread(msgspec.Struct, frozen=True):
    """The median of some runs, the least and the most."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values))


class Ratio(msgspec.Struct, frozen=True):
    """One thing against another, round by round."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def real(self) -> bool:
        """Whether every round says the same, and more than a little; never of too few rounds."""
        agreed = self.low > 1 or self.high < 1
        return agreed and abs(self.median - 1) >= MIN_DIFFERENCE and self.rounds >= MIN_ROUNDS

    def __str__(self) -> str:
        if self.rounds < MIN_ROUNDS:
            return f"×{self.median:.2f} (too few rounds to tell it from noise)"
        if not self.real:
            return f"no difference beyond the noise (×{self.median:.2f}, {self._range})"
        return f"×{self.median:.2f} ({self._range})"

    @property
    def _range(self) -> str:
        return f"{self.low:.2f}–{self.high:.2f}"


class FindingRow(msgspec.Struct, frozen=True, kw_only=True):
    """A cell's figures. CPU in seconds for 1000 pages, memory in MB, times in ms, shares of 1.

    `rate`, `cpu` and its parts are of the crawl itself; `whole_cpu` and `whole_rate` count
    starting up and closing down too. `site` is the share of one core that the site used.
    """

    cell: BenchCell
    runs: int
    pages: int
    rate: Spread
    rates: tuple[float, ...]
    megabytes: float  # a second, bodies as sent
    wall: float
    cpu: Spread
    cpus: tuple[float, ...]
    loop: float  # all that is not reading: the loop, or the threads that fetch
    parse: float
    system: float  # the kernel's part of both
    whole_rate: float
    whole_cpu: float
    memory: float
    processes: int
    threads: int
    tasks: int
    switches: float  # voluntary, a page
    preempted: float  # involuntary, a page
    fetch_ms: tuple[float, float, float]
    lag_ms: tuple[float, float, float] | None
    site: float

    @property
    def site_bound(self) -> bool:
        return self.site > SITE_CPU_SHARE_MAX


def rows(cells: Sequence[BenchCell], trials: Sequence[MeasuredRun]) -> list[FindingRow]:
    """A row a cell that was run, in the plan's order."""
    by_cell: dict[BenchCell, list[MeasuredRun]] = {cell: [] for cell in cells}
    for trial in trials:
        by_cell[trial.cell].append(trial)
    return [_row(cell, runs) for cell, runs in by_cell.items() if runs]


def _row(cell: BenchCell, trials: Sequence[MeasuredRun]) -> FindingRow:
    runs = sorted(trials, key=lambda trial: trial.round)
    pages = runs[0].pages.number
    thousand = 1000 / pages
    insides, costs = [run.inside for run in runs], [run.cost for run in runs]
    rates = [pages / one.wall for one in insides]
    cpus = [(one.user + one.system) * thousand for one in insides]
    lags = [one.lag_ms for one in insides if one.lag_ms is not None]
    return FindingRow(
        cell=cell,
        runs=len(runs),
        pages=pages,
        rate=Spread.of(rates),
        rates=tuple(rates),
        megabytes=median(one.bytes_body / one.wall for one in insides) / 1e6,
        wall=median(one.wall for one in insides),
        cpu=Spread.of(cpus),
        cpus=tuple(cpus),
        loop=median(one.user + one.system - one.parse_cpu for one in insides) * thousand,
        parse=median(one.parse_cpu for one in insides) * thousand,
        system=median(one.system for one in insides) * thousand,
        whole_rate=median(pages / one.wall for one in costs),
        whole_cpu=median(one.user + one.system for one in costs) * thousand,
        memory=median(one.memory for one in costs) / 1e6,
        processes=max(one.processes for one in costs),
        threads=max(one.threads for one in costs),
        tasks=max(one.tasks for one in insides),
        switches=median(one.switches for one in costs) / pages,
        preempted=median(one.preempted for one in costs) / pages,
        fetch_ms=_each_median([one.fetch_ms for one in insides]),
        lag_ms=_each_median(lags) if lags else None,
        site=median(run.site / run.inside.wall for run in runs),
    )


def _each_median(triples: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    one, two, three = (median(values) for values in zip(*triples, strict=True))
    return one, two, three


def faster(one: FindingRow, other: FindingRow) -> Ratio:
    """Pages a second of one against another."""
    return _ratio(one.rates, other.rates)


def dearer(one: FindingRow, other: FindingRow) -> Ratio:
    """CPU a page of one against another."""
    return _ratio(one.cpus, other.cpus)


def _ratio(ones: Sequence[float], others: Sequence[float]) -> Ratio:
    pairs = [one / max(other, 1e-9) for one, other in zip(ones, others, strict=False)]
    return Ratio(median(pairs), min(pairs), max(pairs), len(pairs))
