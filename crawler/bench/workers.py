"""What several loops cost and bring: `make bench-workers`, `python -m crawler.bench.workers --help`

The same crawl with its queue in a file (SQLite) and on a Redis that 1, 2, 4 loops share, each as a
person would start it, in interleaved rounds; or, with --urls, the memory of a URL on Redis. Prints
Markdown.

No setting is a batch size. What is leased in one step, and what waits for the next commit, is
bounded by the connections that are open: so these are varied (at most 64 visits are settled in a
step).
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from crawler.bench.demo import DemoWeb
from crawler.bench.meter import Cost
from crawler.bench.queue_memory import Memory, table, weigh
from crawler.bench.sites import Nginx, documentation, lacking
from crawler.bench.trial import BenchError
from crawler.errors import ConfigError
from crawler.parse.pool import usable_cpus

LIMIT: Final = 1800.0
"""Seconds that one crawl may take."""

SETTINGS: Final = (
    "--fast", "--scope", "any", "--contact", "bench@example.com", "--json", "--no-report",
    "-s", "fetch.allow_networks=127.0.0.0/8",
)  # fmt: skip


class Cell(msgspec.Struct, frozen=True):
    """What is compared. `loops` 0: one, with its queue in a file."""

    site: str
    loops: int
    connections: int

    @property
    def name(self) -> str:
        return f"Redis, {self.loops} loop{'s' * (self.loops > 1)}" if self.loops else "SQLite"


class Gauges(msgspec.Struct, frozen=True):
    loop_cpu: float
    child_cpu: float


class Said(msgspec.Struct, frozen=True):
    """Of a crawl's --json: what is compared, and where the CPU went."""

    finish_reason: str
    pages: int
    visits: int
    gauges: Gauges | None = None
    loop_cpu: float = 0.0
    child_cpu: float = 0.0


class Trial(msgspec.Struct, frozen=True):
    """One crawl, start and end included. CPU in seconds, memory in bytes."""

    pages: int
    wall: float
    cpu: float
    loop: float
    parse: float
    memory: int

    @property
    def rate(self) -> float:
        return self.pages / self.wall

    @property
    def ms(self) -> float:
        """CPU a page of all processes together, the server's too."""
        return 1000 * self.cpu / self.pages


def run(cell: Cell, url: str, room: Path) -> Trial:
    """Crawl once. Raises BenchError when it did not come to its end."""
    out, cost = room / "out", room / "cost.json"
    words = [
        sys.executable, "-m", "crawler.bench.meter", str(cost), str(LIMIT),
        sys.executable, "-m", "crawler", "crawl", url, *SETTINGS,
        "-c", str(cell.connections), "-O", str(out),
    ]  # fmt: skip
    if cell.loops:
        words += ["--loops", str(cell.loops)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)  # noqa: S603 - ours
    if done.returncode:
        raise BenchError(f"{cell.name} on {cell.site}: {done.stderr.strip()[-500:]}")
    said = msgspec.json.decode(done.stdout, type=Said)
    spent = msgspec.json.decode(cost.read_bytes(), type=Cost)
    if said.finish_reason != "finished":
        raise BenchError(f"{cell.name} on {cell.site}: ended by {said.finish_reason}")
    here = said.gauges or Gauges(said.loop_cpu, said.child_cpu)
    return Trial(
        said.pages, spent.wall, spent.user + spent.system, here.loop_cpu, here.child_cpu,
        spent.memory,
    )  # fmt: skip


def rounds(cells: Sequence[Cell], sites: dict[str, str], number: int) -> dict[Cell, list[Trial]]:
    """All trials. Raises BenchError when two did not bring home the same number of pages."""
    trials: dict[Cell, list[Trial]] = {cell: [] for cell in cells}
    pages: dict[str, int] = {}
    for turn in range(number):
        order = list(cells)
        Random(turn).shuffle(order)
        for cell in order:
            sys.stderr.write(f"round {turn + 1}/{number}: {cell.name}, {cell.connections} "
                             f"connections, {cell.site}\n")  # fmt: skip
            with TemporaryDirectory(prefix="bench-workers-") as room:
                trial = run(cell, sites[cell.site], Path(room))
            if trial.pages != pages.setdefault(cell.site, trial.pages):
                raise BenchError(
                    f"{cell.name} on {cell.site}: {trial.pages} pages, others {pages[cell.site]}"
                )
            trials[cell].append(trial)
    return trials


def told(trials: dict[Cell, list[Trial]]) -> Iterator[str]:
    """The tables, in Markdown: medians, and the range of the rates."""
    for site in dict.fromkeys(cell.site for cell in trials):
        some = {cell: found for cell, found in trials.items() if cell.site == site}
        first = next(iter(some.values()))
        yield (
            f"\n{site}: {first[0].pages:,} pages, {len(first)} rounds, {usable_cpus()} CPUs, "
            "start and end included; medians, and the range of the rates.\n\n"
            "| | connections | pages/s | | CPU a page, ms | loops | parse | server and rest "
            "| memory, MB |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
        )
        for cell, found in some.items():
            rates = [one.rate for one in found]
            loop = median(1000 * one.loop / one.pages for one in found)
            parse = median(1000 * one.parse / one.pages for one in found)
            rest = median(1000 * (one.cpu - one.loop - one.parse) / one.pages for one in found)
            yield (
                f"| {cell.name} | {cell.connections} | {median(rates):,.0f} "
                f"| {min(rates):,.0f}–{max(rates):,.0f} | {median(one.ms for one in found):.2f} "
                f"| {loop:.2f} | {parse:.2f} | {rest:.2f} "
                f"| {median(one.memory for one in found) / 1e6:,.0f} |\n"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0; 1 when a crawl failed; 2, by argparse, for what makes no sense."""
    parser = argparse.ArgumentParser("bench-workers", description="What several loops cost.")
    add = parser.add_argument
    add("--loops", type=int, nargs="+", default=[1, 2, 4], help="on Redis; SQLite runs always")
    add("--connections", type=int, nargs="+", default=[16, 64, 256], help="of each loop")
    add("--rounds", type=int, default=3)
    add("--pages", type=int, default=3000, help="of the demo web; 0: without it")
    add("--hosts", type=int, default=50, help="of the demo web")
    add("--docs", default="postgresql", help="a manual of this machine, by nginx; empty: without")
    add("--urls", type=int, default=0, help="measure the memory of so many URLs instead")
    add("--finish", type=int, default=1_000_000, help="… and of so many of them, once finished")
    add("--url-hosts", type=int, default=5000, help="… on so many hosts")
    given = parser.parse_args(arguments)
    if min([*given.loops, *given.connections, given.rounds, given.hosts, given.url_hosts]) < 1:
        parser.error("--loops, --connections, --rounds, --hosts, --url-hosts: 1 or more")
    try:
        if given.urls:
            memory: Memory = asyncio.run(weigh(given.urls, given.url_hosts, given.finish))
            sys.stdout.write(table(memory))
            return 0
        with ExitStack() as stack:
            sites = _sites(stack, given.pages, given.hosts, given.docs)
            cells = [
                Cell(site, loops, connections)
                for site in sites
                for connections in given.connections
                for loops in (0, *given.loops)
            ]
            for piece in told(rounds(cells, sites, given.rounds)):
                sys.stdout.write(piece)
    except (BenchError, ConfigError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _sites(stack: ExitStack, pages: int, hosts: int, docs: str) -> dict[str, str]:
    """Where to crawl, by name. What this machine lacks is said, and left out."""
    sites = {}
    if pages:
        web = stack.enter_context(DemoWeb(pages=pages, hosts=hosts, broken=0.0))
        sites[f"The demo web, {hosts} hosts"] = web.url
    if docs and (reason := lacking(docs)):
        sys.stderr.write(f"left out: {docs}: {reason}\n")
    elif docs:
        site = stack.enter_context(Nginx(documentation()[docs], log=False))
        sites[f"The {docs} manual, one host"] = site.url
    if not sites:
        raise BenchError("no site to crawl")
    return sites


if __name__ == "__main__":
    sys.exit(main())
