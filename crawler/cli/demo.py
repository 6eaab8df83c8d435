"""`crawler demo-web` serves the bundled demo web; `crawler demo-crawl` starts it and crawls it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from crawler.bench.options import FLAGS, SWITCHES

F = TypeVar("F", bound=Callable[..., Any])


def _web_options(command: F) -> F:
    for name, text in reversed(list(FLAGS.items())):
        switch = name in SWITCHES
        command = click.option(
            f"--{name}",
            name.replace("-", "_"),
            help=f"{text[:1].upper()}{text[1:]}.",
            default=None,
            **({"is_flag": True, "flag_value": True} if switch else {"metavar": "VALUE"}),
        )(command)
    return command


@click.command("demo-web", short_help="Serve the bundled demo web.")
@_web_options
def demo_web(**flags: Any) -> int:
    """Serve a made-up web of any size on loopback; prints its address when it is up."""
    from crawler.bench.options import options  # noqa: PLC0415
    from crawler.bench.server import serve  # noqa: PLC0415

    return serve(options({name: value for name, value in flags.items() if value is not None}))


@click.command("demo-crawl", short_help="Start the demo web and crawl it.")
@click.option("--pages", default=2000, show_default=True, help="Pages of the demo web.")
@click.option(
    "-O", "--out-dir", default="crawl", show_default=True, type=click.Path(path_type=Path),
    help="Where to write; an earlier demo crawl there is replaced.",
)  # fmt: skip
@click.option("-q", "--silent", is_flag=True, help="Say nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON on stdout.")
def demo_crawl(pages: int, out_dir: Path, silent: bool, as_json: bool) -> int:
    """Start the bundled demo web in a process of its own and crawl all of it; needs no network."""
    from crawler.bench.demo import DemoWeb  # noqa: PLC0415
    from crawler.cli.crawl import run  # noqa: PLC0415
    from crawler.settings import with_settings  # noqa: PLC0415

    with DemoWeb(pages=pages, latency=0.005, broken=0.02, redirects=0.02) as web:
        config = with_settings(None, seeds=(web.url,), dir=str(out_dir), fast=True)
        mode = "fresh" if _is_demo(out_dir) else "new"
        screen = {"silent": silent or as_json, "no_color": False, "as_json": as_json}
        return run(config, out_dir, mode, screen)


def _is_demo(folder: Path) -> bool:
    """Whether the folder holds a crawl of a loopback site, such as an earlier demo."""
    try:
        return 'seeds = [\n    "http://127.0.0.1:' in (folder / "crawl.toml").read_text("utf-8")
    except OSError:
        return False
