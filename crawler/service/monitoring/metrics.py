"""/metrics: the tallies of all crawls, summed; names and units as Prometheus' guide asks for.

Nothing is counted twice: at each scrape the sums of running crawls are added to those of crawls
that have ended since the service started. No URL and no host is a label: the series are bounded.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from crawler.engine.stats import Histogram, StatsCollector
from crawler.service.jobs.download_run import DownloadRun
from crawler.service.jobs.fair_share import ServiceResources
from crawler.service.jobs.job import JobState
from crawler.service.jobs.retention import Retention
from crawler.service.jobs.supervisor import JobSupervisor
from crawler.service.jobs.webhooks import WebhookDispatcher
from crawler.version import __version__

if TYPE_CHECKING:
    from crawler.service.cluster.cluster import ClusterMonitor

_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds."""

_CODES: Final = frozenset({
    200, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406, 408, 410, 414, 418,
    421, 422, 425, 429, 451, 500, 501, 502, 503, 504, 508, 511, 520, 521, 522, 523, 524, 525, 526,
})  # fmt: skip
"""Statuses with a series of their own; a site can make up others, they are `other`."""


class MetricTotals:
    """What tallies add up to."""

    def __init__(self) -> None:
        self.plain: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.errors: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.histograms: dict[str, tuple[Counter[float], float, int]] = {}

    def add(self, tally: StatsCollector) -> None:
        self.plain.update(
            requests=tally.fetch.number + sum(tally.robots.values()),
            retries=tally.retries,
            bytes_wire=tally.bytes_wire,
            pages=tally.pages,
            links=tally.links_found,
        )
        self.statuses.update(tally.statuses)
        self.outcomes.update(tally.outcomes)
        for reason, number in tally.reasons.items():
            (self.errors if reason in ERRORS else self.skipped)[reason] += number
        for name, histogram in (
            ("ttfb", tally.ttfb), ("total", tally.fetch), ("parse", tally.parse),
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
"""First words of a Visit's reason that speak of a failure on the road; others are refusals."""


class Metrics(Collector):
    """One for the service; `page()` is the answer to a scrape."""

    def __init__(
        self,
        foreman: JobSupervisor,
        caretaker: Retention,
        neighbours: ServiceResources,
        courier: WebhookDispatcher,
        cluster: ClusterMonitor | None = None,
    ) -> None:
        self.counts: dict[str, int] = {}  # jobs by state, refreshed before a scrape
        self.lag = 0.0
        self.requests: Counter[tuple[str, str]] = Counter()  # of the API: operation, class
        self.files: Counter[str] = Counter()  # of downloads, by how they ended
        self._foreman = foreman
        self._caretaker = caretaker
        self._neighbours = neighbours
        self._courier = courier
        self._cluster = cluster  # None: jobs are run here
        self._ended = MetricTotals()
        self._last_page = 0.0
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def page(self) -> bytes:
        return generate_latest(self._registry)

    def ended(self, tally: StatsCollector) -> None:
        """Keep the sums of a crawl that is closed now."""
        self._ended.add(tally)

    def file(self, status: str) -> None:
        """A file of a download has come to an end."""
        self.files[status] += 1

    def collect(self) -> Iterable[Metric]:
        shifts = list(self._foreman.shifts.values())
        recent = [shift.recent[-1].at for shift in shifts if shift.recent]
        self._last_page = max([self._last_page, *recent])
        yield _info()
        yield from of_crawls(
            [shift.crawl.tally for shift in shifts if shift.crawl is not None], self._ended
        )
        yield _counted("files", "Files of downloads that ended.", "status", self.files)
        yield _gauge("download_bytes_per_second", "Of all downloads that run.", sum(
            one.rate for shift in shifts
            if isinstance(shift, DownloadRun) and (one := shift.standing()) is not None
        ))  # fmt: skip
        yield _gauges("jobs", "Jobs by state.", "state",
                      {state.value: self.counts.get(state, 0) for state in JobState})  # fmt: skip
        yield _gauge("connections_limit", "Connections for all jobs.",
                     self._neighbours.slots.number)  # fmt: skip
        yield _gauge("event_loop_lag_seconds", "How late the event loop last woke.", self.lag)
        yield _gauge("last_page_timestamp_seconds", "When the last visit was written.",
                     self._last_page)  # fmt: skip
        yield _gauge("disk_free_bytes", "Free space where the jobs lie.", self._caretaker.free)
        yield _gauge("jobs_bytes", "What the job folders take, as last measured.",
                     sum(self._caretaker.sizes.values()))  # fmt: skip
        yield _counted("webhooks", "Webhook messages.", "result", Counter(
            delivered=self._courier.delivered, given_up=self._courier.given_up))  # fmt: skip
        api = CounterMetricFamily(
            "crawler_api_requests", "API requests.", labels=("operation", "status_class")
        )
        for (operation, status), number in sorted(self.requests.items()):
            api.add_metric([operation, status], number)
        yield api
        if self._cluster is not None:
            from crawler.service.monitoring.cluster_metrics import families  # noqa: PLC0415 - where it is used

            yield from families(self._cluster)
        yield _gauge("scrape_timestamp_seconds", "When this was written.", time.time())


def of_crawls(tallies: Sequence[StatsCollector], ended: MetricTotals) -> Iterable[Metric]:
    """The sums of open crawls and of those that have ended."""
    sums = MetricTotals()
    sums.plain.update(ended.plain)
    sums.statuses.update(ended.statuses)
    sums.errors.update(ended.errors)
    sums.skipped.update(ended.skipped)
    sums.outcomes.update(ended.outcomes)
    sums.histograms.update(ended.histograms)
    for tally in tallies:
        sums.add(tally)
    gauges = [tally.gauges for tally in tallies]
    plain = sums.plain
    yield _counter("requests", "Requests made.", plain["requests"], method="GET")
    yield _responses(sums.statuses)
    yield _counted("fetch_errors", "Fetches that failed, each try.", "type", sums.errors)
    yield _counter("retries", "Visits put off for another try.", plain["retries"])
    yield _counted("skipped", "Links not visited, by the rule.", "reason", sums.skipped)
    yield _counted("visits", "Visits that ended.", "outcome", sums.outcomes)
    yield _counter("response_bytes", "Bytes of bodies on the wire.", plain["bytes_wire"])
    yield _counter("pages", "Pages fetched and read.", plain["pages"])
    yield _counter("links_found", "Links found on pages.", plain["links"])
    yield _histogram(
        "request_duration_seconds", "One exchange.", "phase",
        {name: sums.histograms.get(name) for name in ("ttfb", "total")},
    )  # fmt: skip
    yield _histogram(
        "parse_duration_seconds", "Reading one page.", "", {"": sums.histograms.get("parse")}
    )
    yield _gauges("frontier_size", "URLs that wait.", "state",
                  {"queued": sum(one.queued for one in gauges)})  # fmt: skip
    yield _gauges("inflight", "What is under way.", "stage", {
        "fetch": sum(one.in_flight for one in gauges),
        "parse": sum(one.parsing for one in gauges),
    })  # fmt: skip


def _bucketed(histogram: Histogram) -> Counter[float]:
    """The tally's fine buckets summed into ours, by upper bound in seconds."""
    counts: Counter[float] = Counter()
    for ms, number in histogram.buckets():
        bound = next((one for one in _BOUNDS if ms / 1000 <= one), float("inf"))
        counts[bound] += number
    return counts


def _info() -> Metric:
    family = GaugeMetricFamily("crawler_build_info", "The running version.", labels=("version",))
    family.add_metric([__version__], 1)
    return family


def _counter(name: str, words: str, value: float, **labels: str) -> Metric:
    family = CounterMetricFamily(f"crawler_{name}", words, labels=tuple(labels))
    family.add_metric(tuple(labels.values()), value)
    return family


def _counted(name: str, words: str, label: str, counts: Counter[Any]) -> Metric:
    family = CounterMetricFamily(f"crawler_{name}", words, labels=(label,))
    for value, number in sorted(counts.items()):
        family.add_metric([str(value)], number)
    return family


def _responses(statuses: Counter[int]) -> Metric:
    family = CounterMetricFamily(
        "crawler_responses", "Answers by status.", labels=("status_class", "code")
    )
    by_label: Counter[tuple[str, str]] = Counter()
    for status, number in statuses.items():
        code = str(status) if status in _CODES else "other"
        by_label[f"{min(status // 100, 9)}xx", code] += number
    for labels, number in sorted(by_label.items()):
        family.add_metric(labels, number)
    return family


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"crawler_{name}", words, value=value)


def _gauges(name: str, words: str, label: str, values: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(f"crawler_{name}", words, labels=(label,))
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def _histogram(name: str, words: str, label: str, found: dict[str, Any]) -> Metric:
    family = HistogramMetricFamily(f"crawler_{name}", words, labels=(label,) if label else ())
    for value, one in found.items():
        counts, total, _ = one or (Counter[float](), 0.0, 0)
        running, buckets = 0, []
        for bound in (*_BOUNDS, float("inf")):
            running += counts[bound]
            buckets.append(("+Inf" if bound == float("inf") else str(bound), running))
        family.add_metric([value] if label else [], buckets, total)
    return family
