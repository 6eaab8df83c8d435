"""/metrics and /healthz of a stand-by worker."""

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
from crawler.service.monitoring.metrics import MetricTotals, of_crawls


class WorkerMetrics(Collector):
    """One for a worker; `page()` is the answer to a scrape."""

    def __init__(self, desk: WorkerDaemon) -> None:
        self._desk = desk
        self._ended = MetricTotals()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        desk.ended = self.ended

    def ended(self, tally: StatsCollector) -> None:
        """Keep the sums of a crawl that is closed now."""
        self._ended.add(tally)

    def page(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        yield from of_crawls([one.tally for one in self._desk.crawls], self._ended)
        yield from self._own()

    def _own(self) -> Iterator[Metric]:
        leased = sum(getattr(one.frontier, "on_lease", 0) for one in self._desk.crawls)
        yield GaugeMetricFamily("crawler_jobs_in_hand", "Jobs.", value=len(self._desk.crawls))
        yield GaugeMetricFamily("crawler_leased", "Links on lease.", value=leased)
        yield GaugeMetricFamily(
            "crawler_redis_up", "Whether the server answers.", value=int(not self._desk.away)
        )
        yield GaugeMetricFamily(
            "crawler_scrape_timestamp_seconds", "When this was written.", value=time.time()
        )


@asynccontextmanager
async def answering(desk: WorkerDaemon, where: str) -> AsyncIterator[str]:
    """Answer at [HOST:]PORT, on loopback when no host is named. Gives the address.

    There is no token, and nothing but figures: bind it where Prometheus can reach it, no further.
    Raises ConfigError for what is no address, FatalError for one that cannot be had.
    """
    host, _, port = where.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise ConfigError(f"--metrics {where}: write [HOST:]PORT")
    metrics = WorkerMetrics(desk)

    async def figures(_: Any) -> web.Response:
        return web.Response(
            body=metrics.page(),
            headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def alive(_: Any) -> web.Response:
        return web.json_response({"status": "redis is away" if desk.away else "ok"})

    app = web.Application()
    app.router.add_get("/metrics", figures)
    app.router.add_get("/healthz", alive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host.strip("[]") or "127.0.0.1", int(port))
        try:
            await site.start()
        except OSError as error:
            raise FatalError(f"--metrics {where}: {error.strerror}") from error
        found = runner.addresses[0]
        yield f"http://{found[0]}:{found[1]}"
    finally:
        await runner.cleanup()
