"""`crawler worker`: one more process, on this or another machine, for a crawl that many share."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from crawler.cli.common_options import screen_options
from crawler.cli.config_sources import config_options, merged, of_job
from crawler.cli.exits import Exit
from crawler.cli.flags import options
from crawler.config.loader import Settings
from crawler.config.workdir import is_crawl
from crawler.errors import ConfigError
from crawler.utils.parent_death import safe_path


@click.command(short_help="Work on a crawl that lies on a Redis.")
@click.option("--count", type=click.IntRange(min=1), default=1, metavar="N",
              help="So many workers, each in a folder of its own below DIR.  [1]")  # fmt: skip
@click.option("--stand-by", is_flag=True,
              help="Work on every job that a service puts there (crawler serve --frontier URL), "
              "each in a folder of its own below DIR, and wait for more.")  # fmt: skip
@click.option("--metrics", metavar="[HOST:]PORT",
              help="With --stand-by: answer /metrics and /healthz here.")  # fmt: skip
@screen_options
@config_options
@options()
def worker(count: int, stand_by: bool, metrics: str | None, **values: Any) -> Exit:
    """Take part in the job that `--frontier redis://host/ --job NAME` names, until it is finished.

    The job's settings come from Redis, as `crawler crawl --frontier …` saved them; flags change
    them for this worker. What it fetches lies in DIR, one folder a worker: a worker that comes
    back to its folder goes on with it, and `crawler merge OUT DIR…` makes one crawl of all.
    Ctrl-C or SIGTERM: what is in hand is finished, what is not is given back.
    """
    if stand_by:
        if count > 1:
            raise ConfigError("--stand-by and --count: start it so many times")
        from crawler.cli.run_worker_daemon import stand  # noqa: PLC0415 - not for `--help`

        return stand(values, metrics)
    if metrics is not None:
        raise ConfigError("--metrics needs --stand-by")
    settings = _settings(values)
    folder = Path(settings.config().output.dir)
    if count > 1:
        return _several(count, folder)
    config = settings.config()
    from crawler.bootstrap.crawl_setup import open_crawl  # noqa: PLC0415 - not for `--help`
    from crawler.cli.run_crawl import run  # noqa: PLC0415
    from crawler.cli.screen import Screen  # noqa: PLC0415

    screen = Screen(
        silent=values["silent"],
        verbose=values["verbose"],
        no_color=values["no_color"],
        as_json=values["as_json"],
    )
    mode = "resume" if is_crawl(folder) else "new"
    return run(config, folder, mode, screen, opener=partial(open_crawl, join=True))  # type: ignore[arg-type]


def _settings(values: dict[str, Any]) -> Settings:
    """The job's, with what is said here on top."""
    where = merged(values, os.environ).config().frontier
    if where.url is None:
        raise ConfigError("no Redis named: crawler worker --frontier redis://host/ --job NAME")
    try:
        from crawler.frontier.redis.redis_jobs import settings_of  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise ConfigError(f"--frontier needs {error.name}: pip install crawler[redis]") from error
    return of_job(asyncio.run(settings_of(where)), where, values)


def _several(count: int, folder: Path) -> Exit:
    """Workers as processes of their own; signals are passed on. The worst exit code is ours."""
    words = _without_count(sys.argv[1:])
    crew = [
        subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "crawler", *words, "--out-dir", str(folder / f"worker-{n}")],
            env={**os.environ, **safe_path()},
            process_group=0,  # a terminal's Ctrl-C comes to us alone: passed on, it would be two
        )
        for n in range(1, count + 1)
    ]

    def pass_on(number: int, _: object) -> None:
        for one in crew:
            if one.poll() is None:
                one.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    codes = [one.wait() for one in crew]
    worst = max(codes, key=abs)
    return Exit(worst) if worst in set(Exit) else Exit.BUG


def _without_count(words: list[str]) -> list[str]:
    left: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word == "--count":
            skip = True
        elif not word.startswith("--count="):
            left.append(word)
    return left
