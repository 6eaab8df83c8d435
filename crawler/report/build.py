"""A crawl's folder → the facts of its report: the frontier by SQL, pages.jsonl in one pass.

Bounded memory whatever the crawl's size, and the same answer whenever it is asked, also of a crawl
that was killed or is still running.
"""

from __future__ import annotations

import math
import time
import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec

from crawler.config.workdir import FRONTIER, SAVED
from crawler.frontier.sqlite.lookup import FrontierReader
from crawler.frontier.sqlite.statements import (
    DONE,
    FAILED,
    MOVED,
    QUEUED,
    RESTING,
    STATES,
    UNCHANGED,
)
from crawler.output.graph import NAME
from crawler.policy.plugin_stats import PluginStats, sentences
from crawler.report.broken import broken_links
from crawler.report.data import BarValue, DuplicateGroup, HostFigures, ReportData, TimeSlice
from crawler.report.page_records import PageRecords
from crawler.utils.units import unicode
from crawler.version import __version__

SLICES: Final = 96
TOP_HOSTS: Final = 50
LISTED: Final = 40
LISTED_BROKEN: Final = 500

TRIPS: Final = f"state IN ({DONE}, {MOVED}, {UNCHANGED}, {FAILED}) AND visited_at IS NOT NULL"
"""Links that somebody was really asked for."""

_UNASKED: Final = f"state NOT IN ({QUEUED}, {RESTING}, {DONE}, {MOVED}, {UNCHANGED}, {FAILED})"
"""Links that a rule stopped, where they were found, at their turn or in between."""


_READ: Final = f"state IN ({DONE}, {UNCHANGED}) AND digest IS NOT NULL AND bytes > 0"
"""A page that fails once keeps the digest it had: the next request is conditional."""


def gather(folder: Path, lines: PageRecords | None = None) -> ReportData:
    """`lines`: what was read of pages.jsonl already. Raises ConfigError when there is no crawl,
    FatalError when it cannot be read.
    """
    lines = lines or PageRecords()
    with FrontierReader(folder / FRONTIER) as book:
        lines.take(folder / "pages.jsonl")
        first, last = next(
            book.rows(
                f"SELECT min(visited_at), max(visited_at) FROM link WHERE {TRIPS}"  # noqa: S608 - our own words
            )
        )
        step, slices = _slices(book, first, last)
        number, broken = broken_links(folder, book, most=LISTED_BROKEN)
        groups, copies, twins = _twins(book)
        chains, chains_number = lines.chains()
        said = _summary(folder)
        counts = book.counts()
        states = dict.fromkeys(STATES, 0) | {
            STATES[state]: links
            for state, links in book.rows("SELECT state, count(*) FROM link GROUP BY state")
        }
        return ReportData(
            seeds=_seeds(folder),
            folder=unicode(folder.resolve().name),
            made_at=time.time(),
            version=__version__,
            runs=len(book.spans("pages")),
            first=first,
            last=last,
            finish_reason=said.get("finish_reason", ""),
            bottleneck=said.get("bottleneck", ""),
            lag_ms=_lag(said),
            states=states,
            pages=counts.pages,
            left=counts.left,
            bytes_wire=int(book.one("SELECT total(bytes) FROM link")),
            bytes_body=lines.bytes_body,
            hosts_seen=counts.hosts,
            statuses=_bars(book, "status", "status IS NOT NULL", order="1"),
            mimes=_top(lines.mimes),
            depths=_bars(book, "depth", TRIPS, order="1"),
            failures=_bars(book, "reason", f"state = {FAILED}", examples=True),
            skipped=_bars(book, "reason", f"{_UNASKED} AND reason IS NOT NULL", examples=True),
            traps=_traps(book),
            slices=slices,
            step=step,
            hosts=_hosts(book, lines),
            latency=_percentiles(lines.fetch) if lines.fetch.number else None,
            slowest=lines.slowest,
            largest=lines.largest,
            twins=twins,
            twins_groups=groups,
            twins_pages=copies,
            chains=chains,
            chains_number=chains_number,
            broken=tuple(broken),
            broken_number=number,
            records=lines.records,
            problems=_top(lines.problems),
            has_pages=lines.read,
            has_graph=(folder / NAME).exists(),
            incomplete=_bars(book, "reason", f"state = {DONE} AND reason NOT NULL", examples=True),
            plugins=_plugins(said),
        )


def _bars(
    book: FrontierReader, column: str, where: str, *, order: str = "2 DESC", examples: bool = False
) -> tuple[BarValue, ...]:
    example = "min(url)" if examples else "''"
    rows = book.rows(
        f"SELECT {column}, count(*), {example} FROM link WHERE {where} "  # noqa: S608 - our own words
        f"GROUP BY 1 ORDER BY {order} LIMIT {LISTED}"
    )
    return tuple(BarValue(str(name), number, example) for name, number, example in rows)


def _top(counts: Any) -> tuple[BarValue, ...]:
    return tuple(BarValue(name, number) for name, number in counts.most_common(LISTED // 2))


def _traps(book: FrontierReader) -> tuple[BarValue, ...]:
    rows = book.rows(
        "SELECT host.name || ' · ' || link.reason, count(*), min(link.url) FROM link "  # noqa: S608
        f"JOIN host ON host.id = link.host WHERE {_UNASKED} AND link.reason LIKE 'trap:%' "
        "GROUP BY link.host, link.reason ORDER BY 2 DESC LIMIT ?",
        LISTED,
    )
    return tuple(BarValue(name, number, example) for name, number, example in rows)


def _slices(
    book: FrontierReader, first: float | None, last: float | None
) -> tuple[float, tuple[TimeSlice, ...]]:
    """The time line in steps of whole seconds where there are that many."""
    if first is None or last is None:
        return 1.0, ()
    step = max((last - first) / SLICES, 0.1)
    if step > 1:
        step = float(math.ceil(step))
    number = int((last - first) / step) + 1
    table = [(0, 0, 0)] * number
    for place, visits, failed, volume in book.rows(
        "SELECT CAST((visited_at - ?) / ? AS INTEGER), count(*), sum(state = ?), total(bytes) "  # noqa: S608
        f"FROM link WHERE {TRIPS} GROUP BY 1",
        first, step, FAILED,
    ):  # fmt: skip
        if 0 <= place < number:
            table[place] = visits, failed, int(volume)
    return step, tuple(TimeSlice(first + i * step, *row) for i, row in enumerate(table))


def _twins(book: FrontierReader) -> tuple[int, int, tuple[DuplicateGroup, ...]]:
    """Groups of pages with the same body: their number, the copies in them, the largest."""
    groups, copies = next(
        book.rows(
            "SELECT count(*), total(n) FROM (SELECT count(*) AS n FROM link "  # noqa: S608
            f"WHERE {_READ} GROUP BY digest HAVING n > 1)"
        )
    )
    largest = list(
        book.rows(
            f"SELECT digest, count(*) AS n FROM link WHERE {_READ} "  # noqa: S608 - our own words
            "GROUP BY digest HAVING n > 1 ORDER BY n DESC LIMIT 20"
        )
    )
    if not largest:
        return 0, 0, ()
    marks = ",".join("?" * len(largest))
    urls: dict[str, list[str]] = {digest: [] for digest, _ in largest}
    for digest, url in book.rows(
        f"SELECT digest, url FROM link WHERE {_READ} AND digest IN ({marks})",  # noqa: S608 - ?s only
        *urls,
    ):
        if len(urls[digest]) < 5:
            urls[digest].append(url)
    return (
        groups,
        int(copies),
        tuple(DuplicateGroup(n, tuple(urls[digest])) for digest, n in largest),
    )


def _hosts(book: FrontierReader, lines: PageRecords) -> tuple[HostFigures, ...]:
    rows = []
    now = time.time()
    for name, visits, failed, busy, volume, first, last, delay, rest in book.rows(
        "SELECT name, visits, failed, busy, volume, first, last, "  # noqa: S608 - our own words
        "(SELECT max(delay) FROM robots WHERE robots.host = host.id), rest_until FROM "
        "(SELECT host AS number, count(*) AS visits, sum(state = ?) AS failed, "
        "sum(status IN (429, 503)) AS busy, total(bytes) AS volume, min(visited_at) AS first, "
        f"max(visited_at) AS last FROM link WHERE {TRIPS} "
        "GROUP BY host ORDER BY 2 DESC LIMIT ?) JOIN host ON host.id = number ORDER BY visits DESC",
        FAILED, TOP_HOSTS,
    ):  # fmt: skip
        histogram = lines.hosts.get(name)
        p50, p95, p99 = _percentiles(histogram) if histogram else (None, None, None)
        rows.append(
            HostFigures(
                name, visits, failed or 0, busy or 0, int(volume), p50, p95, p99, delay,
                visits / max(last - first, 1.0), max(0.0, rest - now),
            )
        )  # fmt: skip
    return tuple(rows)


def _percentiles(histogram: Any) -> tuple[float, float, float]:
    return histogram.percentile(0.5), histogram.percentile(0.95), histogram.percentile(0.99)


def _seeds(folder: Path) -> tuple[str, ...]:
    try:
        tree = tomllib.loads((folder / SAVED).read_text("utf-8"))
    except (OSError, ValueError):
        return ()
    return tuple(str(seed) for seed in tree.get("seeds", ())[:20])


def _summary(folder: Path) -> dict[str, Any]:
    """What the last run said at its end; nothing when it was killed."""
    try:
        tree = msgspec.json.decode((folder / "summary.json").read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _plugins(said: dict[str, Any]) -> tuple[str, ...]:
    try:
        sums = msgspec.convert(said.get("plugins", []), list[PluginStats])
    except msgspec.ValidationError:  # another version's
        return ()
    return tuple(sentences(sums))


def _lag(said: dict[str, Any]) -> tuple[float, float] | None:
    gauges = said.get("gauges")
    return (gauges["lag_mean_ms"], gauges["lag_max_ms"]) if gauges else None
