"""What is measured: workloads, and the cells of the tables. Pure.

A cell is one variant on one workload at one width. The web of a cell is as large as the fastest
variant can crawl in a few seconds, so that starting up and the first few pages, when there is
little to fetch yet, weigh little; the sequential variant gets a smaller one of the same kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from crawler.bench.crawl_task import OWN, ParserName
from crawler.bench.variants import VARIANTS
from crawler.errors import ConfigError

MAX_RATE: Final = 2500  # pages/s of small pages: what no variant is far above on a core or two


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of site. Seconds and bytes; `docs` names installed documentation instead of a web."""

    name: str
    title: str
    latency: float = 0.0
    jitter: float = 0.0
    slow: float = 0.0  # share of bodies that come in drops, over half a second
    size: int = 8000
    links: int = 30
    hosts: int = 1
    tls: bool = False
    docs: str = ""
    speed: float = MAX_RATE  # pages/s that the web is sized for, if nothing else binds

    def flags(self, pages: int) -> dict[str, Any]:
        """Its demo web."""
        return {
            "pages": pages, "size": self.size, "links": self.links, "hosts": self.hosts,
            "latency": self.latency, "jitter": self.jitter, "slow": self.slow, "slow_for": 0.5,
            "spread": 0.5, "cache": 1024 * 1024 * 1024,
        }  # fmt: skip

    def pages(self, concurrency: int, seconds: float) -> int:
        """How many pages can be crawled in so many seconds, rounded so that webs are shared."""
        wait = self.latency + self.jitter / 2 + self.slow * 0.5
        rate = min(self.speed, concurrency / wait) if wait else self.speed
        wanted = max(20.0, rate * seconds, self.hosts * 5)
        return size(wanted)


def size(wanted: float) -> int:
    """The next of a few sizes, so that webs are shared."""
    return next(one for one in SIZES if one >= wanted or one == SIZES[-1])


SIZES: Final = (20, 40, 80, 150, 300, 600, 1000, 1500, 2500, 4000, 6000)

WORKLOADS: Final = {
    one.name: one
    for one in (
        Workload(name="latency-0", title="I/O-bound, 8 KB pages, no latency"),
        Workload(name="latency-20", title="I/O-bound, 8 KB pages, 20 ms", latency=0.02),
        Workload(name="latency-100", title="I/O-bound, 8 KB pages, 100 ms", latency=0.1),
        Workload(name="latency-500", title="I/O-bound, 8 KB pages, 500 ms", latency=0.5),
        Workload(name="jitter", title="I/O-bound, 20 to 180 ms", latency=0.02, jitter=0.16),
        Workload(name="slow-bodies", title="I/O-bound, every fifth body takes half a second",
                 latency=0.02, slow=0.2),
        Workload(name="cpu", title="CPU-bound, 120 KB pages with 150 links, no latency",
                 size=120_000, links=150, speed=400),
        Workload(name="mixed", title="mixed, 24 KB pages with 60 links, 20 ms",
                 size=24_000, links=60, latency=0.02, speed=1000),
        Workload(name="docs", title="mixed, the PostgreSQL manual, served by nginx",
                 docs="postgresql"),
        Workload(name="docs-apache", title="mixed, Apache's manual, served by nginx",
                 docs="apache"),
        Workload(name="docs-openjdk", title="mixed, Java's 10,000 pages of API, served by nginx",
                 docs="openjdk"),
        Workload(name="hosts-200", title="I/O-bound, 8 KB pages on 200 hosts, 20 ms",
                 hosts=200, latency=0.02),
        Workload(name="tls", title="I/O-bound, 8 KB pages, 20 ms, over TLS",
                 latency=0.02, tls=True),
    )
}  # fmt: skip


class BenchCell(msgspec.Struct, frozen=True):
    """One variant on one workload; `pages` is the size of its web, 0: as large as it is."""

    workload: str
    variant: str
    concurrency: int
    parser: ParserName = OWN
    pages: int = 0

    @property
    def place(self) -> str:
        """All of it but the variant: what is compared with each other."""
        return f"{self.workload} {self.concurrency} {self.parser}"

    @property
    def web(self) -> tuple[str, int]:
        """The web it crawls."""
        return self.workload, self.pages


class BenchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Cells and how often each is run; the rounds are interleaved."""

    cells: tuple[BenchCell, ...]
    rounds: int
    name: str = "custom"
    peers: bool = False
    peer_workloads: tuple[tuple[str, int], ...] = ()  # and connections; (): the default ones
    against: tuple[str, ...] = ()  # which of them; (): all that are installed
    scale: float = 1.0  # of the webs' sizes


DEFAULT_VARIANTS: Final = ("sequential", "threads", "threads+pool", "processes", "asyncio",
                           "asyncio+pool", "crawler")  # fmt: skip
WIDTHS: Final = (1, 4, 16, 64, 256, 1024)
PARSERS: Final[tuple[ParserName, ...]] = ("turbohtml", "lexbor", "lxml", "soup-lxml", "soup-html")


def quick() -> BenchPlan:
    """Three workloads, under two minutes on a quiet machine with two cores."""
    some = ("threads", "threads+pool", "asyncio", "asyncio+pool", "crawler")
    cells = [
        *_cells("latency-100", ("sequential", *some), (256,), seconds=0.8),
        *_cells("latency-0", some, (256,), seconds=0.6),
        *_cells("cpu", some, (64,), seconds=0.6),
    ]
    return BenchPlan(cells=tuple(cells), rounds=3, name="quick")


def full(*, docs: bool) -> BenchPlan:
    """Every axis. `docs`: the manual and nginx are installed."""
    cells: list[BenchCell] = []
    for name in ("latency-0", "latency-20", "latency-100", "latency-500"):
        cells += _cells(name, (*DEFAULT_VARIANTS, "threads-nogil"), (256,), seconds=1.5)
    cells += _cells("latency-100", (*DEFAULT_VARIANTS[1:], "threads-nogil"), WIDTHS, seconds=1.5)
    cells += _cells("latency-0", (*DEFAULT_VARIANTS[1:], "crawler+robots"), (64,), seconds=1.2)
    mixed = ("cpu", "mixed", "jitter", "slow-bodies", "hosts-200", "latency-20", "tls")
    for name in mixed + ("docs",) * docs:
        cells += _cells(name, (*DEFAULT_VARIANTS[1:], "threads-nogil"), (64,), seconds=1.2)
    for parser in PARSERS:
        pages = WORKLOADS["mixed"].pages(64, 0.3)
        cells += [
            BenchCell("mixed", variant, 64, parser, pages)
            for variant in ("threads", "threads+pool", "asyncio", "asyncio+pool")
        ]
    return BenchPlan(cells=tuple(dict.fromkeys(cells)), rounds=5, name="full", peers=True)


def narrowed(
    plan: BenchPlan,
    *,
    workloads: Sequence[str] = (),
    variants: Sequence[str] = (),
    concurrency: Sequence[int] = (),
    rounds: int | None = None,
    scale: float = 1.0,
) -> BenchPlan:
    """The plan narrowed, or another of what was named. Raises ConfigError for unknown names.

    `scale` makes the webs smaller or larger, for a first look or for a longer one.
    """
    _known("workload", workloads, WORKLOADS)
    _known("variant", variants, VARIANTS)
    cells = plan.cells
    if workloads or variants or concurrency:
        names = workloads or tuple(dict.fromkeys(cell.workload for cell in cells))
        who = variants or tuple(dict.fromkeys(cell.variant for cell in cells))
        widths = concurrency or (64,)
        cells = tuple(c for name in names for c in _cells(name, who, widths, seconds=1.5))
    name = plan.name if cells == plan.cells else "custom"
    cells = tuple(
        msgspec.structs.replace(c, pages=c.pages and size(c.pages * scale)) for c in cells
    )
    return BenchPlan(
        cells=cells, rounds=rounds or plan.rounds, name=name, peers=plan.peers, scale=scale
    )


def with_peers(
    plan: BenchPlan,
    *,
    only: bool,
    workloads: Sequence[str] = (),
    concurrency: Sequence[int] = (),
    against: Sequence[str] = (),
) -> BenchPlan:
    """The plan with other crawlers; `only`: without the variants. Raises ConfigError."""
    _known("workload", workloads, WORKLOADS)
    return msgspec.structs.replace(
        plan,
        peers=True,
        cells=() if only else plan.cells,
        peer_workloads=tuple((name, width) for name in workloads for width in concurrency or (64,)),
        against=tuple(against),
    )


def _known(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    for name in given:
        if name not in known:
            raise ConfigError(f"no {what} {name!r}; there are: {', '.join(known)}")


def _cells(
    name: str, variants: Sequence[str], widths: Sequence[int], *, seconds: float
) -> list[BenchCell]:
    workload = WORKLOADS[name]
    cells = []
    for width in widths:
        for one in variants:
            variant = VARIANTS[one]
            if width > variant.widest:
                continue
            at_a_time = 1 if variant.one_at_a_time else width
            pages = 0 if workload.docs else workload.pages(at_a_time, seconds)
            cells.append(BenchCell(name, one, width, pages=pages))
    return cells
