"""State of the service: liveness, readiness, metrics, API description, workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from crawler.service.http.app_context import AppContext
from crawler.service.http.routes import JSON, Route, json
from crawler.service.http.views import HealthView, WorkerList
from crawler.service.monitoring.metrics import Metrics
from crawler.version import __version__

if TYPE_CHECKING:
    from crawler.service.cluster.cluster import ClusterMonitor


class ProbesApi:
    """Routes of probes. `describe` returns the OpenAPI document."""

    def __init__(
        self, context: AppContext, metrics: Metrics, describe: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._context = context
        self._metrics = metrics
        self._describe = describe

    def routes(self) -> list[Route]:
        health = {200: ("Health", JSON, "Yes")}
        return [
            Route("GET", "/healthz", "isAlive", "The event loop is running", self.alive, None,
                  responses=health),
            Route("GET", "/readyz", "isReady", "New jobs can be accepted and started",
                  self.ready, None,
                  responses={**health, 503: ("Health", JSON, "No; `status` says why")}),
            Route("GET", "/metrics", "getMetrics", "For Prometheus", self.metrics,
                  responses={200: ("", "text/plain", "Text format 0.0.4")}),
            Route("GET", "/openapi.json", "getOpenApi", "This description", self.describe, None,
                  responses={200: ("Schema", JSON, "OpenAPI 3.1")}),
        ]  # fmt: skip

    async def alive(self, request: Request) -> Response:  # noqa: ARG002 - every route has one
        return json(self._health("ok"))

    async def ready(self, request: Request) -> Response:  # noqa: ARG002
        draining = self._context.supervisor.draining
        status = "stopping" if draining else self._context.blocked_reason() or "ok"
        return json(self._health(status), 200 if status == "ok" else 503)

    async def metrics(self, request: Request) -> Response:  # noqa: ARG002
        self._metrics.counts = await self._context.store.count_by_state()
        return Response(self._metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def describe(self, request: Request) -> Response:  # noqa: ARG002
        return json(self._describe())

    def _health(self, status: str) -> HealthView:
        return HealthView(status, len(self._context.supervisor.active_runs), __version__)


class WorkersApi:
    """Routes of workers. `cluster` None: jobs run in this process."""

    def __init__(self, cluster: ClusterMonitor | None) -> None:
        self._cluster = cluster

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/workers", "listWorkers",
                  "Workers on other machines, with their state", self.workers,
                  responses={200: ("WorkerList", JSON, "By name; empty when jobs run here")}),
        ]  # fmt: skip

    async def workers(self, request: Request) -> Response:  # noqa: ARG002 - every route has one
        cluster = self._cluster
        if cluster is None:
            return json(WorkerList((), None, shared=False))
        return json(WorkerList(tuple(cluster.workers()), cluster.error or None, shared=True))
