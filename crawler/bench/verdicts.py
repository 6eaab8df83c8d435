"""The figures in words: which approach wins where, by how much, and where it makes no difference.

Pure. A sentence is made only where its rows were measured, and says so when rounds disagree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from crawler.bench.findings import Ratio, Row, dearer, faster
from crawler.bench.plan import WORKLOADS
from crawler.bench.results import PeerRow
from crawler.charts import number

THREADED: Final = frozenset({"threads", "threads+pool"})
CONCURRENT: Final = ("threads", "threads+pool", "processes", "asyncio", "asyncio+pool", "crawler")


def verdicts(rows: Sequence[Row], peers: Sequence[PeerRow] = ()) -> list[str]:
    """Sentences, the most asked-for first."""
    places: dict[str, dict[str, Row]] = {}
    for row in rows:
        places.setdefault(row.cell.place, {})[row.cell.variant] = row
    said = [line for place in places.values() for line in _product(place)]
    for teller in (_winner, _pool, _durability, _robots, _lag, _gil):
        said += [line for place in places.values() for line in teller(place)]
    said += _parsers(rows)
    said += _tls(rows)
    said += _peers(peers)
    said += [
        f"Beware: on {_where(row)}, {row.cell.variant}: the site used {row.site:.0%} of a core, "
        "so the row may measure the site."
        for row in rows
        if row.site_bound
    ]
    return said


def _where(row: Row) -> str:
    cell = row.cell
    parser = "" if cell.parser == "lexbor" else f", read by {cell.parser}"
    return f"{WORKLOADS[cell.workload].says}, {cell.concurrency} connections{parser}"


def _product(place: dict[str, Row]) -> Iterator[str]:
    product = place.get("crawler")
    rivals = [place[name] for name in THREADED if name in place]
    if product is None or not rivals:
        return
    best = max(rivals, key=lambda row: row.rate.median)
    ratio, cost = faster(product, best), dearer(product, best)
    yield (
        f"{_where(product)}: crawler {_rate(product)} against {_rate(best)} of the best threaded "
        f"variant ({best.cell.variant}): {ratio} in speed; in CPU a page {cost}."
    )


def _winner(place: dict[str, Row]) -> Iterator[str]:
    some = [place[name] for name in CONCURRENT if name in place]
    if len(some) < 3:
        return
    ranked = sorted(some, key=lambda row: -row.rate.median)
    level = [row for row in ranked[1:] if not faster(ranked[0], row).real]
    last = ranked[-1]
    if len(level) == len(ranked) - 1:
        yield f"{_where(last)}: it makes no difference which of the concurrent variants is used."
        return
    tie = f" (level with it: {', '.join(row.cell.variant for row in level)})" if level else ""
    yield (
        f"{_where(last)}: {ranked[0].cell.variant} is first{tie}, {last.cell.variant} last by "
        f"{faster(ranked[0], last)}."
    )


def _pool(place: dict[str, Row]) -> Iterator[str]:
    for plain, pooled in (("asyncio", "asyncio+pool"), ("threads", "threads+pool")):
        if plain in place and pooled in place:
            ratio = faster(place[pooled], place[plain])
            cost = dearer(place[pooled], place[plain])
            yield (
                f"{_where(place[plain])}: reading in processes instead of in the "
                f"{'loop' if plain == 'asyncio' else 'threads'} ({pooled} / {plain}): {ratio} in "
                f"speed, {cost} in CPU a page."
            )


def _durability(place: dict[str, Row]) -> Iterator[str]:
    if "crawler" in place and "asyncio+pool" in place:
        product, bare = place["crawler"], place["asyncio+pool"]
        yield (
            f"{_where(product)}: what surviving a kill, retries, limits and records cost (crawler "
            f"/ asyncio+pool): {faster(product, bare)} in speed, {dearer(product, bare)} in CPU "
            "a page."
        )


def _robots(place: dict[str, Row]) -> Iterator[str]:
    if "crawler" in place and "crawler+robots" in place:
        ratio = faster(place["crawler+robots"], place["crawler"])
        yield f"{_where(place['crawler'])}: obeying robots.txt: {ratio} in speed."


def _lag(place: dict[str, Row]) -> Iterator[str]:
    inline, pooled = place.get("asyncio"), place.get("asyncio+pool")
    if inline is None or pooled is None or inline.lag_ms is None or pooled.lag_ms is None:
        return
    if inline.lag_ms[1] > 2 * pooled.lag_ms[1]:
        yield (
            f"{_where(inline)}: the loop woke {number(inline.lag_ms[1])} ms late (99th percentile) "
            f"when it also read the pages, {number(pooled.lag_ms[1])} ms when processes did."
        )


def _gil(place: dict[str, Row]) -> Iterator[str]:
    if "threads" in place and "threads-nogil" in place:
        ratio = faster(place["threads-nogil"], place["threads"])
        yield f"{_where(place['threads'])}: threads without a global lock: {ratio} in speed."


def _parsers(rows: Sequence[Row]) -> Iterator[str]:
    """Rows of one variant on one web by different parsers."""
    by_variant: dict[tuple[str, str, int, int], dict[str, Row]] = {}
    for row in rows:
        cell = row.cell
        key = (cell.variant, cell.workload, cell.concurrency, cell.pages)
        by_variant.setdefault(key, {})[cell.parser] = row
    for (variant, *_), by_parser in by_variant.items():
        best = by_parser.get("lexbor")
        if best is None or len(by_parser) < 2:
            continue
        others = [
            f"{name} ×{_ratio(best, row):.2f}"
            for name, row in by_parser.items()
            if name != "lexbor"
        ]
        yield (
            f"{variant} on {WORKLOADS[best.cell.workload].says}: lexbor against "
            f"{', '.join(others)} in speed."
        )


def _ratio(one: Row, other: Row) -> float:
    return faster(one, other).median


def _tls(rows: Sequence[Row]) -> Iterator[str]:
    plain = {
        (row.cell.variant, row.cell.concurrency): row
        for row in rows
        if row.cell.workload == "latency-20" and row.cell.parser == "lexbor"
    }
    for row in rows:
        bare = plain.get((row.cell.variant, row.cell.concurrency))
        if row.cell.workload == "tls" and bare is not None:
            ratio: Ratio = dearer(row, bare)
            yield f"TLS in {row.cell.variant}: {ratio} in CPU a page, {faster(row, bare)} in speed."


def _peers(peers: Sequence[PeerRow]) -> Iterator[str]:
    for site in dict.fromkeys((peer.site, peer.concurrency) for peer in peers):
        some = [peer for peer in peers if (peer.site, peer.concurrency) == site]
        product = next((peer for peer in some if peer.name == "crawler"), None)
        if product is None:
            continue
        for peer in some:
            if peer is not product:
                speed = product.rate.median / max(peer.rate.median, 1e-9)
                cost = product.cpu.median / max(peer.cpu.median, 1e-9)
                yield (
                    f"{peer.site}, {peer.concurrency} connections: crawler against {peer.name}: "
                    f"×{speed:.2f} in pages/s, ×{cost:.2f} in CPU a page."
                )


def _rate(row: Row) -> str:
    return f"{number(row.rate.median)} pages/s"
