"""The workers that run this service's jobs, where it does not run them itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from crawler.service.http.routes import JSON, Route, json
from crawler.service.http.views import WorkerList

if TYPE_CHECKING:
    from crawler.service.cluster.cluster import ClusterMonitor


class WorkersApi:
    """`routes()` is what the server answers. `cluster` None: jobs are run in this process."""

    def __init__(self, cluster: ClusterMonitor | None) -> None:
        self._cluster = cluster

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/workers", "listWorkers",
                  "Workers on other machines: what they do, and who died", self.workers,
                  gives={200: ("WorkerList", JSON, "By name; none where jobs are run here")}),
        ]  # fmt: skip

    async def workers(self, request: Request) -> Response:  # noqa: ARG002 - every route has one
        cluster = self._cluster
        if cluster is None:
            return json(WorkerList((), None, shared=False))
        return json(WorkerList(tuple(cluster.workers()), cluster.trouble or None, shared=True))
