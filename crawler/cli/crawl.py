"""`crawler crawl` and `crawler resume`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crawler.cli.exits import Exit, exit_code
from crawler.cli.flags import PRESETS, given, options
from crawler.errors import ConfigError
from crawler.settings import Settings, explain

if TYPE_CHECKING:
    from crawler.config import Config
    from crawler.crawl import Crawl


def _screen_options(command: Any) -> Any:
    for option in (
        click.option("-q", "--silent", is_flag=True, help="Say nothing but errors."),
        click.option("-v", "--verbose", count=True, help="One line a visit; twice: debug."),
        click.option("--no-color", is_flag=True, help="No colours."),
        click.option("--json", "as_json", is_flag=True, help="The summary as JSON on stdout."),
    ):
        command = option(command)
    return command


@click.command(short_help="Crawl a site, or several.")
@click.argument("urls", nargs=-1, metavar="[URL]...")
@click.option("-u", "--url", "more", multiple=True, metavar="URL", help="A URL to start at.")
@click.option(
    "-i", "--input-file", type=click.File("r"), help="Start at the URLs in this file; - is stdin."
)
@click.option("-O", "--out-dir", metavar="DIR", help="Where to write.  [default: ./crawl]")
@click.option(
    "--config", "files", multiple=True, type=click.Path(path_type=Path), help="TOML file."
)
@click.option("-s", "assignments", multiple=True, metavar="KEY=VALUE", help="Set any setting.")
@click.option("--polite", is_flag=True, help="One connection a host, a second between requests.")
@click.option("--fresh", is_flag=True, help="Remove the crawl that DIR holds, and start over.")
@click.option("--resume", is_flag=True, help="Go on with the crawl that DIR holds.")
@click.option("--print-config", is_flag=True, help="Show every setting and where it comes from.")
@_screen_options
@options
def crawl(
    urls: tuple[str, ...],
    more: tuple[str, ...],
    input_file: Any,
    out_dir: str | None,
    files: tuple[Path, ...],
    assignments: tuple[str, ...],
    polite: bool,
    fresh: bool,
    resume: bool,
    print_config: bool,
    silent: bool,
    verbose: int,
    no_color: bool,
    as_json: bool,
    **flags: Any,
) -> int:
    settings = Settings()
    for file in files:
        settings.tree(read_toml(file), str(file))
    settings.environment(os.environ)
    if polite:
        for key, value in PRESETS["polite"].items():
            settings.set(key, value, "--polite")
    for key, value, origin in given(flags):
        settings.set(key, value, origin)
    for assignment in assignments:
        settings.assignment(assignment)
    lines = [line.strip() for line in input_file or () if line.strip() and line[0] != "#"]
    if seeds := [with_scheme(url) for url in (*urls, *more, *lines)]:
        settings.set("seeds", seeds, "command line")
    if out_dir is not None:
        settings.set("output.dir", out_dir, "-O")
    config = settings.config()
    if print_config:
        click.echo(explain(config, settings.origins), nl=False)
        return Exit.OK
    if fresh and resume:
        raise ConfigError("--fresh and --resume: only one of them")
    if not config.seeds and not resume:
        raise ConfigError("no URL given: crawler crawl https://example.com/")
    screen = _screen(silent, verbose, no_color, as_json)
    mode = "fresh" if fresh else "resume" if resume else "new"
    return run(config, Path(config.output.dir), mode, screen)


crawl.help = """Crawl from URL, or several, until there is no more or a limit is reached.

Writes DIR/pages.jsonl (one line a page), DIR/frontier.db (every URL and its story) and
DIR/crawl.toml (the settings as they took effect). Killed at any instant, it goes on with
`crawler resume DIR`, losing and repeating nothing.
"""


@click.command(short_help="Go on with a crawl where it stopped.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("-s", "assignments", multiple=True, metavar="KEY=VALUE", help="Change a setting.")
@_screen_options
@options
def resume(
    folder: Path,
    assignments: tuple[str, ...],
    silent: bool,
    verbose: int,
    no_color: bool,
    as_json: bool,
    **flags: Any,
) -> int:
    """Go on with the crawl in DIR, with the settings it has; flags change them for this run."""
    settings = Settings()
    path = folder / "crawl.toml"
    if not path.exists():
        raise ConfigError(f"{folder}: holds no crawl to resume")
    settings.tree(read_toml(path), str(path))
    for key, value, origin in given(flags):
        settings.set(key, value, origin)
    for assignment in assignments:
        settings.assignment(assignment)
    return run(settings.config(), folder, "resume", _screen(silent, verbose, no_color, as_json))


def run(config: Config, folder: Path, mode: Any, screen: dict[str, Any]) -> int:
    """Crawl on an event loop of our own, with the display and the signals a person expects."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_run(config, folder, mode, screen))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Uvloop where the platform has it: a third more pages a second."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return asyncio.new_event_loop
    new: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return new


async def _run(config: Config, folder: Path, mode: Any, screen: dict[str, Any]) -> int:
    from crawler.build import open_crawl  # noqa: PLC0415 - aiohttp: only who crawls pays
    from crawler.cli.display import Display  # noqa: PLC0415
    from crawler.cli.summary import show, summary_json  # noqa: PLC0415

    _raise_file_limit()
    async with open_crawl(config, dir=folder, mode=mode) as running:
        if mode == "resume" and not screen["silent"]:
            counts = await running.frontier.counts()
            click.echo(f"resuming: {counts.done} pages done, {counts.pending} queued", err=True)
        _signals(running, folder)
        async with Display(running.tally, config, **screen):
            await running.run()
        counts = await running.frontier.counts()
    shot = running.tally.snapshot()
    code = exit_code(running.finish_reason, shot)
    if screen["as_json"]:
        click.echo(summary_json(shot, counts, running.finish_reason, folder))
    elif not screen["silent"]:
        show(shot, counts, running.finish_reason, folder, no_color=screen["no_color"])
    return code


def _signals(running: Crawl, folder: Path) -> None:
    """First signal: finish what is in hand. Second: at once."""
    loop = asyncio.get_running_loop()
    seen = 0

    def caught() -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            click.echo(
                f"\nstopping: finishing what is in hand (again: at once). "
                f"Go on later with: crawler resume {folder}",
                err=True,
            )
            running.stop("interrupted")
        else:
            running.abort()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, caught)


def _raise_file_limit() -> None:
    """Sockets are files: take as many as the hard limit allows."""
    import resource  # noqa: PLC0415 - POSIX only

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _screen(silent: bool, verbose: int, no_color: bool, as_json: bool) -> dict[str, Any]:
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    return {
        "silent": silent or as_json,
        "no_color": no_color or "NO_COLOR" in os.environ,
        "as_json": as_json,
    }


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file. Raises ConfigError with file and place."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def with_scheme(url: str) -> str:
    """`example.com` → `https://example.com`; an address or localhost is http, as one's own is."""
    if "://" in url:
        return url
    host = url.partition("/")[0].rpartition("@")[2]
    name = host.rpartition(":")[0] or host
    own = name == "localhost" or name.startswith("[") or name.replace(".", "").isdigit()
    return f"{'http' if own else 'https'}://{url}"
