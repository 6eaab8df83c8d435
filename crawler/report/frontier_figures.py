"""Figures of the report that are queried from the frontier."""

from __future__ import annotations

import math
import time
from typing import Any, Final

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
from crawler.report.data import BarValue, DuplicateGroup, HostFigures, TimeSlice
from crawler.report.page_records import PageRecords

MAX_TIME_SLICES: Final = 96
"""Bars of the time line."""

MAX_HOSTS_LISTED: Final = 50
"""Hosts in the table."""

MAX_BARS: Final = 40
"""Rows of a distribution."""

VISITED: Final = f"state IN ({DONE}, {MOVED}, {UNCHANGED}, {FAILED}) AND visited_at IS NOT NULL"
"""SQL condition: links that were requested."""

NOT_REQUESTED: Final = f"state NOT IN ({QUEUED}, {RESTING}, {DONE}, {MOVED}, {UNCHANGED}, {FAILED})"
"""SQL condition: links that a rule stopped, when they were found, when leased or in between."""

_WITH_BODY: Final = f"state IN ({DONE}, {UNCHANGED}) AND digest IS NOT NULL AND bytes > 0"
"""SQL condition: pages with a body. A page that fails once keeps its digest, because the next
request is conditional."""


def visit_times(reader: FrontierReader) -> tuple[float | None, float | None]:
    """Unix times of the first and the last visit; None: nothing was visited."""
    query = f"SELECT min(visited_at), max(visited_at) FROM link WHERE {VISITED}"  # noqa: S608 - constants only
    first, last = next(reader.rows(query))
    return first, last


def state_counts(reader: FrontierReader) -> dict[str, int]:
    """The number of links in each state."""
    rows = reader.rows("SELECT state, count(*) FROM link GROUP BY state")
    return dict.fromkeys(STATES, 0) | {STATES[state]: links for state, links in rows}


def distribution(
    reader: FrontierReader,
    column: str,
    where: str,
    *,
    order: str = "2 DESC",
    examples: bool = False,
) -> tuple[BarValue, ...]:
    """The number of links by value of `column`, for links with the SQL condition `where`."""
    example = "min(url)" if examples else "''"
    rows = reader.rows(
        f"SELECT {column}, count(*), {example} FROM link WHERE {where} "  # noqa: S608 - constants only
        f"GROUP BY 1 ORDER BY {order} LIMIT {MAX_BARS}"
    )
    return tuple(BarValue(str(name), number, example) for name, number, example in rows)


def trap_figures(reader: FrontierReader) -> tuple[BarValue, ...]:
    """The number of links that the trap detector stopped, by host and rule."""
    rows = reader.rows(
        "SELECT host.name || ' · ' || link.reason, count(*), min(link.url) FROM link "  # noqa: S608
        f"JOIN host ON host.id = link.host WHERE {NOT_REQUESTED} AND link.reason LIKE 'trap:%' "
        "GROUP BY link.host, link.reason ORDER BY 2 DESC LIMIT ?",
        MAX_BARS,
    )
    return tuple(BarValue(name, number, example) for name, number, example in rows)


def time_slices(
    reader: FrontierReader, first: float | None, last: float | None
) -> tuple[float, tuple[TimeSlice, ...]]:
    """The time line: seconds per slice (whole seconds if more than one), and the slices."""
    if first is None or last is None:
        return 1.0, ()
    step = max((last - first) / MAX_TIME_SLICES, 0.1)
    if step > 1:
        step = float(math.ceil(step))
    number = int((last - first) / step) + 1
    table = [(0, 0, 0)] * number
    for place, visits, failed, volume in reader.rows(
        "SELECT CAST((visited_at - ?) / ? AS INTEGER), count(*), sum(state = ?), total(bytes) "  # noqa: S608
        f"FROM link WHERE {VISITED} GROUP BY 1",
        first, step, FAILED,
    ):  # fmt: skip
        if 0 <= place < number:
            table[place] = visits, failed, int(volume)
    return step, tuple(TimeSlice(first + i * step, *row) for i, row in enumerate(table))


def duplicate_groups(reader: FrontierReader) -> tuple[int, int, tuple[DuplicateGroup, ...]]:
    """Groups of pages with the same body: their number, the pages in them, and the largest
    groups.
    """
    groups, copies = next(
        reader.rows(
            "SELECT count(*), total(n) FROM (SELECT count(*) AS n FROM link "  # noqa: S608
            f"WHERE {_WITH_BODY} GROUP BY digest HAVING n > 1)"
        )
    )
    largest = list(
        reader.rows(
            f"SELECT digest, count(*) AS n FROM link WHERE {_WITH_BODY} "  # noqa: S608 - constants only
            "GROUP BY digest HAVING n > 1 ORDER BY n DESC LIMIT 20"
        )
    )
    if not largest:
        return 0, 0, ()
    marks = ",".join("?" * len(largest))
    urls: dict[str, list[str]] = {digest: [] for digest, _ in largest}
    for digest, url in reader.rows(
        f"SELECT digest, url FROM link WHERE {_WITH_BODY} AND digest IN ({marks})",  # noqa: S608 - ?s only
        *urls,
    ):
        if len(urls[digest]) < 5:
            urls[digest].append(url)
    return (
        groups,
        int(copies),
        tuple(DuplicateGroup(n, tuple(urls[digest])) for digest, n in largest),
    )


def host_figures(reader: FrontierReader, page_records: PageRecords) -> tuple[HostFigures, ...]:
    """The hosts with the most visits."""
    rows = []
    now = time.time()
    for name, visits, failed, busy, volume, first, last, delay, rest in reader.rows(
        "SELECT name, visits, failed, busy, volume, first, last, "  # noqa: S608 - constants only
        "(SELECT max(delay) FROM robots WHERE robots.host = host.id), rest_until FROM "
        "(SELECT host AS number, count(*) AS visits, sum(state = ?) AS failed, "
        "sum(status IN (429, 503)) AS busy, total(bytes) AS volume, min(visited_at) AS first, "
        f"max(visited_at) AS last FROM link WHERE {VISITED} "
        "GROUP BY host ORDER BY 2 DESC LIMIT ?) JOIN host ON host.id = number ORDER BY visits DESC",
        FAILED, MAX_HOSTS_LISTED,
    ):  # fmt: skip
        histogram = page_records.hosts.get(name)
        p50, p95, p99 = percentiles(histogram) if histogram else (None, None, None)
        rows.append(
            HostFigures(
                name, visits, failed or 0, busy or 0, int(volume), p50, p95, p99, delay,
                visits / max(last - first, 1.0), max(0.0, rest - now),
            )
        )  # fmt: skip
    return tuple(rows)


def percentiles(histogram: Any) -> tuple[float, float, float]:
    """The 50th, 95th and 99th percentile."""
    return histogram.percentile(0.5), histogram.percentile(0.95), histogram.percentile(0.99)
