"""/metrics: statistics of all crawls, summed; names and units follow the Prometheus guide.

At each scrape the statistics of open crawls are added to the sums of crawls that ended since the
service started. URLs, hosts, jobs and workers are never labels, so the number of series is bounded.
Only a coordinator exports the metrics of its cluster, so that Prometheus gets each series once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from crawler.engine.stats import StatsCollector
from crawler.service.jobs.fair_share import ServiceResources
from crawler.service.jobs.job import JobState
from crawler.service.jobs.retention import Retention
from crawler.service.jobs.supervisor import JobSupervisor
from crawler.service.jobs.webhooks import WebhookDispatcher
from crawler.service.monitoring.crawl_metrics import (
    MetricTotals,
    counters_by_label,
    crawl_metrics,
    gauge_family,
    gauges_by_label,
)
from crawler.version import __version__

if TYPE_CHECKING:
    from crawler.service.cluster.cluster import ClusterMonitor
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crawler.service.cluster.cluster import ClusterMonitor


class Metrics(Collector):
    """The service's collector; `page()` is the response to a scrape. `cluster` None: no workers."""

    def __init__(
        self,
        supervisor: JobSupervisor,
        retention: Retention,
        resources: ServiceResources,
        webhook_dispatcher: WebhookDispatcher,
        cluster: ClusterMonitor | None = None,
    ) -> None:
        self.counts: dict[str, int] = {}  # jobs by state, refreshed before a scrape
        self.loop_lag_s = 0.0
        self.requests: Counter[tuple[str, str]] = Counter()  # by (operation, status class)
        self.files: Counter[str] = Counter()  # of downloads, by final status
        self._supervisor = supervisor
        self._retention = retention
        self._resources = resources
        self._webhook_dispatcher = webhook_dispatcher
        self._cluster = cluster
        self._closed = MetricTotals()
        self._last_page = 0.0
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def page(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self._registry)

    def add_closed(self, stats: StatsCollector) -> None:
        """Add the final statistics of a crawl that was closed."""
        self._closed.add(stats)

    def count_file(self, status: str) -> None:
        """Count a file that a download completed or gave up."""
        self.files[status] += 1

    def collect(self) -> Iterable[Metric]:
        active_runs = list(self._supervisor.active_runs.values())
        recent = [run.recent[-1].at for run in active_runs if run.recent]
        self._last_page = max([self._last_page, *recent])
        yield _info()
        yield from crawl_metrics(
            [run.crawl.tally for run in active_runs if run.crawl is not None], self._closed
        )
        yield counters_by_label("files", "Files of downloads that ended.", "status", self.files)
        progress = [run.download_progress() for run in active_runs]
        rate = sum(download.rate for download in progress if download is not None)
        yield gauge_family("download_bytes_per_second", "Rate of all running downloads.", rate)
        yield gauges_by_label("jobs", "Jobs by state.", "state",
                      {state.value: self.counts.get(state, 0) for state in JobState})  # fmt: skip
        yield gauge_family("connections_limit", "Limit of connections of all jobs.",
                     self._resources.semaphore.number)  # fmt: skip
        yield gauge_family(
            "event_loop_lag_seconds", "How late the event loop last woke.", self.loop_lag_s
        )
        yield gauge_family("last_page_timestamp_seconds", "When the last visit was written.",
                     self._last_page)  # fmt: skip
        yield gauge_family(
            "disk_free_bytes", "Free space of the disk with the job folders.", self._retention.free
        )
        yield gauge_family("jobs_bytes", "Size of the job folders, as last measured.",
                     sum(self._retention.sizes.values()))  # fmt: skip
        webhooks = self._webhook_dispatcher
        counts = Counter(delivered=webhooks.delivered, given_up=webhooks.given_up)
        yield counters_by_label("webhooks", "Webhook messages.", "result", counts)
        api = CounterMetricFamily(
            "crawler_api_requests", "API requests.", labels=("operation", "status_class")
        )
        for (operation, status), number in sorted(self.requests.items()):
            api.add_metric([operation, status], number)
        yield api
        if self._cluster is not None:
            yield from cluster_metrics(self._cluster)
        yield gauge_family("scrape_timestamp_seconds", "Time of this scrape.", time.time())


def _info() -> Metric:
    family = GaugeMetricFamily("crawler_build_info", "The running version.", labels=("version",))
    family.add_metric([__version__], 1)
    return family


LINK_STATES: Final = {
    "pending": "queued", "resting": "resting", "leased": "leased", "done": "done", "dead": "failed",
}  # fmt: skip
"""Label → field of JobStats."""

WORKER_STATES: Final = ("working", "idle", "leaving", "dead")


def cluster_metrics(cluster: ClusterMonitor) -> Iterator[Metric]:
    """Metrics that a coordinator exports besides its own."""
    links = GaugeMetricFamily(
        "crawler_shard_links", "Links of all jobs on the server.", labels=("shard", "state")
    )
    hosts = GaugeMetricFamily(
        "crawler_shard_hosts", "Hosts of all jobs on the server.", labels=("shard",)
    )
    changes = GaugeMetricFamily(
        "crawler_shard_operations",
        "Changes to the queues of the jobs on the shard.", labels=("shard",),
    )  # fmt: skip
    expired = GaugeMetricFamily(
        "crawler_shard_leases_expired",
        "Leases that expired, of the jobs on the shard.", labels=("shard",),
    )  # fmt: skip
    fenced = GaugeMetricFamily(
        "crawler_shard_results_fenced",
        "Results that were refused, because their lease had expired.", labels=("shard",),
    )  # fmt: skip
    for number, stats in enumerate(cluster.shards):
        shard = str(number)
        for label, field in LINK_STATES.items():
            links.add_metric([shard, label], getattr(stats, field))
        hosts.add_metric([shard], stats.hosts)
        changes.add_metric([shard], stats.ops)
        expired.add_metric([shard], stats.expired)
        fenced.add_metric([shard], stats.fenced)
    yield from (links, hosts, changes, expired, fenced)
    yield from _servers(cluster)
    yield from _workers(cluster)


def _servers(cluster: ClusterMonitor) -> Iterator[Metric]:
    used_bytes = GaugeMetricFamily(
        "crawler_redis_memory_bytes", "Memory that the server uses.", labels=("server",)
    )
    limit_bytes = GaugeMetricFamily(
        "crawler_redis_memory_limit_bytes",
        "The server's maxmemory; 0: not set.",
        labels=("server",),
    )
    durable = GaugeMetricFamily(
        "crawler_redis_durable", "Whether its append-only file is on.", labels=("server",)
    )
    commands = CounterMetricFamily(
        "crawler_redis_commands", "Commands that the server has run.", labels=("server",)
    )
    for number, health in enumerate(cluster.servers):
        server = str(number)
        used_bytes.add_metric([server], health.used)
        limit_bytes.add_metric([server], health.most)
        durable.add_metric([server], int(health.durable))
        commands.add_metric([server], health.commands)
    yield from (used_bytes, limit_bytes, durable, commands)
    yield GaugeMetricFamily(
        "crawler_redis_up", "Whether the server was reached.", value=int(not cluster.error)
    )


def _workers(cluster: ClusterMonitor) -> Iterator[Metric]:
    workers = cluster.workers()
    counts = Counter(worker.state for worker in workers)
    states = GaugeMetricFamily(
        "crawler_workers", "Workers by state; dead: within the last hour.", labels=("state",)
    )
    for state in WORKER_STATES:
        states.add_metric([state], counts[state])
    yield states
    yield GaugeMetricFamily(
        "crawler_workers_troubled", "Workers that cannot work on a job.",
        value=sum(1 for worker in workers if worker.troubles),
    )  # fmt: skip
    yield CounterMetricFamily(
        "crawler_workers_died", "Workers that stopped sending heartbeats.", value=cluster.died
    )
    yield GaugeMetricFamily(
        "crawler_workers_pages_per_second", "Pages per second of all workers together.",
        value=round(sum(worker.pages_per_second for worker in workers), 2),
    )  # fmt: skip
