"""Results as charts, by name. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from crawler.bench.charts import ChartBar, ChartSeries, bars, lines, number
from crawler.bench.crawl_task import OWN
from crawler.bench.findings import FindingRow
from crawler.bench.plan import WORKLOADS
from crawler.bench.results import BenchResults, PeerRow

COLOURS: Final = {
    "sequential": 8, "threads": 2, "threads+pool": 5, "processes": 4, "asyncio": 1,
    "asyncio+pool": 7, "crawler": 3, "crawler+robots": 3, "threads-nogil": 6,
}  # fmt: skip
"""The same variant, the same colour, on every chart."""

PARTS: Final = ("moving bytes: loop, threads, frontier", "reading pages")

Key = Callable[[FindingRow], float]


def charts(results: BenchResults) -> dict[str, str]:
    """SVG by name; what was not measured has no chart."""
    rows = [row for row in results.rows if row.cell.parser == OWN]
    return dict(
        [*_against_latency(rows), *_against_width(rows), *_approaches(rows),
         *_parsers(results.rows), *_peers(results.peers)]
    )  # fmt: skip


def _against_latency(rows: Sequence[FindingRow]) -> Iterator[tuple[str, str]]:
    some = [row for row in rows if row.cell.workload.startswith("latency-")]

    def latency(row: FindingRow) -> float:
        return WORKLOADS[row.cell.workload].latency * 1000

    for width in (256, 64):
        those = [row for row in some if row.cell.concurrency == width]
        if len({latency(row) for row in those}) < 2:
            continue
        yield "latency", lines(
            _series(those, latency),
            title=f"Throughput against the server's latency, {width} connections",
            x="latency, ms", y="pages/s", x_scale="steps", y_scale="log",
        )  # fmt: skip
        return


def _against_width(rows: Sequence[FindingRow]) -> Iterator[tuple[str, str]]:
    those = [row for row in rows if row.cell.workload == "latency-100"]
    those = [row for row in those if row.cell.variant != "sequential"]
    if len({row.cell.concurrency for row in those}) < 2:
        return

    def width(row: FindingRow) -> float:
        return row.cell.concurrency

    yield "concurrency", lines(
        _series(those, width), title="Throughput against concurrency, 100 ms of latency",
        x="connections", y="pages/s", x_scale="log", y_scale="log",
    )  # fmt: skip
    yield "memory", lines(
        [
            ChartSeries(name, tuple((width(r), r.memory) for r in some), strong=name == "crawler",
                   colour=COLOURS.get(name))
            for name, some in _by_variant(those, width)
        ],
        title="Peak memory of all processes against concurrency, 100 ms",
        x="connections", y="MB", x_scale="log", y_scale="log",
    )  # fmt: skip


def _approaches(rows: Sequence[FindingRow]) -> Iterator[tuple[str, str]]:
    """Per workload: speed, CPU by where it went, and the loop's lag."""
    places: dict[tuple[str, int], list[FindingRow]] = {}
    for row in rows:
        places.setdefault((row.cell.workload, row.cell.concurrency), []).append(row)
    for (name, width), some in places.items():
        if len(some) < 2 or (name == "latency-100" and width not in {64, 256}):
            continue
        where = f"{WORKLOADS[name].title}, {width} connections"
        yield f"{name}-{width}-speed", bars(
            [
                ChartBar(r.cell.variant, (r.rate.median,), (r.rate.low, r.rate.high),
                    strong=r.cell.variant == "crawler", note=f"({number(r.memory)} MB)")
                for r in some
            ],
            title="Speed",
            note=where, unit="pages/s",
        )  # fmt: skip
        yield f"{name}-{width}-cpu", bars(
            [
                ChartBar(row.cell.variant, (row.loop, row.parse),
                    strong=row.cell.variant == "crawler")
                for row in some
            ],
            title="CPU for 1000 pages",
            note=where, unit="s", parts=PARTS,
        )  # fmt: skip
        late = [row for row in some if row.lag_ms is not None]
        if name == "cpu" and late:
            yield f"{name}-{width}-lag", bars(
                [
                    ChartBar(r.cell.variant, (r.lag_ms[1],), strong=r.cell.variant == "crawler")
                    for r in late
                    if r.lag_ms is not None
                ],
                title="How late the event loop wakes, 99th percentile, heavy pages", unit="ms",
            )  # fmt: skip


def _parsers(rows: Sequence[FindingRow]) -> Iterator[tuple[str, str]]:
    others = [row for row in rows if row.cell.parser != OWN]
    webs = {(row.cell.web, row.cell.concurrency) for row in others}
    those = [row for row in rows if (row.cell.web, row.cell.concurrency) in webs]
    those.sort(key=lambda row: (row.cell.variant, -row.rate.median))
    if others:
        yield "parsers", bars(
            [
                ChartBar(f"{row.cell.parser} in {row.cell.variant}", (row.rate.median,),
                    (row.rate.low, row.rate.high), strong=row.cell.parser == OWN)
                for row in those
            ],
            title="Parsers, 24 KB pages", unit="pages/s",
        )  # fmt: skip


def _peers(peers: Sequence[PeerRow]) -> Iterator[tuple[str, str]]:
    for place in dict.fromkeys((peer.site, peer.concurrency) for peer in peers):
        some = [peer for peer in peers if (peer.site, peer.concurrency) == place]
        some.sort(key=lambda peer: (peer.is_limit, -peer.rate.median))
        where = f"{place[0]}, {place[1]} connections"
        sites = {workload.title: workload.name for workload in WORKLOADS.values()}
        name = f"peers-{sites[place[0]]}-{place[1]}"
        yield f"{name}-speed", bars(
            [
                ChartBar(_peer(peer), (peer.rate.median,), (peer.rate.low, peer.rate.high),
                    strong=peer.name.startswith("crawler"))
                for peer in some
                if not peer.is_limit
            ],
            title="Speed, start-up included",
            note=where, unit="pages/s",
        )  # fmt: skip
        yield f"{name}-cpu", bars(
            [
                ChartBar(_peer(peer), (peer.cpu.median,), (peer.cpu.low, peer.cpu.high),
                    strong=peer.name.startswith("crawler"), note=f"({number(peer.memory)} MB)")
                for peer in some
            ],
            title="CPU for 1000 pages, start-up included",
            note=where, unit="s",
        )  # fmt: skip


def _peer(peer: PeerRow) -> str:
    missed = peer.pages - peer.found
    return f"{peer.name}{f' (missed {missed})' if missed else ''}"


def _by_variant(rows: Sequence[FindingRow], x: Key) -> Iterator[tuple[str, list[FindingRow]]]:
    for name in dict.fromkeys(row.cell.variant for row in rows):
        yield name, sorted((row for row in rows if row.cell.variant == name), key=x)


def _series(rows: Sequence[FindingRow], x: Key) -> list[ChartSeries]:
    return [
        ChartSeries(
            name,
            tuple((x(row), row.rate.median) for row in some),
            tuple((row.rate.low, row.rate.high) for row in some),
            strong=name == "crawler",
            colour=COLOURS.get(name),
        )
        for name, some in _by_variant(rows, x)
    ]
