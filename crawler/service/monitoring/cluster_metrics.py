"""/metrics of what many machines share: each shard of the queue, the servers, the workers.

A coordinator has them, so that Prometheus has them once. No job, host or worker is a label: shards
and servers are few and known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from crawler.service.cluster.cluster import ClusterMonitor

LINKS: Final = {
    "pending": "queued", "resting": "resting", "leased": "leased", "done": "done", "dead": "failed",
}  # fmt: skip
"""Label → what the server counts."""

STATES: Final = ("working", "idle", "leaving", "dead")


def families(cluster: ClusterMonitor) -> Iterator[Metric]:
    """What a scrape of a coordinator tells besides its own figures."""
    links = GaugeMetricFamily(
        "crawler_shard_links", "Links of all jobs on the server.", labels=("shard", "state")
    )
    hosts = GaugeMetricFamily(
        "crawler_shard_hosts", "Hosts of all jobs on the server.", labels=("shard",)
    )
    changes = GaugeMetricFamily(
        "crawler_shard_operations",
        "Changes to the queues of the jobs that lie there.", labels=("shard",),
    )  # fmt: skip
    expired = GaugeMetricFamily(
        "crawler_shard_leases_expired",
        "Leases that ran out, of the jobs that lie there.", labels=("shard",),
    )  # fmt: skip
    fenced = GaugeMetricFamily(
        "crawler_shard_results_fenced",
        "Results that came too late and were refused.", labels=("shard",),
    )  # fmt: skip
    for number, stats in enumerate(cluster.shards):
        shard = str(number)
        for label, field in LINKS.items():
            links.add_metric([shard, label], getattr(stats, field))
        hosts.add_metric([shard], stats.hosts)
        changes.add_metric([shard], stats.ops)
        expired.add_metric([shard], stats.expired)
        fenced.add_metric([shard], stats.fenced)
    yield from (links, hosts, changes, expired, fenced)
    yield from _servers(cluster)
    yield from _workers(cluster)


def _servers(cluster: ClusterMonitor) -> Iterator[Metric]:
    used = GaugeMetricFamily(
        "crawler_redis_memory_bytes", "Memory that the server uses.", labels=("server",)
    )
    most = GaugeMetricFamily(
        "crawler_redis_memory_limit_bytes", "Its maxmemory; 0: none is set.", labels=("server",)
    )
    durable = GaugeMetricFamily(
        "crawler_redis_durable", "Whether its append-only file is on.", labels=("server",)
    )
    commands = CounterMetricFamily(
        "crawler_redis_commands", "Commands that the server has run.", labels=("server",)
    )
    for number, health in enumerate(cluster.servers):
        server = str(number)
        used.add_metric([server], health.used)
        most.add_metric([server], health.most)
        durable.add_metric([server], int(health.durable))
        commands.add_metric([server], health.commands)
    yield from (used, most, durable, commands)
    yield GaugeMetricFamily(
        "crawler_redis_up", "Whether the server was reached.", value=int(not cluster.trouble)
    )


def _workers(cluster: ClusterMonitor) -> Iterator[Metric]:
    workers = cluster.workers()
    counts = Counter(one.state for one in workers)
    states = GaugeMetricFamily(
        "crawler_workers", "Workers by state; dead: within the hour.", labels=("state",)
    )
    for state in STATES:
        states.add_metric([state], counts[state])
    yield states
    yield GaugeMetricFamily(
        "crawler_workers_troubled", "Workers that cannot work on a job.",
        value=sum(1 for one in workers if one.troubles),
    )  # fmt: skip
    yield CounterMetricFamily(
        "crawler_workers_died", "Workers that fell silent without a word.", value=cluster.died
    )
    yield GaugeMetricFamily(
        "crawler_workers_pages_per_second", "Pages a second of all workers together.",
        value=round(sum(one.pages_per_second for one in workers), 2),
    )  # fmt: skip
