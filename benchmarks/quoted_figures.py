"""Figures in prose, kept in step with the results, between comments that Markdown does not show.

    <!-- bench: rate latency-100 256 crawler -->1,234 pages/s<!-- / -->

`python -m benchmarks.quoted_figures docs/benchmarks FILE…` fills them in; a test compares. Words:

    rate|cpu|parse|memory|lag|switches WORKLOAD WIDTH VARIANT  a figure, with its unit
    faster|dearer WORKLOAD WIDTH VARIANT OTHER                 a ratio, in speed or CPU a page
    peer-rate|peer-cpu|peer-memory WORKLOAD WIDTH NAME         the same for crawlers, `_` for space
    peer-faster|peer-dearer WORKLOAD WIDTH NAME OTHER

A variant with another parser is written `asyncio/lxml`. Several webs of a workload: the largest.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from crawler.bench.charts import number
from crawler.bench.crawl_task import OWN
from crawler.bench.findings import FindingRow, dearer, faster
from crawler.bench.plan import WORKLOADS
from crawler.bench.report_writer import read
from crawler.bench.results import BenchResults, PeerRow
from crawler.errors import ConfigError

MARKED: Final = re.compile(r"(<!-- bench: ([^>]+?) -->)(.*?)(<!-- / -->)", re.DOTALL)
MISSING: Final = "(not measured)"

_FIGURES: Final[Mapping[str, Callable[[FindingRow], str]]] = {
    "rate": lambda row: f"{number(row.rate.median)} pages/s",
    "cpu": lambda row: f"{number(row.cpu.median)} ms",
    "parse": lambda row: f"{number(row.parse)} ms",
    "memory": lambda row: f"{number(row.memory)} MB",
    "lag": lambda row: f"{number(row.lag_ms[1])} ms" if row.lag_ms else MISSING,
    "switches": lambda row: number(row.switches + row.preempted),
}
_RATIOS: Final = {"faster": faster, "dearer": dearer}
_PEERS: Final[Mapping[str, Callable[[PeerRow], str]]] = {
    "peer-rate": lambda peer: f"{number(peer.rate.median)} pages/s",
    "peer-cpu": lambda peer: f"{number(peer.cpu.median)} ms",
    "peer-memory": lambda peer: f"{number(peer.memory)} MB",
}


def filled(text: str, results: BenchResults) -> str:
    """The text with every figure as the results have it. Raises ConfigError for words unknown."""
    return MARKED.sub(lambda m: f"{m[1]}{quote(m[2].split(), results)}{m[4]}", text)


def quote(words: Sequence[str], results: BenchResults) -> str:
    """One figure in words."""
    if len(words) not in {4, 5} or not words[2].isdigit() or words[1] not in WORKLOADS:
        raise ConfigError(f"bench: {' '.join(words)!r}: not a figure")
    what, workload, width, *names = words
    if what.startswith("peer-"):
        site = WORKLOADS[workload].title
        peers = [_peer(results, site, int(width), name.replace("_", " ")) for name in names]
        return _told_of_peers(what, [peer for peer in peers if peer is not None], len(names))
    rows = [_row(results, workload, int(width), name) for name in names]
    there = [row for row in rows if row is not None]
    if len(there) < len(names):
        return MISSING
    if what in _FIGURES and len(there) == 1:
        return _FIGURES[what](there[0])
    if what in _RATIOS and len(there) == 2:
        return f"×{_RATIOS[what](*there).median:.2f}"
    raise ConfigError(f"bench: {' '.join(words)!r}: not a figure")


def _told_of_peers(what: str, peers: Sequence[PeerRow], wanted: int) -> str:
    if len(peers) < wanted:
        return MISSING
    if what in _PEERS and wanted == 1:
        return _PEERS[what](peers[0])
    if what not in {"peer-faster", "peer-dearer"} or wanted != 2:
        raise ConfigError(f"bench: {what!r}: not a figure")
    one, other = peers
    speed = what == "peer-faster"
    ratio = one.rate.median / other.rate.median if speed else one.cpu.median / other.cpu.median
    return f"×{ratio:.2f}"


def _row(results: BenchResults, workload: str, width: int, name: str) -> FindingRow | None:
    variant, _, parser = name.partition("/")
    rows = [
        row
        for row in results.rows
        if (row.cell.workload, row.cell.concurrency) == (workload, width)
        and (row.cell.variant, row.cell.parser) == (variant, parser or OWN)
    ]
    return max(rows, key=lambda row: row.pages, default=None)


def _peer(results: BenchResults, site: str, width: int, name: str) -> PeerRow | None:
    return next(
        (p for p in results.peers if (p.site, p.concurrency, p.name) == (site, width, name)), None
    )


def main(folder: str, *files: str) -> None:
    """Fill the figures of files in."""
    results = read(Path(folder) / "results.json")
    for file in map(Path, files):
        file.write_text(filled(file.read_text("utf-8"), results), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
