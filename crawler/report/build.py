"""Build the report's data from a crawl's folder: the frontier by SQL, pages.jsonl in one pass.

Memory is bounded whatever the crawl's size. It can be called at any time, also for a crawl that was
killed or is still running.
"""

from __future__ import annotations

import time
import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec

from crawler.config.workdir import FRONTIER, SAVED
from crawler.frontier.sqlite.lookup import FrontierReader
from crawler.frontier.sqlite.statements import DONE, FAILED
from crawler.output.graph import NAME
from crawler.policy.plugin_stats import PluginStats, sentences
from crawler.report.broken import broken_links
from crawler.report.data import BarValue, ReportData
from crawler.report.frontier_figures import (
    MAX_BARS,
    NOT_REQUESTED,
    VISITED,
    distribution,
    duplicate_groups,
    host_figures,
    percentiles,
    state_counts,
    time_slices,
    trap_figures,
    visit_times,
)
from crawler.report.page_records import PageRecords
from crawler.utils.units import unicode
from crawler.version import __version__

MAX_BROKEN_LISTED: Final = 500
"""Broken links listed in the report."""

MAX_SEEDS: Final = 20


def build_report(folder: Path, page_records: PageRecords | None = None) -> ReportData:
    """Build the data of a report. `page_records`: what was read from pages.jsonl already; reading
    continues after it. Raises ConfigError when there is no crawl, FatalError when it cannot be
    read.
    """
    page_records = page_records or PageRecords()
    with FrontierReader(folder / FRONTIER) as reader:
        page_records.read_file(folder / "pages.jsonl")
        first, last = visit_times(reader)
        step, slices = time_slices(reader, first, last)
        number, broken = broken_links(folder, reader, limit=MAX_BROKEN_LISTED)
        groups, copies, twins = duplicate_groups(reader)
        chains, chains_number = page_records.chains()
        summary = _read_summary(folder)
        counts = reader.counts()
        return ReportData(
            seeds=_read_seeds(folder),
            folder=unicode(folder.resolve().name),
            made_at=time.time(),
            version=__version__,
            runs=len(reader.spans("pages")),
            first=first,
            last=last,
            finish_reason=summary.get("finish_reason", ""),
            bottleneck=summary.get("bottleneck", ""),
            lag_ms=_loop_lag(summary),
            states=state_counts(reader),
            pages=counts.pages,
            left=counts.left,
            bytes_wire=int(reader.one("SELECT total(bytes) FROM link")),
            bytes_body=page_records.bytes_body,
            hosts_seen=counts.hosts,
            statuses=distribution(reader, "status", "status IS NOT NULL", order="1"),
            mimes=_most_common(page_records.mimes),
            depths=distribution(reader, "depth", VISITED, order="1"),
            failures=distribution(reader, "reason", f"state = {FAILED}", examples=True),
            skipped=distribution(
                reader, "reason", f"{NOT_REQUESTED} AND reason IS NOT NULL", examples=True
            ),
            traps=trap_figures(reader),
            slices=slices,
            step=step,
            hosts=host_figures(reader, page_records),
            latency=percentiles(page_records.fetch) if page_records.fetch.number else None,
            slowest=page_records.slowest,
            largest=page_records.largest,
            twins=twins,
            twins_groups=groups,
            twins_pages=copies,
            chains=chains,
            chains_number=chains_number,
            broken=tuple(broken),
            broken_number=number,
            records=page_records.records,
            problems=_most_common(page_records.problems),
            has_pages=page_records.file_read,
            has_graph=(folder / NAME).exists(),
            incomplete=distribution(
                reader, "reason", f"state = {DONE} AND reason NOT NULL", examples=True
            ),
            plugins=_plugin_sentences(summary),
        )


def _most_common(counts: Any) -> tuple[BarValue, ...]:
    """The most frequent values of a counter, as rows of a distribution."""
    return tuple(BarValue(name, number) for name, number in counts.most_common(MAX_BARS // 2))


def _read_seeds(folder: Path) -> tuple[str, ...]:
    """The seeds from the saved configuration; empty: it cannot be read."""
    try:
        tree = tomllib.loads((folder / SAVED).read_text("utf-8"))
    except (OSError, ValueError):
        return ()
    return tuple(str(seed) for seed in tree.get("seeds", ())[:MAX_SEEDS])


def _read_summary(folder: Path) -> dict[str, Any]:
    """The summary of the last run; empty: it was killed before it wrote one."""
    try:
        tree = msgspec.json.decode((folder / "summary.json").read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _plugin_sentences(summary: dict[str, Any]) -> tuple[str, ...]:
    """Rules and plugins of the last run that failed or matched nothing."""
    try:
        sums = msgspec.convert(summary.get("plugins", []), list[PluginStats])
    except msgspec.ValidationError:  # written by another version
        return ()
    return tuple(sentences(sums))


def _loop_lag(summary: dict[str, Any]) -> tuple[float, float] | None:
    """How late the event loop woke in the last run, mean and maximum in ms; None: unknown."""
    gauges = summary.get("gauges")
    return (gauges["lag_mean_ms"], gauges["lag_max_ms"]) if gauges else None
