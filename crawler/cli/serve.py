"""`crawler serve`: crawls as jobs over HTTP, with a dashboard."""

from __future__ import annotations

import asyncio
import importlib.util
import os
from typing import Any

import click

from crawler.errors import ConfigError


@click.command(short_help="Run crawls as jobs over HTTP, with a dashboard.")
@click.option("--dir", "-O", "--out-dir", metavar="DIR", help="Where jobs lie.  [crawler-service]")
@click.option("--host", metavar="ADDRESS", help="Listen here; all but loopback want a token.")
@click.option("--port", metavar="N", help="Listen here; 0: a free port.  [8080]")
@click.option("--running", metavar="N", help="Jobs at a time.  [4]")
@click.option("--connections", metavar="N", help="Open connections of all jobs.  [256]")
@click.option(
    "--frontier",
    metavar="URL",
    help="redis://…: jobs are put there, and run by crawler worker --stand-by.",
)
@click.option(
    "--shares", metavar="DIR", help="Where the workers' folders can be read.  [DIR/shares]"
)
@click.option(
    "--allow", multiple=True, metavar="KEY", help="Let jobs set this, e.g. fetch.proxy; repeatable."
)
@click.option(
    "--private/--no-private",
    default=None,
    help="Let jobs go to private addresses: your own network's servers.",
)
@click.option(
    "--config",
    "file",
    metavar="FILE",
    help="TOML: [service] for the service, the rest is what every job starts from.",
)
@click.option("--log", type=click.Choice(["text", "json"]), help="Form of the log lines.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="How much is logged.  [info]",
)
def serve(file: str | None, **flags: Any) -> None:
    """Serve jobs, their results and a dashboard until a signal comes.

    On loopback without a token whoever can reach it may do everything. For anybody else set
    CRAWLER_SERVICE_TOKEN (or …_TOKEN_FILE), and CRAWLER_SERVICE_READ_TOKEN for who only looks.
    All other settings are in docs/guide/service.md.
    """
    if importlib.util.find_spec("starlette") is None:
        raise ConfigError("crawler serve needs the extra: pip install 'crawler[service]'")
    from crawler.cli.config_sources import text_of  # noqa: PLC0415
    from crawler.cli.flags import HELP  # noqa: PLC0415 - not for `--help`
    from crawler.cli.run_crawl import loop_factory, raise_file_limit  # noqa: PLC0415
    from crawler.service.http.access import tokens_from_environment  # noqa: PLC0415
    from crawler.service.monitoring.logs import start_logging  # noqa: PLC0415
    from crawler.service.monitoring.tracing import start_tracing  # noqa: PLC0415
    from crawler.service.server import serve as run  # noqa: PLC0415
    from crawler.service.settings import read  # noqa: PLC0415

    text = text_of(file) if file else ""
    config, defaults = read(text, file or "", os.environ, flags)
    tokens = tokens_from_environment(os.environ)
    start_logging(config.log, config.log_level)
    raise_file_limit()

    def say(line: str) -> None:
        click.echo(line, err=True)

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(
            run(
                config,
                say,
                tokens=tokens,
                defaults=defaults,
                help_texts=HELP,
                tracing=start_tracing(os.environ),
            )
        )
