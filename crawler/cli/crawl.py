"""`crawler crawl` and `crawler resume`: settings from everywhere, then a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from crawler.cli.common_options import dry_option, loops_option, screen_options
from crawler.cli.config_sources import (
    add_said,
    config_options,
    merged,
    saved,
    seeds_in,
    text_of,
    with_scheme,
)
from crawler.cli.exits import Exit
from crawler.cli.flags import options
from crawler.config.loader import Settings
from crawler.config.redaction import without_secrets
from crawler.config.workdir import FRONTIER, LOOPS, is_crawl
from crawler.errors import ConfigError

if TYPE_CHECKING:
    from crawler.config.loader import Origins
    from crawler.config.model import Config

F = TypeVar("F", bound=Callable[..., Any])


@click.command(short_help="Crawl a site, or several.")
@click.argument("urls", nargs=-1, metavar="[URL]...")
@click.option("-u", "--url", "more", multiple=True, metavar="URL", help="Start here; repeatable.")
@click.option("-i", "--input-file", metavar="FILE", help="Start at the URLs in FILE; - is stdin.")
@click.option("--fresh", is_flag=True, help="Remove the crawl that DIR holds, and start over.")
@click.option("--resume", is_flag=True, help="Go on with the crawl that DIR holds, if it does.")
@click.option(
    "-N",
    "--update",
    "--timestamping",
    "update",
    is_flag=True,
    help="Visit the crawl that DIR holds again, if it does; fetch what changed.",
)
@loops_option
@dry_option
@screen_options
@config_options
@options()
def crawl(
    urls: tuple[str, ...],
    more: tuple[str, ...],
    input_file: str | None,
    fresh: bool,
    resume: bool,
    update: bool,
    **values: Any,
) -> Exit:
    """Crawl from URL, or several, until there is no more or a limit is reached.

    Writes DIR/pages.jsonl (one line a page), DIR/frontier.db (every URL and its story) and
    DIR/crawl.toml (the settings as they took effect). Killed at any instant, it goes on with
    `crawler resume DIR`, losing and repeating nothing.

    Settings: defaults < --config files < CRAWLER_SECTION_KEY variables < flags < -s.
    """
    if fresh + resume + update > 1:
        raise ConfigError("--fresh, --resume and --update: only one of them")
    settings = merged(values, os.environ)
    seeds = list(dict.fromkeys([*_seeds((*urls, *more)), *_from_file(input_file)]))
    if seeds:
        settings.set("seeds", seeds, "command line")
    folder = Path(settings.config().output.dir)
    going_on = is_crawl(folder) if resume else update and (folder / FRONTIER).exists()
    if not (settings.config().seeds or going_on or values["print_config"]):
        raise ConfigError("no URL to start at: crawler crawl https://example.com/, or -i FILE")
    if going_on and update:
        from crawler.cli.recrawl import again  # noqa: PLC0415 - it takes the options from here

        if values["dry_run"]:
            raise ConfigError(f"--update and --dry-run: every page of {folder} would be visited")
        return again(folder, values)
    if going_on:
        return go_on(folder, values, seeds)
    return _run(settings, folder, "fresh" if fresh else "new", values)


@click.command(short_help="Go on with a crawl where it stopped.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@loops_option
@dry_option
@screen_options
@config_options
@options(without=("output.dir",))
def resume(folder: Path, **values: Any) -> Exit:
    """Go on with the crawl in DIR.

    Its settings are those in DIR/crawl.toml, whatever the environment says today; --config files,
    flags and -s change them for this run.
    """
    if not is_crawl(folder):
        raise ConfigError(f"{folder}: holds no crawl to resume")
    return go_on(folder, values)


def go_on(folder: Path, values: dict[str, Any], seeds: Sequence[str] = ()) -> Exit:
    """Resume with the saved settings, what was said now on top, and seeds that are new."""
    settings = saved(folder)
    add_said(settings, values)
    settings.set("output.dir", str(folder), "DIR")  # it may have been moved
    if seeds:
        every = dict.fromkeys([*settings.config().seeds, *seeds])
        settings.set("seeds", list(every), "command line")
    return _run(settings, folder, "resume", values)


def _run(settings: Settings, folder: Path, mode: Any, values: dict[str, Any]) -> Exit:
    config = settings.config()
    if values["print_config"]:
        from crawler.cli.explain import explain  # noqa: PLC0415
        from crawler.cli.screen import out  # noqa: PLC0415

        out(explain(without_secrets(config), settings.origins))
        return Exit.OK
    several = (folder / LOOPS).exists() if mode == "resume" else values.get("loops") is not None
    if mode == "resume" and values.get("loops") and not several:
        raise ConfigError(f"{folder}: its crawl has one loop, and its queue in a file: no --loops")
    if values.get("dry_run"):
        if several and mode == "resume":
            raise ConfigError(f"--dry-run: {folder} holds a crawl of several loops")
        return _dry_run(config, settings.origins, folder if mode == "resume" else None, values)
    if not several:
        from crawler.parse.workers.forkserver import warm  # noqa: PLC0415 - only who crawls pays

        warm()  # what reads pages is loaded beside what fetches them
    from crawler.cli.screen import Screen  # noqa: PLC0415 - not for `--help`

    screen = Screen(
        silent=values["silent"],
        verbose=values["verbose"],
        no_color=values["no_color"],
        as_json=values["as_json"],
    )
    if several:
        from crawler.cli import loops  # noqa: PLC0415 - only who crawls pays

        return loops.run(config, folder, mode, screen, values.get("loops"))
    from crawler.cli.run_crawl import run  # noqa: PLC0415 - asyncio and rich: not for `--help`

    return run(config, folder, mode, screen)


def _dry_run(config: Config, origins: Origins, folder: Path | None, values: dict[str, Any]) -> Exit:
    from crawler.cli.dry_run import json_lines, lines, plans  # noqa: PLC0415 - not for `--help`

    frontier = None if folder is None else folder / FRONTIER
    told = json_lines(config, frontier) if values["as_json"] else lines(config, origins, frontier)
    for line in told:
        click.echo(line)
    wrong = sum(plan.verdict == "invalid" for plan in plans(config))
    return Exit.USAGE if wrong else Exit.OK


def _seeds(urls: tuple[str, ...]) -> list[str]:
    for url in urls:
        if "://" not in url and Path(url).is_file():
            raise ConfigError(f"{url}: is a file; to start at the URLs in it: -i {url}")
    return [with_scheme(url) for url in urls]


def _from_file(name: str | None) -> list[str]:
    if name is None:
        return []
    try:
        seeds = seeds_in(sys.stdin if name == "-" else text_of(name).splitlines())
    except UnicodeDecodeError as error:
        raise ConfigError(f"stdin: not UTF-8 (byte {error.start})") from error
    if not seeds:
        raise ConfigError(f"{'stdin' if name == '-' else name}: no URL in it")
    return seeds
