"""The service, opened: everything with a file, a socket or a task is entered here, in order.

SIGTERM or SIGINT: nothing new is started, each crawl has its grace time to enter what is in hand,
the event streams end, the server closes. A second signal drops what is in hand. Either way the jobs
go on when the service is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import uvicorn

from crawler.bootstrap.crawl_setup import open_crawl
from crawler.bootstrap.download_setup import open_depot
from crawler.config.model import FrontierConfig
from crawler.errors import ConfigError, FatalError, FrontierError
from crawler.fetch.address_guard import AddressGuard
from crawler.service.http.access import AccessControl, AccessToken
from crawler.service.http.admin_api import AdminApi
from crawler.service.http.app import ApiMiddleware, application
from crawler.service.http.app_context import AppContext
from crawler.service.http.dashboard import pages
from crawler.service.http.downloads_api import DownloadsApi
from crawler.service.http.jobs_api import JobsApi
from crawler.service.http.openapi import document
from crawler.service.http.probes_api import ProbesApi
from crawler.service.http.results_api import ResultsApi
from crawler.service.http.routes import Route
from crawler.service.http.schema import download_schema, job_schema
from crawler.service.http.stream import StreamApi
from crawler.service.http.workers_api import WorkersApi
from crawler.service.jobs.crawl_run import CrawlRun
from crawler.service.jobs.cron import CronScheduler
from crawler.service.jobs.download_run import DepotOpener, DownloadRun
from crawler.service.jobs.fair_share import ServiceResources
from crawler.service.jobs.job import Job, JobKind
from crawler.service.jobs.job_store import JobStore
from crawler.service.jobs.retention import Retention, give_up_reserve, keep_reserve, prepare
from crawler.service.jobs.runner import LocalRunner, Opener
from crawler.service.jobs.runners import RunnerTable
from crawler.service.jobs.supervisor import RETRY_EVERY, JobSupervisor
from crawler.service.jobs.webhooks import WebhookDispatcher
from crawler.service.monitoring.memory import MemoryUse
from crawler.service.monitoring.metrics import Metrics
from crawler.service.monitoring.tracing import OFF, Tracing
from crawler.service.settings import ServiceConfig, is_loopback

if TYPE_CHECKING:
    from crawler.service.cluster.cluster import ClusterMonitor

log = logging.getLogger(__name__)

LAG_EVERY: Final = 0.5
"""Seconds between looks at how late the loop wakes."""


class Service:
    """An open service; `url` says where. `stop()` ends `run()`."""

    def __init__(
        self,
        server: _Server,
        line: socket.socket,
        foreman: JobSupervisor,
        url: str,
        beside: Sequence[Any],
    ) -> None:
        self.url = url
        self.foreman = foreman
        self._server = server
        self._line = line
        self._beside = beside
        self._stops = 0

    async def run(self) -> None:
        """Until `stop`. A bug in any part ends it, loudly."""
        async with asyncio.TaskGroup() as crew:
            beside = [crew.create_task(_on(work, name), name=name) for name, work in self._beside]
            serving = crew.create_task(self._server.serve([self._line]), name="server")
            await self.foreman.run()
            self._server.should_exit = True
            await serving
            for task in beside:
                task.cancel()

    def stop(self) -> None:
        """First: drain. Second: drop what is in hand."""
        self._stops += 1
        self.foreman.drain()
        if self._stops > 1:
            self.foreman.drop()
            self._server.force_exit = True


async def _on(work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
    """Go on with a part after an error of the register's file: a full disk passes."""
    while True:
        try:
            await work()
        except* FrontierError as group:
            log.warning("%s: %s", name, group.exceptions[0])
        await asyncio.sleep(RETRY_EVERY)


class _Server(uvicorn.Server):
    """Signals are ours to see, not uvicorn's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def open_service(
    config: ServiceConfig,
    *,
    tokens: Sequence[AccessToken] = (),
    defaults: Mapping[str, Any] | None = None,
    help_texts: Mapping[str, str] | None = None,
    opener: Opener | None = None,
    depots: DepotOpener | None = None,
    free: Callable[[Path], int] | None = None,
    tracing: Tracing = OFF,
) -> AsyncIterator[Service]:
    """Raises ConfigError, FolderLocked, FatalError: in that case nothing was opened for long."""
    if not tokens and not is_loopback(config.host):
        raise ConfigError(
            f"--host {config.host}: without a token only loopback is served; set "
            "CRAWLER_SERVICE_TOKEN (openssl rand -base64 32)"
        )
    folder = Path(config.dir)
    prepare(folder)
    keep_reserve(folder)
    async with AsyncExitStack() as stack:
        register = await stack.enter_async_context(JobStore(folder))
        access = AccessControl(register, list(tokens))
        await access.load()
        guard = AddressGuard(private="any" if config.private else "never")
        neighbours = ServiceResources(connections=config.connections, guard=guard)
        courier = await stack.enter_async_context(WebhookDispatcher(register, guard))
        caretaker = Retention(
            folder, config, register, lambda: foreman, memory=MemoryUse(),
            **({} if free is None else {"free": free}),
        )  # fmt: skip

        def shift_of(job: Job) -> CrawlRun:
            if job.kind is JobKind.CRAWL:
                return CrawlRun(job)
            return DownloadRun(
                job,
                opener=depots or functools.partial(open_depot, neighbours=neighbours),
                orders=register.files,
                least_free=config.min_free,
                count=lambda status: metrics.file(status),  # noqa: PLW0108 - made below
            )

        foreman = JobSupervisor(
            register,
            folder,
            RunnerTable(
                LocalRunner(opener or functools.partial(open_crawl, neighbours=neighbours)),
                Path(config.shares or folder / "shares"),
            ).of,
            limits=config.limits(),
            limits_of=access.limits_of,
            may_start=lambda: caretaker.trouble,
            trace=tracing.job,
            shift_of=shift_of,
            make_room=functools.partial(give_up_reserve, folder),
            ended=lambda tally: metrics.ended(tally),  # noqa: PLW0108 - made below
        )
        cluster = _cluster(defaults or {}, register, foreman)
        metrics = Metrics(foreman, caretaker, neighbours, courier, cluster)
        parts = AppContext(
            config, defaults or {}, register, foreman, access, help_texts or {}, caretaker.sizes,
            lambda: caretaker.trouble,
        )  # fmt: skip
        timetable = CronScheduler(register, parts.read)
        described: dict[str, Any] = {}
        routes: list[Route] = [
            *ProbesApi(parts, metrics, lambda: described).routes(),
            *JobsApi(parts).routes(),
            *ResultsApi(parts).routes(),
            *DownloadsApi(parts).routes(),
            *StreamApi(parts).routes(),
            *AdminApi(parts, timetable).routes(),
            *WorkersApi(cluster).routes(),
        ]
        described.update(document(routes, job_schema(parts), download_schema(parts)))
        door = ApiMiddleware(parts, metrics, tracing)
        app = application(routes, door, pages(), config.cors)
        line = _listen(config)
        stack.callback(line.close)
        server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=5,
                limit_concurrency=1000,
                h11_max_incomplete_event_size=64 * 1024,
                http="h11",
                ws="none",
            )
        )
        await caretaker.look()
        yield Service(
            server,
            line,
            foreman,
            _url(config.host, line),
            [
                ("caretaker", caretaker.run),
                ("courier", courier.run),
                ("timetable", timetable.run),
                ("lag", functools.partial(_watch_lag, metrics)),
                *([("cluster", cluster.run)] if cluster is not None else []),
            ],
        )


def _cluster(
    defaults: Mapping[str, Any], register: JobStore, foreman: JobSupervisor
) -> ClusterMonitor | None:
    """The workers, where jobs are put on a Redis. Raises ConfigError without the extra."""
    frontier = msgspec.convert(defaults.get("frontier", {}), FrontierConfig, strict=False)
    if frontier.url is None:
        return None
    if importlib.util.find_spec("redis") is None:
        raise ConfigError("frontier.url needs redis: pip install 'crawler[redis]'")
    from crawler.service.cluster.cluster import ClusterMonitor  # noqa: PLC0415 - an extra

    return ClusterMonitor(frontier, register, lambda job: job in foreman.shifts)


def _listen(config: ServiceConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    host = config.host.strip("[]")
    try:
        return socket.create_server((host, config.port), family=family, backlog=256)
    except OSError as error:
        raise FatalError(
            f"cannot listen on {config.host}:{config.port}: {error.strerror}"
        ) from error


def _url(host: str, line: socket.socket) -> str:
    name = f"[{host.strip('[]')}]" if ":" in host else host
    return f"http://{name}:{line.getsockname()[1]}"


async def _watch_lag(metrics: Metrics) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_EVERY
        await asyncio.sleep(LAG_EVERY)
        metrics.lag = max(0.0, loop.time() - due)


async def serve(config: ServiceConfig, say: Callable[[str], None], **parts: Any) -> None:
    """The service as a person runs it: with signals, and a word to the service manager."""
    async with open_service(config, **parts) as service:
        loop = asyncio.get_running_loop()

        def came() -> None:
            say("stopping: crawls finish what is in hand (again: at once)")
            service.stop()
            loop.call_later(config.grace, service.stop)

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, came)
        say(f"serving {service.url}  (jobs in {config.dir}, pid {os.getpid()})")
        try:
            await service.run()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
