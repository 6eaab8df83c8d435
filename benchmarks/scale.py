"""Plan a crawl of a billion pages: `make scale`, or `python -m benchmarks.scale --help`

Each table says which of three kinds its figures are:

    simulated   the real scheduler in virtual time over samples of the hosts (`virtual_schedule`),
                and one machine as a queueing network (`queueing_model`)
    computed    from host sizes (`site_sizes`, `fluid_model`) and figures per page and URL
    measured    those figures: `make crawl-million`, `benchmarks.host_memory`, docs/scale.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from math import ceil
from typing import Final

import msgspec

from benchmarks import fluid_model, queueing_model, virtual_schedule
from benchmarks.site_sizes import BETA, Sizes
from crawler.frontier.scheduling.slot_settings import SlotSettings

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
SHARES: Final = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
CORES: Final = (1, 2, 4, 8, 16, 32, 64)
SERVER_BUSY: Final = 0.6
"""Share of a Redis core that a plan may use: the rest is for rewrites and bursts."""
SERVER_MEMORY: Final = 12e9
"""Bytes of data that one server may hold: a rewrite of the append-only file copies what changes."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Figures per page, URL and host; docs/scale.md says where each comes from. Bytes; CPU ms."""

    loop: float = 0.34  # docs/performance.md: loop and executor's threads
    parse: float = 0.545  # … parse processes and fork server, 8 KB pages
    frontier: float = 0.065  # … SQLite's thread
    worker: float = 0.505  # … the loop of a Redis worker, which speaks to the server: 0.167 more
    server: float = 0.155  # CPU of Redis, 32 links a page
    seen: float = 10.7  # Redis: a URL that was finished
    pending: float = 97.0  # Redis: a URL that waits, the seen one included
    host: float = 529.0  # Redis: a host that was asked within a day
    host_here: float = 1750.0  # the schedule of one process: a host once visited, with more to do
    record: float = 1020.0  # a line of pages.jsonl
    graph: float = 450.0  # of graph.bin
    wire: float = 30_000.0  # a page's body as sent; an assumption, not measured


class ScalePlan(msgspec.Struct, frozen=True, kw_only=True):
    """The crawl to plan. Seconds; `price` of a machine-hour in any currency, 0: unknown."""

    sizes: Sizes
    delay: float = 0.25
    width: int = 2
    latency: float = 0.3
    machines: int = 8
    cores: int = 4  # of each
    most: float = float("inf")  # pages of one host
    price: float = 0.0
    measured: Measured = Measured()

    @property
    def worker(self) -> queueing_model.Costs:
        """A page of a worker on Redis."""
        m = self.measured
        return queueing_model.Costs(loop=m.worker, parse=m.parse, frontier=0.0, server=m.server)

    @property
    def processes(self) -> int:
        """Workers a machine: as many as its cores can keep busy."""
        return max(1, round(self.cores * self.worker.loop / self.worker.machine))

    @property
    def rate(self) -> float:
        """Pages a second that the machines can make; the server is sized for it."""
        alone = msgspec.structs.replace(self.worker, server=0.0)
        return self.machines * queueing_model.bound(alone, self.cores, self.processes).rate

    @property
    def terms(self) -> SlotSettings:
        return SlotSettings(width=self.width, delay=self.delay, adaptive=True)

    @property
    def pace(self) -> float:
        """Seconds between two requests to one host: its delay, or what its width allows."""
        return max(self.delay, self.latency / self.width)


class Agreement(msgspec.Struct, frozen=True):
    """The schedule on a sample beside the fluid on the same sample: seconds by share of pages."""

    run: virtual_schedule.VirtualRun
    course: fluid_model.FluidCourse

    @property
    def worst(self) -> float:
        """The largest relative difference between the two."""
        return max(abs(self.run.when(s) / self.course.when(s) - 1) for s in SHARES)


def agree(plan: ScalePlan, number: int) -> Agreement:
    """Simulate so many hosts of the plan, at their share of the machines' rate."""
    sizes = [min(size, int(min(plan.most, 1e12))) for size in plan.sizes.sample(number)]
    rate = plan.rate * number / plan.sizes.hosts
    run = virtual_schedule.simulate(sizes, plan.terms, rate=rate, latency=plan.latency)
    return Agreement(run, fluid_model.of_sample(sizes, delay=plan.pace, rate=rate))


def course(plan: ScalePlan) -> fluid_model.FluidCourse:
    """The whole crawl, computed."""
    return fluid_model.of_law(plan.sizes, delay=plan.pace, rate=plan.rate, most=plan.most)


def lower_bound(plan: ScalePlan) -> float:
    """Seconds that no schedule can beat: all requests at the full rate, or the largest host."""
    pages = plan.sizes.hosts * plan.sizes.capped(plan.most)
    largest = min(plan.sizes.largest, plan.most)
    return max((pages + plan.sizes.hosts) / plan.rate, largest * plan.pace)


# ── the report ───────────────────────────────────────────────────────────────────────────────────


def report(plan: ScalePlan, samples: Sequence[int]) -> Iterator[str]:
    """The report in Markdown, piece by piece, as it becomes known."""
    sizes = plan.sizes
    yield (
        f"{sizes.urls:,} pages on {sizes.hosts:,} hosts, sizes ∝ x^-{sizes.beta}: half of the "
        f"hosts have at most {sizes.quantile(0.5):,.0f} pages, 1 % more than "
        f"{sizes.quantile(0.99):,.0f}, the largest {sizes.largest:,.0f}.\n"
        f"Delay {plan.delay} s, {plan.width} at once, answers after {plan.latency} s; "
        f"{plan.machines} machines of {plan.cores} cores, {plan.processes} workers each: "
        f"{plan.rate:,.0f} pages/s when nothing waits.\n"
    )
    yield from _samples(plan, samples)
    yield from _time(plan)
    yield from _caps(plan)
    yield from _needs(plan)
    yield from _cores(plan)


def _samples(plan: ScalePlan, samples: Sequence[int]) -> Iterator[str]:
    yield "\n### The schedule against the fluid (simulated, hours of virtual time)\n\n"
    yield "| hosts | pages | | " + " | ".join(f"{s:.0%}" for s in SHARES) + " | shortest gap |\n"
    yield "|--:|--:|---|" + "--:|" * (len(SHARES) + 1) + "\n"
    for number in samples:
        both = agree(plan, number)
        run, flow = both.run, both.course
        for name, when in (("schedule", run.when), ("fluid", flow.when)):
            cells = " | ".join(f"{when(share) / HOUR:.2f}" for share in SHARES)
            gap = f"{run.gap:.3f} s" if name == "schedule" else ""
            yield f"| {run.hosts:,} | {run.pages:,} | {name} | {cells} | {gap} |\n"
        yield f"| | | | worst difference {both.worst:.2%} |" + " |" * len(SHARES) + "\n"


def _time(plan: ScalePlan) -> Iterator[str]:
    flow = course(plan)
    yield "\n### The whole crawl (computed by the fluid)\n\n| share done | after | pages/s then |\n"
    yield "|--:|--:|--:|\n"
    for share in SHARES:
        when = flow.when(share)
        rate = flow.rate(when * 0.99, when)
        yield f"| {share:.0%} | {_long(when)} | {rate:,.0f} |\n"
    yield f"\nNo schedule can end before {_long(lower_bound(plan))}.\n"


def _caps(plan: ScalePlan) -> Iterator[str]:
    yield "\n### With a bound on the pages of one host (computed)\n\n"
    yield "| pages of a host at most | of all pages | 99 % of these after | the last after |\n"
    yield "|--:|--:|--:|--:|\n"
    for most in (1e4, 1e5, 1e6, float("inf")):
        capped = msgspec.structs.replace(plan, most=most)
        flow = course(capped)
        name = f"{most:,.0f}" if most < plan.sizes.largest else "no bound"
        yield (
            f"| {name} | {flow.pages / plan.sizes.urls:.0%} | {_long(flow.when(0.99))} "
            f"| {_long(flow.seconds)} |\n"
        )


def _needs(plan: ScalePlan) -> Iterator[str]:
    m, sizes = plan.measured, plan.sizes
    flow = course(plan)
    pages, seconds = flow.pages, flow.when(0.9)
    hosts = sizes.hosts * m.host
    worst, end = sizes.urls * m.pending + hosts, sizes.urls * m.seen + hosts
    shards_ram = ceil(worst / SERVER_MEMORY)
    shards_cpu = ceil(plan.rate * m.server / 1000 / SERVER_BUSY)
    hours = plan.machines * seconds / HOUR
    yield "\n### What it takes (computed from measured figures)\n\n| | |\n|---|--:|\n"
    yield f"| Redis, if every URL waits at once | {worst / 1e9:,.0f} GB |\n"
    yield f"| Redis, when all are finished | {end / 1e9:,.0f} GB |\n"
    yield f"| … of which hosts | {hosts / 1e9:,.1f} GB |\n"
    yield f"| shards for memory, {SERVER_MEMORY / 1e9:.0f} GB each | {shards_ram} |\n"
    yield f"| shards for CPU, {SERVER_BUSY:.0%} of a core each | {shards_cpu} |\n"
    yield f"| one process's schedule instead | {sizes.hosts * m.host_here / 1e9:,.0f} GB |\n"
    yield f"| network, on average at the full rate | {plan.rate * m.wire * 8 / 1e9:,.1f} Gbit/s |\n"
    yield f"| records (JSONL) | {pages * m.record / 1e12:,.2f} TB |\n"
    yield f"| graph | {pages * m.graph / 1e12:,.2f} TB |\n"
    yield f"| archive, as sent | {pages * m.wire / 1e12:,.1f} TB |\n"
    disk = plan.rate / plan.machines * (m.record + m.graph)
    yield f"| … written a second by each machine, without the archive | {disk / 1e6:,.1f} MB |\n"
    yield f"| CPU | {pages * plan.worker.machine / 1000 / HOUR:,.0f} core-hours |\n"
    yield f"| until 90 % are done | {hours:,.0f} machine-hours |\n"
    if plan.price:
        yield f"| … at {plan.price:g} an hour | {hours * plan.price:,.0f} |\n"


def _cores(plan: ScalePlan) -> Iterator[str]:
    m = plan.measured
    alone = queueing_model.Costs(loop=m.loop, parse=m.parse, frontier=m.frontier)
    yield "\n### One machine, 1 to 64 cores (pages/s; computed bound, simulated)\n\n"
    yield "| cores | SQLite, one process | simulated | held by | Redis, workers | one server "
    yield "| simulated | held by |\n|--:|--:|--:|---|--:|--:|--:|---|\n"
    for cores in CORES:
        one = queueing_model.bound(alone, cores)
        workers = max(1, round(cores * plan.worker.loop / plan.worker.machine))
        many = queueing_model.bound(plan.worker, cores, workers)
        yield (
            f"| {cores} | {one.rate:,.0f} | {queueing_model.run(alone, cores):,.0f} | {one.by} "
            f"| {workers} | {many.rate:,.0f} "
            f"| {queueing_model.run(plan.worker, cores, processes=workers):,.0f} | {many.by} |\n"
        )


def _long(seconds: float) -> str:
    return f"{seconds / DAY:,.1f} days" if seconds >= 2 * DAY else f"{seconds / HOUR:,.1f} hours"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0; 2, by argparse, when what is asked for makes no sense."""
    parser = argparse.ArgumentParser("scale", description="What a crawl of a billion pages takes.")
    add = parser.add_argument
    add("--hosts", type=int, default=10_000_000)
    add("--urls", type=int, default=1_000_000_000)
    add("--beta", type=float, default=BETA, help="of the law of host sizes, between 1 and 2")
    add("--delay", type=float, default=0.25, help="seconds between two requests to a host")
    add("--latency", type=float, default=0.3, help="seconds that an answer takes")
    add("--machines", type=int, default=8)
    add("--cores", type=int, default=4, help="of each machine")
    add("--most", type=float, default=float("inf"), help="pages of one host at most")
    add("--price", type=float, default=0.0, help="of a machine-hour")
    add("--samples", type=int, nargs="*", default=[3000, 30_000], help="hosts that are simulated")
    given = parser.parse_args(arguments)
    for name in ("delay", "latency", "machines", "cores", "most"):
        if getattr(given, name) <= 0:
            parser.error(f"--{name} {getattr(given, name):g}: must be above 0")
    if any(not 0 < n <= given.hosts for n in given.samples):
        parser.error(f"--samples: between 1 and the hosts, {given.hosts:,}")
    try:
        sizes = Sizes(given.hosts, given.urls, given.beta)
    except ValueError as error:
        parser.error(str(error))
    plan = ScalePlan(
        sizes=sizes, delay=given.delay, latency=given.latency, machines=given.machines,
        cores=given.cores, most=given.most, price=given.price,
    )  # fmt: skip
    for piece in report(plan, given.samples):
        sys.stdout.write(piece)
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
