"""Compare one event loop with several: `make bench-workers`, `python -m benchmarks.worker_scaling`

The same crawl with its queue in a file (SQLite) and on a Redis that 1, 2, 4 loops share, each as a
person would start it, in interleaved rounds; beside them what was not built (hosts divided among
crawls, links passed on) and steps of other sizes; or, with --urls, the memory of a URL on Redis.
Prints Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from statistics import median
from typing import Final

from benchmarks import divided_hosts, link_handover
from benchmarks.queue_memory import QueueMemory, measure_memory, table
from benchmarks.worker_trials import WorkerCell, WorkerPlacement, WorkerTrial, rounds
from crawler.bench.measured_run import BenchError
from crawler.bench.sites import Nginx, documentation, unavailable_reason
from crawler.demo.process import DemoWeb
from crawler.errors import ConfigError
from crawler.parse.workers.pool import usable_cpus

PARTS: Final = ("loops", "divided", "steps")
COLUMNS: Final = (
    "| | connections | pages/s | | CPU a page, ms | of it loops | parsing, server, start "
    "| memory, MB |"
)
WEB: Final = "The demo web, {} hosts"


def report(trials: Mapping[WorkerCell, list[WorkerTrial]]) -> Iterator[str]:
    """The tables, in Markdown: medians, and the range of the rates."""
    for site in dict.fromkeys(cell.site for cell in trials):
        some = {cell: found for cell, found in trials.items() if cell.site == site}
        crawls = {cell: found for cell, found in some.items() if not cell.step}
        if crawls:
            yield _head(site, next(iter(crawls.values())))
            yield f"{COLUMNS}\n|---|--:|--:|--:|--:|--:|--:|--:|\n"
        for cell, found in crawls.items():
            yield f"| {cell.name} | {cell.connections} {_figures(found)}\n"
        steps = {cell: found for cell, found in some.items() if cell.step}
        if steps:
            yield _head(f"{site}, steps", next(iter(steps.values())))
            yield (
                f"{COLUMNS} calls a page | ms a page in them | one in 1,000 takes, ms |\n"
                "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
            )
        for cell, found in steps.items():
            asked = [(one.pages, one.server) for one in found if one.server is not None]
            calls = median(server.calls / pages for pages, server in asked)
            busy = median(server.busy / 1000 / pages for pages, server in asked)
            long = median(server.long / 1000 for _, server in asked)
            yield (
                f"| {cell.name} | {cell.connections} {_figures(found)} {calls:.2f} | {busy:.2f} "
                f"| {long:.1f} |\n"
            )


def _head(title: str, found: Sequence[WorkerTrial]) -> str:
    return (
        f"\n{title}: {found[0].pages:,} pages, {len(found)} rounds, {usable_cpus()} CPUs, "
        "start and end included; medians, and the range of the rates.\n\n"
    )


def _figures(found: Sequence[WorkerTrial]) -> str:
    rates = [one.rate for one in found]
    loop = median(1000 * one.loop / one.pages for one in found)
    rest = median(1000 * (one.cpu - one.loop) / one.pages for one in found)
    return (
        f"| {median(rates):,.0f} | {min(rates):,.0f}–{max(rates):,.0f} "
        f"| {median(one.ms for one in found):.2f} | {loop:.2f} | {rest:.2f} "
        f"| {median(one.memory for one in found) / 1e6:,.0f} |"
    )


def cells_of(given: argparse.Namespace, places: Mapping[str, WorkerPlacement]) -> list[WorkerCell]:
    """What is compared. The widest crawls only on the demo web: a manual is one host."""
    cells = []
    for site, place in places.items():
        widths = given.connections if place.web else given.connections[:1]
        if "loops" in given.parts:
            cells += [WorkerCell(site, n, wide) for wide in widths for n in (0, *given.loops)]
        if place.web and "divided" in given.parts:
            each = [(n, uneven) for n in given.divided for uneven in (False, n > 2)]
            narrow = given.connections[0]
            cells += [
                WorkerCell(site, 0, narrow, apart=n, uneven=u) for n, u in dict.fromkeys(each)
            ]
        if place.web and "steps" in given.parts:
            widest = given.connections[-1]
            cells += [WorkerCell(site, n, widest, step=s) for n in (1, 2) for s in given.steps]
    return cells


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0; 1 when a crawl failed; 2, by argparse, for what makes no sense."""
    parser = argparse.ArgumentParser("bench-workers", description="What several loops cost.")
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="of it all only these")
    add("--loops", type=int, nargs="+", default=[1, 2, 4], help="on Redis; SQLite runs always")
    add("--divided", type=int, nargs="+", default=[2, 4], help="crawls, each with its own hosts")
    add("--steps", type=int, nargs="+", default=[1, 8, 64, 256], help="links and visits in a call")
    add("--connections", type=int, nargs="+", default=[16, 256],
        help="of each loop; the last ones with --steps, which are bounded by them")  # fmt: skip
    add("--rounds", type=int, default=3)
    add("--pages", type=int, default=3000, help="of the demo web; 0: without it")
    add("--hosts", type=int, default=50, help="of the demo web")
    add("--docs", default="postgresql", help="a manual of this machine, by nginx; empty: without")
    add("--urls", type=int, default=0, help="measure the memory of so many URLs instead")
    add("--finish", type=int, default=1_000_000, help="… and of so many of them, once finished")
    add("--url-hosts", type=int, default=5000, help="… on so many hosts")
    given = parser.parse_args(arguments)
    least = (*given.loops, *given.connections, *given.steps, given.rounds, given.hosts)
    if min(*least, given.url_hosts) < 1:
        parser.error("--loops, --connections, --steps, --rounds, --hosts, --url-hosts: 1 or more")
    if min(given.divided) < 2 or max(given.divided) > given.hosts // 2:
        parser.error("--divided: 2 or more, and two hosts each")
    try:
        if given.urls:
            memory: QueueMemory = asyncio.run(
                measure_memory(given.urls, given.url_hosts, given.finish)
            )
            sys.stdout.write(table(memory))
            return 0
        with ExitStack() as stack:
            places = _places(stack, given.pages, given.hosts, given.docs)
            for piece in report(rounds(cells_of(given, places), places, given.rounds)):
                sys.stdout.write(piece)
        if "divided" in given.parts:
            sys.stdout.write(divided_hosts.imbalance_table())
            sys.stdout.write(link_handover.table())
    except (BenchError, ConfigError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _places(stack: ExitStack, pages: int, hosts: int, docs: str) -> dict[str, WorkerPlacement]:
    """Where to crawl, by name. What this machine lacks is said, and left out."""
    places = {}
    if pages:
        web = stack.enter_context(DemoWeb(pages=pages, hosts=hosts, broken=0.0))
        places[WEB.format(hosts)] = WorkerPlacement(web.url, web.web)
    if docs and (reason := unavailable_reason(docs)):
        sys.stderr.write(f"left out: {docs}: {reason}\n")
    elif docs:
        site = stack.enter_context(Nginx(documentation()[docs], log=False))
        places[f"The {docs} manual, one host"] = WorkerPlacement(site.url)
    if not places:
        raise BenchError("no site to crawl")
    return places


if __name__ == "__main__":
    sys.exit(main())
