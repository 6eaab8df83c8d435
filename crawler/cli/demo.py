"""`crawler demo-web` serves the bundled demo web; `crawler demo-crawl` starts it and crawls it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from crawler.cli.exits import Exit
from crawler.config.workdir import FRONTIER
from crawler.demo.options import FLAGS, SWITCHES
from crawler.errors import FatalError

F = TypeVar("F", bound=Callable[..., Any])


def _web_options(command: F) -> F:
    for name, text in reversed(list(FLAGS.items())):
        kind: dict[str, Any] = {"metavar": "VALUE"}
        if name in SWITCHES:
            kind = {"is_flag": True, "flag_value": True}
        words = f"{text[:1].upper()}{text[1:]}."
        parameter = name.replace("-", "_")
        command = click.option(f"--{name}", parameter, help=words, default=None, **kind)(command)
    return command


@click.command("demo-web", short_help="Serve the bundled demo web.")
@_web_options
def demo_web(**flags: Any) -> int:
    """Serve a made-up web of any size on loopback; prints its address when it is up."""
    from crawler.demo.demo_server import serve  # noqa: PLC0415
    from crawler.demo.options import options  # noqa: PLC0415 - not for `--help`

    return serve(options({name: value for name, value in flags.items() if value is not None}))


@click.command("demo-crawl", short_help="Start the demo web and crawl it.")
@click.option("--pages", default=2000, show_default=True, help="Pages of the demo web.")
@click.option(
    "-O", "--out-dir", default="crawl", show_default=True, type=click.Path(path_type=Path),
    help="Where to write; an earlier demo crawl there is replaced.",
)  # fmt: skip
@click.option("-q", "--silent", is_flag=True, help="Say nothing but errors.")
@click.option("-v", "--verbose", count=True, help="Log visits; twice: everything.")
@click.option("--no-color", is_flag=True, help="No colours.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON on stdout.")
def demo_crawl(pages: int, out_dir: Path, **look: Any) -> Exit:
    """Start the bundled demo web in a process of its own and crawl all of it; needs no network."""
    from crawler.cli.run_crawl import run  # noqa: PLC0415
    from crawler.cli.screen import Screen  # noqa: PLC0415
    from crawler.config.loader import with_settings  # noqa: PLC0415
    from crawler.demo.process import DemoWeb  # noqa: PLC0415 - not for `--help`

    screen = Screen(**look)
    with DemoWeb(pages=pages, latency=0.005, broken=0.02, redirects=0.02) as web:
        config = with_settings(None, seeds=(web.url,), dir=str(out_dir), fast=True)
        return run(config, out_dir, "fresh" if _is_demo(out_dir) else "new", screen)


def _is_demo(folder: Path) -> bool:
    """Whether the folder holds an earlier demo crawl; a new one is marked as such."""
    marker = folder / "demo-crawl"
    if (folder / FRONTIER).exists():
        return marker.exists()  # a crawl of somebody's own is never replaced
    try:
        folder.mkdir(parents=True, exist_ok=True)
        marker.touch()
    except OSError as error:
        raise FatalError(f"{marker}: {error.strerror}") from error
    return False
