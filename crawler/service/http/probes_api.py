"""Probes: liveness, readiness, metrics, version and schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from crawler.service.http.app_context import AppContext
from crawler.service.http.routes import JSON, Route, json
from crawler.service.http.views import HealthView
from crawler.service.monitoring.metrics import Metrics
from crawler.version import __version__


class ProbesApi:
    """`routes()` is what the server answers."""

    def __init__(
        self, parts: AppContext, metrics: Metrics, describe: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._parts = parts
        self._metrics = metrics
        self._describe = describe

    def routes(self) -> list[Route]:
        health = {200: ("Health", JSON, "It is")}
        return [
            Route("GET", "/healthz", "isAlive", "The event loop turns", self.alive, None,
                  gives=health),
            Route("GET", "/readyz", "isReady", "New jobs can be taken and run", self.ready, None,
                  gives={**health, 503: ("Health", JSON, "It is not; `status` says why")}),
            Route("GET", "/metrics", "getMetrics", "For Prometheus", self.metrics,
                  gives={200: ("", "text/plain", "Text format 0.0.4")}),
            Route("GET", "/openapi.json", "getOpenApi", "This description", self.describe, None,
                  gives={200: ("Schema", JSON, "OpenAPI 3.1")}),
        ]  # fmt: skip

    async def alive(self, request: Request) -> Response:  # noqa: ARG002 - every route has one
        return json(self._health("ok"))

    async def ready(self, request: Request) -> Response:  # noqa: ARG002
        word = "stopping" if self._parts.foreman.draining else self._parts.trouble() or "ok"
        return json(self._health(word), 200 if word == "ok" else 503)

    async def metrics(self, request: Request) -> Response:  # noqa: ARG002
        self._metrics.counts = await self._parts.register.counts()
        return Response(self._metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def describe(self, request: Request) -> Response:  # noqa: ARG002
        return json(self._describe())

    def _health(self, word: str) -> HealthView:
        return HealthView(word, len(self._parts.foreman.shifts), __version__)
