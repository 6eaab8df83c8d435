"""Opens the service: all its files, sockets and tasks, in order.

On SIGTERM or SIGINT no job is started any more, runs have their grace time to finish URLs in
progress, event streams end, and the server closes. A second signal aborts the runs. In both cases
the jobs resume when the service is started again.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from crawler.bootstrap.crawl_setup import open_crawl
from crawler.bootstrap.download_setup import open_depot
from crawler.config.model import FrontierConfig
from crawler.errors import ConfigError, FrontierError
from crawler.fetch.address_guard import AddressGuard
from crawler.service.http.access import AccessControl, AccessToken
from crawler.service.http.admin_api import AdminApi
from crawler.service.http.app import ApiMiddleware, application
from crawler.service.http.app_context import AppContext
from crawler.service.http.dashboard import pages
from crawler.service.http.http_server import HttpServer, http_server, listen, url_of
from crawler.service.http.jobs_api import DownloadsApi, JobsApi
from crawler.service.http.openapi import document
from crawler.service.http.probes_api import ProbesApi, WorkersApi
from crawler.service.http.results_api import ResultsApi
from crawler.service.http.routes import Route
from crawler.service.http.schema import download_schema, job_schema
from crawler.service.http.stream import StreamApi
from crawler.service.jobs.cron import CronScheduler
from crawler.service.jobs.data_folder import prepare_data_folder, release_reserve
from crawler.service.jobs.download_run import DownloadOpener
from crawler.service.jobs.fair_share import ServiceResources
from crawler.service.jobs.job_store import JobStore
from crawler.service.jobs.kinds import RunDependencies, handler_of
from crawler.service.jobs.retention import Retention
from crawler.service.jobs.runner import CrawlOpener, LocalRunner, RunnerTable, demand_redis
from crawler.service.jobs.supervisor import STORE_RETRY_DELAY_S, JobSupervisor
from crawler.service.jobs.webhooks import WebhookDispatcher
from crawler.service.monitoring.memory import MemoryUse
from crawler.service.monitoring.metrics import Metrics
from crawler.service.monitoring.tracing import TRACING_OFF, Tracing
from crawler.service.settings import ServiceConfig, is_loopback

if TYPE_CHECKING:
    from crawler.service.cluster.cluster import ClusterMonitor

log = logging.getLogger(__name__)

LAG_INTERVAL_S: Final = 0.5
"""Seconds between measurements of how late the event loop wakes."""

BackgroundTask: TypeAlias = tuple[str, Callable[[], Coroutine[Any, Any, None]]]


class Service:
    """An open service at `url`. `background_tasks` are (name, coroutine function)."""

    def __init__(
        self,
        server: HttpServer,
        listener: socket.socket,
        supervisor: JobSupervisor,
        host: str,
        background_tasks: Sequence[BackgroundTask],
    ) -> None:
        self.url = url_of(host, listener)
        self.supervisor = supervisor
        self._server = server
        self._listener = listener
        self._background_tasks = background_tasks
        self._stop_calls = 0

    async def run(self) -> None:
        """Until `stop`. An unexpected error in any task ends the service."""
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(_restart_on_error(function, name), name=name)
                for name, function in self._background_tasks
            ]
            serving = tasks.create_task(self._server.serve([self._listener]), name="server")
            await self.supervisor.run()
            self._server.should_exit = True
            await serving
            for task in background:
                task.cancel()

    def stop(self) -> None:
        """First call: runs end within their grace time. Second call: they are aborted."""
        self._stop_calls += 1
        self.supervisor.drain()
        if self._stop_calls > 1:
            self.supervisor.abort_all()
            self._server.force_exit = True


async def _restart_on_error(function: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
    """Restart a background task after an error of the job store, such as a full disk."""
    while True:
        try:
            await function()
        except* FrontierError as group:
            log.warning("%s: %s", name, group.exceptions[0])
        await asyncio.sleep(STORE_RETRY_DELAY_S)


@asynccontextmanager
async def open_service(
    config: ServiceConfig,
    *,
    tokens: Sequence[AccessToken] = (),
    defaults: Mapping[str, Any] | None = None,
    help_texts: Mapping[str, str] | None = None,
    opener: CrawlOpener | None = None,
    download_opener: DownloadOpener | None = None,
    free: Callable[[Path], int] | None = None,
    tracing: Tracing = TRACING_OFF,
) -> AsyncIterator[Service]:
    """Open a service: raises ConfigError, FolderLocked, FatalError.

    `defaults` is the configuration tree every job starts from, `help_texts` a line of help by key.
    Tests replace `opener`, `download_opener` and `free` (bytes).
    """
    _demand_token(config, tokens)
    folder = Path(config.dir)
    prepare_data_folder(folder)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(JobStore(folder))
        access = AccessControl(store, list(tokens))
        await access.load()
        guard = AddressGuard(private="any" if config.private else "never")
        resources = ServiceResources(connections=config.connections, guard=guard)
        dispatcher = await stack.enter_async_context(WebhookDispatcher(store, guard))
        supervisor = _supervisor(
            config,
            store,
            access,
            tracing,
            blocked_reason=lambda: retention.blocked_reason,
            metrics=lambda: metrics,
            opener=opener or functools.partial(open_crawl, neighbours=resources),
            download_opener=download_opener or functools.partial(open_depot, neighbours=resources),
        )
        retention = Retention(folder, config, store, supervisor, memory=MemoryUse(), free=free)
        cluster = _cluster_monitor(defaults or {}, store, supervisor)
        metrics = Metrics(supervisor, retention, resources, dispatcher, cluster)
        context = AppContext(
            config, defaults or {}, store, supervisor, access, help_texts or {}, retention.sizes,
            lambda: retention.blocked_reason,
        )  # fmt: skip
        scheduler = CronScheduler(store, context.read_request)
        routes = _routes(context, metrics, scheduler, cluster)
        app = application(routes, ApiMiddleware(context, metrics, tracing), pages(), config.cors)
        listener = stack.enter_context(listen(config.host, config.port))
        await retention.check()
        tasks = _background_tasks(retention, dispatcher, scheduler, metrics, cluster)
        yield Service(http_server(app), listener, supervisor, config.host, tasks)


def _demand_token(config: ServiceConfig, tokens: Sequence[AccessToken]) -> None:
    """Raises ConfigError for a service that others can reach and that has no token."""
    if not tokens and not is_loopback(config.host):
        raise ConfigError(
            f"--host {config.host}: without a token only loopback is served; set "
            "CRAWLER_SERVICE_TOKEN (openssl rand -base64 32)"
        )


def _supervisor(
    config: ServiceConfig,
    store: JobStore,
    access: AccessControl,
    tracing: Tracing,
    *,
    blocked_reason: Callable[[], str],
    metrics: Callable[[], Metrics],
    opener: CrawlOpener,
    download_opener: DownloadOpener,
) -> JobSupervisor:
    """`metrics` is a function, because they are created after the supervisor."""
    folder = Path(config.dir)
    dependencies = RunDependencies(
        download_opener,
        store.download_requests,
        config.min_free,
        lambda status: metrics().count_file(status),
    )
    runners = RunnerTable(LocalRunner(opener), Path(config.shares or folder / "shares"))
    return JobSupervisor(
        store,
        folder,
        runners.runner_for,
        limits=config.limits(),
        limits_of=access.limits_of,
        blocked_reason=blocked_reason,
        on_crawl_closed=lambda stats: metrics().add_closed(stats),
        free_disk_space=functools.partial(release_reserve, folder),
        make_run=lambda job: handler_of(job).make_run(job, dependencies),
        trace=tracing.job,
    )


def _routes(
    context: AppContext,
    metrics: Metrics,
    scheduler: CronScheduler,
    cluster: ClusterMonitor | None,
) -> list[Route]:
    """All routes of the API, and the OpenAPI document that describes them."""
    description: dict[str, Any] = {}
    routes: list[Route] = [
        *ProbesApi(context, metrics, lambda: description).routes(),
        *JobsApi(context).routes(),
        *ResultsApi(context).routes(),
        *DownloadsApi(context).routes(),
        *StreamApi(context).routes(),
        *AdminApi(context, scheduler).routes(),
        *WorkersApi(cluster).routes(),
    ]
    description.update(document(routes, job_schema(context), download_schema(context)))
    return routes


def _cluster_monitor(
    defaults: Mapping[str, Any], store: JobStore, supervisor: JobSupervisor
) -> ClusterMonitor | None:
    """The monitor of workers; None: jobs run here. Raises ConfigError without the redis extra."""
    frontier = msgspec.convert(defaults.get("frontier", {}), FrontierConfig, strict=False)
    if frontier.url is None:
        return None
    demand_redis()
    from crawler.service.cluster.cluster import ClusterMonitor  # noqa: PLC0415 - an extra

    return ClusterMonitor(frontier, store, lambda job: job in supervisor.active_runs)


def _background_tasks(
    retention: Retention,
    dispatcher: WebhookDispatcher,
    scheduler: CronScheduler,
    metrics: Metrics,
    cluster: ClusterMonitor | None,
) -> list[BackgroundTask]:
    background_tasks: list[BackgroundTask] = [
        ("retention", retention.run),
        ("webhooks", dispatcher.run),
        ("schedules", scheduler.run),
        ("event loop lag", functools.partial(_measure_lag, metrics)),
    ]
    if cluster is not None:
        background_tasks.append(("cluster", cluster.run))
    return background_tasks


async def _measure_lag(metrics: Metrics) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_INTERVAL_S
        await asyncio.sleep(LAG_INTERVAL_S)
        metrics.loop_lag_s = max(0.0, loop.time() - due)


async def serve(config: ServiceConfig, say: Callable[[str], None], **options: Any) -> None:
    """Open the service and run it until a signal. `say` prints; `options`: see `open_service`."""
    async with open_service(config, **options) as service:
        loop = asyncio.get_running_loop()

        def stop_service() -> None:
            say("stopping: crawls finish URLs in progress (signal again: stop at once)")
            service.stop()
            loop.call_later(config.grace, service.stop)

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop_service)
        say(f"serving {service.url}  (jobs in {config.dir}, pid {os.getpid()})")
        try:
            await service.run()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
