"""The figures in words: which approach wins where, by how much, and where it makes no difference.

Pure. A sentence is made only where its rows were measured, and says so when rounds disagree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from crawler.bench.charts import number
from crawler.bench.crawl_task import OWN
from crawler.bench.findings import MIN_ROUNDS, FindingRow, Ratio, dearer, faster
from crawler.bench.plan import WORKLOADS
from crawler.bench.results import PeerRow

THREADED: Final = frozenset({"threads", "threads+pool"})
CONCURRENT: Final = ("threads", "threads+pool", "processes", "asyncio", "asyncio+pool", "crawler")
HEADLINES: Final = ("latency-100 @256", "latency-0 @256", "cpu @64", "docs @64")
"""Places whose figures are explained one by one; the others share a sentence."""


def verdicts(rows: Sequence[FindingRow], peers: Sequence[PeerRow] = ()) -> list[str]:
    """Sentences, the most asked-for first."""
    places: dict[str, dict[str, FindingRow]] = {}
    for row in rows:
        if row.cell.parser == OWN:
            places.setdefault(row.cell.place, {})[row.cell.variant] = row
    some = list(places.values())
    if any(row.runs < MIN_ROUNDS for row in rows):
        return [
            *_product(some), *_peers(peers),
            f"Fewer than {MIN_ROUNDS} rounds: there are figures, and no verdict on what is noise.",
        ]  # fmt: skip
    sentences = [*_product(some), *(line for place in some for line in _winner(place))]
    sentences += _against(
        some, "asyncio+pool", "asyncio", "Reading in processes instead of in the event loop"
    )
    sentences += _against(
        some, "threads+pool", "threads", "Reading in processes instead of in the threads"
    )
    sentences += _against(
        some, "asyncio", "threads", "One loop instead of threads, both reading inline"
    )
    sentences += _against(
        some,
        "asyncio+pool",
        "threads+pool",
        "One loop instead of threads, both reading in processes",
    )
    sentences += _against(
        some, "processes", "threads+pool", "Processes that fetch, instead of threads with a pool"
    )
    sentences += _against(
        some, "crawler", "asyncio+pool", "What surviving a kill, retries, limits and records cost"
    )
    sentences += _against(some, "crawler+robots", "crawler", "Obeying robots.txt")
    sentences += _against(some, "threads-nogil", "threads", "Threads without a global lock")
    sentences += _lag(some)
    sentences += [*_parsers(rows), *_tls(rows), *_peers(peers)]
    sentences += [
        f"Beware: {_at(row)}, {row.cell.variant}: the site used {row.site:.0%} of a core, "
        "so the row may measure the site."
        for row in rows
        if row.site_bound
    ]
    return sentences  # fmt: skip


def _at(row: FindingRow) -> str:
    return f"{row.cell.workload} @{row.cell.concurrency}"


def _product(places: Sequence[dict[str, FindingRow]]) -> Iterator[str]:
    """The product and the best that threads can do, wherever both ran."""
    every: list[tuple[str, Ratio]] = []
    for place in places:
        product = place.get("crawler")
        rivals = [place[name] for name in THREADED if name in place]
        if product is None or not rivals:
            continue
        best = max(rivals, key=lambda row: row.rate.median)
        every.append((_at(product), faster(product, best)))
        if len(places) > 3 and _at(product) not in HEADLINES:
            continue
        yield (
            f"{WORKLOADS[product.cell.workload].title}, {product.cell.concurrency} connections: "
            f"crawler {number(product.rate.median)} pages/s, the best threaded variant "
            f"({best.cell.variant}) {number(best.rate.median)}: {faster(product, best)} in speed, "
            f"{dearer(product, best)} in CPU a page. {_why(product, best)}"
        )
    if len(every) > 1 and every[0][1].rounds >= MIN_ROUNDS:
        yield f"The product against the best threaded variant, everywhere: {_sorted_out(every)}."


def _why(product: FindingRow, best: FindingRow) -> str:
    """Where the CPU time of a thousand pages went, and the context switches of a page."""

    def went(row: FindingRow) -> str:
        return (
            f"{number(row.loop)} s moving bytes and {number(row.parse)} s reading (of both, "
            f"{number(row.system)} s in the kernel), {number(row.switches + row.preempted)} "
            "context switches a page"
        )

    return f"For 1000 pages: crawler {went(product)}; {best.cell.variant} {went(best)}."


def _winner(place: dict[str, FindingRow]) -> Iterator[str]:
    some = [place[name] for name in CONCURRENT if name in place]
    if len(some) < 3:
        return
    ranked = sorted(some, key=lambda row: -row.rate.median)
    first, last = ranked[0], ranked[-1]
    level = [row for row in ranked[1:] if not faster(first, row).real]
    if len(level) == len(ranked) - 1:
        yield f"{_at(first)}: it makes no difference which of the concurrent variants is used."
        return
    tie = f", level with {', '.join(row.cell.variant for row in level)}" if level else ""
    ratio = faster(first, last)
    end = f"; {last.cell.variant} is last, ×{ratio.median:.2f} slower" if ratio.real else ""
    yield f"{_at(first)}: {first.cell.variant} is first{tie}{end}."


def _against(
    places: Sequence[dict[str, FindingRow]], one: str, other: str, title: str
) -> Iterator[str]:
    """One variant against another over all places, in a sentence."""
    pairs = [(place[one], place[other]) for place in places if one in place and other in place]
    if not pairs:
        return
    speed = [(_at(a), faster(a, b)) for a, b in pairs]
    cost = [dearer(a, b).median for a, b in pairs]
    yield (
        f"{title} ({one} / {other}): {_sorted_out(speed)}; CPU a page "
        f"×{min(cost):.2f} to ×{max(cost):.2f}."
    )


def _sorted_out(ratios: Sequence[tuple[str, Ratio]]) -> str:
    groups = {
        "faster at": [(at, ratio) for at, ratio in ratios if ratio.real and ratio.median > 1],
        "slower at": [(at, ratio) for at, ratio in ratios if ratio.real and ratio.median < 1],
        "no difference beyond the noise at": [(at, r) for at, r in ratios if not r.real],
    }
    return "; ".join(
        f"{words} {', '.join(f'{at} (×{ratio.median:.2f})' for at, ratio in some)}"
        for words, some in groups.items()
        if some
    )


def _lag(places: Sequence[dict[str, FindingRow]]) -> Iterator[str]:
    ratios = [
        f"{_at(inline)} {number(inline.lag_ms[1])} against {number(pooled.lag_ms[1])} ms"
        for place in places
        if (inline := place.get("asyncio")) and (pooled := place.get("asyncio+pool"))
        if inline.lag_ms and pooled.lag_ms
    ]
    if ratios:
        yield (
            "How late the loop wakes, 99th percentile, when it also reads the pages against when "
            f"processes do: {', '.join(ratios)}."
        )


def _parsers(rows: Sequence[FindingRow]) -> Iterator[str]:
    """Rows of one variant on one web by different parsers."""
    by_variant: dict[tuple[str, str, int, int], dict[str, FindingRow]] = {}
    for row in rows:
        cell = row.cell
        key = (cell.variant, cell.workload, cell.concurrency, cell.pages)
        by_variant.setdefault(key, {})[cell.parser] = row
    for (variant, *_), by_parser in by_variant.items():
        best = by_parser.get(OWN)
        if best is None or len(by_parser) < 2:
            continue
        others = [
            f"{name} ×{_ratio(best, row):.2f}" for name, row in by_parser.items() if name != OWN
        ]
        yield (
            f"{variant} on {WORKLOADS[best.cell.workload].title}: {OWN} against "
            f"{', '.join(others)} in speed."
        )


def _ratio(one: FindingRow, other: FindingRow) -> float:
    return faster(one, other).median


def _tls(rows: Sequence[FindingRow]) -> Iterator[str]:
    plain = {
        (row.cell.variant, row.cell.concurrency): row
        for row in rows
        if row.cell.workload == "latency-20" and row.cell.parser == OWN
    }
    for row in rows:
        bare = plain.get((row.cell.variant, row.cell.concurrency))
        if row.cell.workload == "tls" and bare is not None:
            ratio: Ratio = dearer(row, bare)
            yield f"TLS, {row.cell.variant}: CPU a page {ratio}; speed {faster(row, bare)}."


def _peers(peers: Sequence[PeerRow]) -> Iterator[str]:
    for site in dict.fromkeys((peer.site, peer.concurrency) for peer in peers):
        some = [peer for peer in peers if (peer.site, peer.concurrency) == site]
        product = next((peer for peer in some if peer.name == "crawler"), None)
        if product is None:
            continue
        ratios = [
            f"{peer.name} ×{product.rate.median / max(peer.rate.median, 1e-9):.2f} and "
            f"×{product.cpu.median / max(peer.cpu.median, 1e-9):.2f}"
            + (f" (it missed {peer.pages - peer.found})" if peer.found < peer.pages else "")
            for peer in some
            if peer is not product and not peer.is_limit
        ]
        yield (
            f"{product.site}, {product.concurrency} connections, start-up included: crawler's "
            f"pages/s and CPU a page as ratios to {', '.join(ratios)}."
        )
