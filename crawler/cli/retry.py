"""`crawler retry`: the failed links of a crawl once more, then on with it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from crawler.cli.common_options import screen_options
from crawler.cli.config_sources import config_options
from crawler.cli.crawl import go_on
from crawler.cli.exits import Exit
from crawler.cli.flags import options
from crawler.config.workdir import FRONTIER
from crawler.errors import ConfigError


@click.command(short_help="Try a crawl's failed links again.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--reason",
    default="*",
    metavar="GLOB",
    help="Only those whose reason matches, e.g. 'timeout*', dns, 'status:4*'.",
)
@click.option(
    "--status",
    "statuses",
    multiple=True,
    metavar="STATUS",
    help="Only those that ended with this status, e.g. 503 or 5xx; repeatable.",
)
@screen_options
@config_options
@options(without=("output.dir",))
def retry(folder: Path, reason: str, statuses: tuple[str, ...], **values: Any) -> Exit:
    """Queue the failed links of the crawl in DIR again, and go on with it.

    Their attempts start from nothing and their hosts are no longer parked. A link's new record
    follows its old one in pages.jsonl; the last one counts.
    """
    if not (folder / FRONTIER).exists():
        raise ConfigError(f"{folder}: holds no crawl to retry")
    spans = [_span(status) for status in statuses]
    if values["print_config"]:
        return go_on(folder, values)
    from crawler.frontier.sqlite.requeue_failed import requeue  # noqa: PLC0415 - not for `--help`

    number = requeue(folder / FRONTIER, reason=reason, statuses=spans)
    if not values["silent"]:
        what = "1 failed link" if number == 1 else f"{number} failed links"
        click.echo(f"{what} queued again" if number else "no failed link matches", err=True)
    return go_on(folder, values) if number else Exit.OK


def _span(status: str) -> range:
    """`503` → that; `5xx`, `50x` → all that begin so. Raises ConfigError."""
    plain = status.strip().lower()
    if not re.fullmatch(r"[1-9](\d\d|\dx|xx)", plain, re.ASCII):
        raise ConfigError(f"--status: {status!r} is not a status such as 503 or 5xx")
    return range(int(plain.replace("x", "0")), int(plain.replace("x", "9")) + 1)
