"""Prometheus metrics of crawls, summed over open and closed ones; names begin with `crawler_`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from crawler.engine.stats import Histogram, StatsCollector

BUCKET_BOUNDS_S: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Upper bounds of histogram buckets in seconds."""


def counter_family(name: str, help_text: str, value: float, **labels: str) -> Metric:
    family = CounterMetricFamily(f"crawler_{name}", help_text, labels=tuple(labels))
    family.add_metric(tuple(labels.values()), value)
    return family


def counters_by_label(name: str, help_text: str, label: str, counts: Counter[Any]) -> Metric:
    family = CounterMetricFamily(f"crawler_{name}", help_text, labels=(label,))
    for value, number in sorted(counts.items()):
        family.add_metric([str(value)], number)
    return family


def gauge_family(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"crawler_{name}", help_text, value=value)


def gauges_by_label(name: str, help_text: str, label: str, values: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(f"crawler_{name}", help_text, labels=(label,))
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def histogram_family(name: str, help_text: str, label: str, histograms: dict[str, Any]) -> Metric:
    family = HistogramMetricFamily(f"crawler_{name}", help_text, labels=(label,) if label else ())
    for value, histogram in histograms.items():
        counts, total, _ = histogram or (Counter[float](), 0.0, 0)
        running, buckets = 0, []
        for bound in (*BUCKET_BOUNDS_S, float("inf")):
            running += counts[bound]
            buckets.append(("+Inf" if bound == float("inf") else str(bound), running))
        family.add_metric([value] if label else [], buckets, total)
    return family


_KNOWN_STATUSES: Final = frozenset({
    200, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406, 408, 410, 414, 418,
    421, 422, 425, 429, 451, 500, 501, 502, 503, 504, 508, 511, 520, 521, 522, 523, 524, 525, 526,
})  # fmt: skip
"""Statuses with a series of their own; all others, which sites can invent, count as `other`."""


class MetricTotals:
    """Sums over the statistics of crawls."""

    def __init__(self) -> None:
        self.plain: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.errors: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.histograms: dict[str, tuple[Counter[float], float, int]] = {}

    def add(self, stats: StatsCollector) -> None:
        """Add the statistics of one crawl."""
        self.plain.update(
            requests=stats.fetch.number + sum(stats.robots.values()),
            retries=stats.retries,
            bytes_wire=stats.bytes_wire,
            pages=stats.pages,
            links=stats.links_found,
        )
        self.statuses.update(stats.statuses)
        self.outcomes.update(stats.outcomes)
        for reason, number in stats.reasons.items():
            (self.errors if reason in ERRORS else self.skipped)[reason] += number
        for name, histogram in (
            ("ttfb", stats.ttfb), ("total", stats.fetch), ("parse", stats.parse),
        ):  # fmt: skip
            counts, total, number = self.histograms.get(name, (Counter(), 0.0, 0))
            counts = counts + _bucketed(histogram)
            self.histograms[name] = (
                counts,
                total + histogram.sum / 1000,
                number + histogram.number,
            )


ERRORS: Final = frozenset({
    "dns", "connection", "tls", "timeout", "truncated", "too-large", "garbled", "status",
    "forbidden", "parse", "redirect", "fetch", "mime",
})  # fmt: skip
"""First parts of a CrawlResult's reason that mean a failed fetch; others mean a skipped link."""


def crawl_metrics(stats: Sequence[StatsCollector], closed: MetricTotals) -> Iterable[Metric]:
    """Metrics of the open crawls' `stats` plus the sums of closed crawls."""
    sums = MetricTotals()
    sums.plain.update(closed.plain)
    sums.statuses.update(closed.statuses)
    sums.errors.update(closed.errors)
    sums.skipped.update(closed.skipped)
    sums.outcomes.update(closed.outcomes)
    sums.histograms.update(closed.histograms)
    for collector in stats:
        sums.add(collector)
    gauges = [collector.gauges for collector in stats]
    plain = sums.plain
    yield counter_family("requests", "Requests sent.", plain["requests"], method="GET")
    yield _responses(sums.statuses)
    yield counters_by_label(
        "fetch_errors", "Failed fetches, counting each attempt.", "type", sums.errors
    )
    yield counter_family("retries", "Visits that were postponed for a retry.", plain["retries"])
    yield counters_by_label(
        "skipped", "Links that were not visited, by rule.", "reason", sums.skipped
    )
    yield counters_by_label("visits", "Visits that ended.", "outcome", sums.outcomes)
    yield counter_family("response_bytes", "Bytes of bodies as transferred.", plain["bytes_wire"])
    yield counter_family("pages", "Pages fetched and read.", plain["pages"])
    yield counter_family("links_found", "Links found on pages.", plain["links"])
    yield histogram_family(
        "request_duration_seconds", "Duration of one request.", "phase",
        {name: sums.histograms.get(name) for name in ("ttfb", "total")},
    )  # fmt: skip
    yield histogram_family(
        "parse_duration_seconds",
        "Duration of parsing one page.",
        "",
        {"": sums.histograms.get("parse")},
    )
    yield gauges_by_label("frontier_size", "URLs in the frontier.", "state",
                  {"queued": sum(gauge.queued for gauge in gauges)})  # fmt: skip
    yield gauges_by_label("inflight", "URLs in progress.", "stage", {
        "fetch": sum(gauge.in_flight for gauge in gauges),
        "parse": sum(gauge.parsing for gauge in gauges),
    })  # fmt: skip


def _bucketed(histogram: Histogram) -> Counter[float]:
    """Counts by upper bound in seconds, summed over the finer buckets of the statistics."""
    counts: Counter[float] = Counter()
    for ms, number in histogram.buckets():
        bound = next((bound for bound in BUCKET_BOUNDS_S if ms / 1000 <= bound), float("inf"))
        counts[bound] += number
    return counts


def _responses(statuses: Counter[int]) -> Metric:
    family = CounterMetricFamily(
        "crawler_responses", "Responses by status.", labels=("status_class", "code")
    )
    by_label: Counter[tuple[str, str]] = Counter()
    for status, number in statuses.items():
        code = str(status) if status in _KNOWN_STATUSES else "other"
        by_label[f"{min(status // 100, 9)}xx", code] += number
    for labels, number in sorted(by_label.items()):
        family.add_metric(labels, number)
    return family
