"""/metrics and /healthz of a worker daemon."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from crawler.engine.stats import StatsCollector
from crawler.errors import ConfigError, FatalError
from crawler.service.cluster.worker_daemon import WorkerDaemon
from crawler.service.monitoring.crawl_metrics import MetricTotals, crawl_metrics


class WorkerMetrics(Collector):
    """A worker's collector; `page()` is the response to a scrape."""

    def __init__(self, worker: WorkerDaemon) -> None:
        self._worker = worker
        self._closed = MetricTotals()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        worker.on_crawl_closed = self.add_closed

    def add_closed(self, stats: StatsCollector) -> None:
        """Add the final statistics of a crawl that was closed."""
        self._closed.add(stats)

    def page(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        yield from crawl_metrics([crawl.tally for crawl in self._worker.crawls], self._closed)
        yield from self._worker_metrics()

    def _worker_metrics(self) -> Iterator[Metric]:
        leased = sum(getattr(crawl.frontier, "on_lease", 0) for crawl in self._worker.crawls)
        yield GaugeMetricFamily(
            "crawler_jobs_in_hand", "Open jobs.", value=len(self._worker.crawls)
        )
        yield GaugeMetricFamily("crawler_leased", "Links on lease.", value=leased)
        yield GaugeMetricFamily(
            "crawler_redis_up",
            "Whether the server responds.",
            value=int(not self._worker.is_disconnected),
        )
        yield GaugeMetricFamily(
            "crawler_scrape_timestamp_seconds", "Time of this scrape.", value=time.time()
        )


@asynccontextmanager
async def metrics_server(worker: WorkerDaemon, address: str) -> AsyncIterator[str]:
    """Serve /metrics and /healthz at [HOST:]PORT, on loopback without a host. Yields the URL.

    There is no authentication, but only figures are served: bind it where only Prometheus can reach
    it. Raises ConfigError for an invalid address, FatalError for one that cannot be used.
    """
    host, _, port = address.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise ConfigError(f"--metrics {address}: write [HOST:]PORT")
    metrics = WorkerMetrics(worker)

    async def serve_metrics(_: Any) -> web.Response:
        return web.Response(
            body=metrics.page(),
            headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def serve_health(_: Any) -> web.Response:
        return web.json_response({"status": "redis is away" if worker.is_disconnected else "ok"})

    app = web.Application()
    app.router.add_get("/metrics", serve_metrics)
    app.router.add_get("/healthz", serve_health)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host.strip("[]") or "127.0.0.1", int(port))
        try:
            await site.start()
        except OSError as error:
            raise FatalError(f"--metrics {address}: {error.strerror}") from error
        bound_host, bound_port = runner.addresses[0][:2]
        yield f"http://{bound_host}:{bound_port}"
    finally:
        await runner.cleanup()
