"""Run `crawler worker --stand-by`: signals, log lines, /metrics and the exit code."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import msgspec

from crawler.cli.config_sources import merged, of_job
from crawler.cli.exits import Exit
from crawler.cli.run_crawl import loop_factory, raise_file_limit
from crawler.config.model import Config, FrontierConfig
from crawler.errors import ConfigError

CONNECTIONS: Final = 256
"""Open ones, of all jobs of a worker together; `crawler serve` has as many."""


def stand(values: dict[str, Any], metrics: str | None) -> Exit:
    """Until SIGTERM. Raises ConfigError, FatalError, FrontierError."""
    said = merged(values, os.environ).config()
    if said.frontier.url is None:
        raise ConfigError("no Redis named: crawler worker --stand-by --frontier redis://host/")
    if importlib.util.find_spec("redis") is None:
        raise ConfigError("--frontier needs redis: pip install 'crawler[redis]'")
    if metrics is not None and importlib.util.find_spec("prometheus_client") is None:
        raise ConfigError("--metrics needs the extra: pip install 'crawler[service]'")
    from crawler.service.monitoring.logs import start_logging  # noqa: PLC0415 - after what may be wrong

    start_logging("json" if values["as_json"] else "text", "info")
    raise_file_limit()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_stand(said, values, metrics))
    return Exit.OK


async def _stand(said: Config, values: dict[str, Any], metrics: str | None) -> None:
    from crawler.bootstrap.crawl_setup import open_crawl  # noqa: PLC0415 - aiohttp: only who crawls pays
    from crawler.fetch.address_guard import AddressGuard, networks  # noqa: PLC0415
    from crawler.service.cluster.worker_daemon import WorkerDaemon  # noqa: PLC0415
    from crawler.service.jobs.fair_share import WorkerResources  # noqa: PLC0415

    def configure(job: str, text: str) -> Config:
        where: FrontierConfig = msgspec.structs.replace(said.frontier, job=job)
        return of_job(text, where, values).config()

    # Strangers' jobs: not even their seeds lead into this network, unless its owner says so.
    guard = AddressGuard(
        private="any" if said.fetch.private == "any" else "never",
        networks=networks(said.fetch.allow_networks),
    )
    opener = functools.partial(open_crawl, neighbours=WorkerResources(CONNECTIONS, guard))
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        desk = WorkerDaemon(
            said.frontier, Path(said.output.dir), configure=configure, opener=opener
        )
        if metrics is not None:
            from crawler.service.monitoring.worker_metrics import metrics_server  # noqa: PLC0415 - an extra

            await stack.enter_async_context(metrics_server(desk, metrics))
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, desk.stop)
            stack.callback(loop.remove_signal_handler, number)
        await desk.run()
