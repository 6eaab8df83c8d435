"""The command line: finds the command, catches what must not become a traceback."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from typing import Any, Final, NoReturn

import click

from crawler.cli.exits import MEANINGS, Exit, error_code
from crawler.errors import CrawlerError

COMMANDS: Final = {
    "crawl": ("crawler.cli.crawl", "Crawl a site, or several."),
    "resume": ("crawler.cli.crawl", "Go on with a crawl where it stopped."),
    "status": ("crawler.cli.status", "What a stopped or running crawl has done."),
    "fetch": ("crawler.cli.fetch", "One trip to one URL, in full."),
    "demo-web": ("crawler.cli.demo", "Serve the bundled demo web."),
    "demo-crawl": ("crawler.cli.demo", "Start the demo web and crawl it."),
}
"""Loaded when called: `crawler --help` must not import what only a crawl needs."""


class Commands(click.Group):
    """A group whose commands live in modules of their own."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), text) for code, text in MEANINGS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="crawler", message="%(prog)s %(version)s")
def crawler() -> None:
    """A web crawler and downloader: polite, exact, and impossible to make lose a page.

    crawler crawl https://example.com/ writes ./crawl/pages.jsonl; Ctrl-C stops it, crawler resume
    ./crawl goes on.
    """


def main(args: list[str] | None = None) -> NoReturn:
    """Run a command; whatever happens, end with a documented code and no traceback."""
    try:
        code: Any = crawler.main(args, prog_name="crawler", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        code = exit_.exit_code
    except click.ClickException as error:
        error.show()
        code = Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        code = Exit.INTERRUPTED
    except BrokenPipeError:
        # Who read our output has gone; say nothing more, not even at interpreter exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Exit.OK
    except Exception as error:  # noqa: BLE001 - the last line before the user
        code = _report(error)
    sys.exit(int(code or 0))


def _report(error: Exception) -> Exit:
    if isinstance(error, CrawlerError):
        click.echo(f"crawler: error: {_printable(str(error))}", err=True)
    else:
        first = (str(error).splitlines() or [""])[0]
        click.echo(
            f"crawler: bug: {type(error).__name__}: {_printable(first)} "
            "(please report it; -v shows where)",
            err=True,
        )
        logging.getLogger("crawler").debug("where it happened", exc_info=error)
    return error_code(error)


def _printable(text: str) -> str:
    """One line, without control characters that a URL or a file name could bring to a terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
