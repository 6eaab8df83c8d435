"""`crawler release`: links that were parked as a trap's are sent on their way."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from fnmatch import translate
from pathlib import Path

import click

from crawler.cli.formatting import amount, plain
from crawler.config.workdir import FRONTIER
from crawler.errors import ConfigError
from crawler.policy.patterns import compile_pattern


@click.command(short_help="Queue links that were parked as a trap's.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("pattern")
@click.option("--regex", is_flag=True, help="PATTERN is a regular expression, found anywhere.")
def release(folder: Path, pattern: str, regex: bool) -> None:
    """Queue the parked links of the crawl in DIR whose URL or reason matches PATTERN.

    PATTERN is the whole URL or reason with * and ? as in a shell: 'trap:calendar', '*/shop*'.
    Released links are visited whatever the brakes say; what they lead to is judged anew. The crawl
    must not run; go on with it by `crawler resume DIR`. `crawler status DIR` shows what is parked.
    """
    from crawler.frontier.sqlite.unpark import release as let_go  # noqa: PLC0415 - not for `--help`

    number = let_go(folder / FRONTIER, matcher(pattern, regex=regex))
    if not number:
        raise ConfigError(f"{folder}: nothing that is parked matches {pattern!r}")
    for reason, links in number.items():
        click.echo(f"{amount(links)} × {plain(reason, 60)} queued")
    click.echo(f"go on with: crawler resume {shlex.quote(str(folder))}")


def matcher(pattern: str, *, regex: bool) -> Callable[[str], bool]:
    """Whether a text matches. Raises ConfigError."""
    search = compile_pattern("PATTERN", pattern).search if regex else _glob(pattern)
    return lambda text: text == pattern or search(text) is not None


def _glob(pattern: str) -> Callable[[str], object]:
    """Linear for each `*`: `translate` lets none of them try again."""
    return re.compile(translate(pattern)).search
