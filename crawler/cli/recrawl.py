"""`crawler recrawl`: the pages of a crawl again, by conditional requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crawler.cli.common_options import screen_options
from crawler.cli.config_sources import add_said, config_options, saved
from crawler.cli.exits import Exit
from crawler.cli.flags import options
from crawler.cli.formatting import counted
from crawler.config.workdir import FRONTIER
from crawler.errors import ConfigError

if TYPE_CHECKING:
    from crawler.frontier.sqlite.sqlite_frontier import SqliteFrontier


async def _begun(frontier: SqliteFrontier, *, due: bool) -> str:
    """Begin a run, or go on with the last where it was stopped: it is compared as a whole, and a
    new one would leave its changes untold. What there is to say of it.
    """
    if await frontier.torn():
        run, left = frontier.run, frontier.pending
        return (
            f"run {run} was stopped before its end: going on with it, "
            f"{counted(left, 'link')} to visit (run {run + 1} begins once it has ended)"
        )
    number = await frontier.revisit(only_due=due)
    return f"run {number}" if number else "nothing is due yet"


@click.command(short_help="Visit a crawl's pages again; fetch what changed.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--due",
    is_flag=True,
    help="Only pages whose revisit interval is over (1 h to 90 d, by how they change).",
)
@screen_options
@config_options
@options(without=("output.dir",))
def recrawl(folder: Path, due: bool, **values: Any) -> Exit:
    """Visit what the crawl in DIR has visited once more, as a new run, and what is new since.

    Requests are conditional (ETag, Last-Modified): of what has not changed no body is sent. The
    run's lines follow those of earlier runs in pages.jsonl; `crawler diff DIR` tells what changed.
    Stopped or killed, the run goes on with `crawler resume DIR`, or when this is said again.
    """
    if not (folder / FRONTIER).exists():
        raise ConfigError(f"{folder}: holds no crawl to visit again")
    return again(folder, values, due=due)


def again(folder: Path, values: dict[str, Any], *, due: bool = False) -> Exit:
    """One more run over a crawl's pages, with its saved settings and what was said now on top."""
    settings = saved(folder)
    add_said(settings, values)
    settings.set("output.dir", str(folder), "DIR")
    config = settings.config()
    from crawler.cli.screen import Screen, out  # noqa: PLC0415 - rich: not for `--help`

    if values["print_config"]:
        from crawler.cli.explain import explain  # noqa: PLC0415

        out(explain(config, settings.origins))
        return Exit.OK
    from crawler.cli.run_crawl import run  # noqa: PLC0415 - asyncio and rich: not for `--help`

    screen = Screen(
        silent=values["silent"],
        verbose=values["verbose"],
        no_color=values["no_color"],
        as_json=values["as_json"],
    )

    @asynccontextmanager
    async def opener(*args: Any, **more: Any) -> AsyncIterator[Any]:
        from crawler.bootstrap.crawl_setup import open_crawl  # noqa: PLC0415 - aiohttp: only who crawls pays
        from crawler.frontier.sqlite.sqlite_frontier import SqliteFrontier  # noqa: PLC0415

        async with open_crawl(*args, **more) as running:
            frontier = running.frontier
            assert isinstance(frontier, SqliteFrontier)  # the only kind with a folder
            said = await _begun(frontier, due=due)
            if not screen.silent:
                screen.say(said)
            yield running

    return run(config, folder, "resume", screen, opener=opener)
