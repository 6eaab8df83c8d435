"""The command line: finds the command, catches what must not become a traceback.

Imports little: `crawler --help` costs what click costs. Each command lives in a module of its own,
loaded when it is called.
"""

from __future__ import annotations

import contextlib
import difflib
import gc
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from crawler.cli.lazy import LazyGroup
from crawler.cli.standard_files import open_standard_files
from crawler.errors import CrawlerError, FatalError, FetchError
from crawler.policy.internal_errors import machine_fault
from crawler.version import __version__

COMMANDS: Final = {
    "crawl": ("crawler.cli.crawl", "Crawl a site, or several."),
    "resume": ("crawler.cli.crawl", "Go on with a crawl where it stopped."),
    "recrawl": ("crawler.cli.recrawl", "Visit a crawl's pages again; fetch what changed."),
    "worker": ("crawler.cli.worker", "Work on a crawl that lies on a Redis."),
    "merge": ("crawler.cli.merge", "Make one crawl of what several workers wrote."),
    "frontier": ("crawler.cli.frontier_command", "Jobs on a Redis: list, pause, retry, remove."),
    "retry": ("crawler.cli.retry", "Try a crawl's failed links again."),
    "diff": ("crawler.cli.diff", "What changed between two crawls, or two runs of one."),
    "status": ("crawler.cli.status", "What a stopped or running crawl has done."),
    "report": ("crawler.cli.report", "Write DIR/report.html: what happened, broken links, charts."),
    "check": ("crawler.cli.check", "Check a site's links; exit code 1 when one is broken."),
    "export": ("crawler.cli.export", "What a crawl left behind, in another form."),
    "why": ("crawler.cli.why", "The whole story of one URL."),
    "release": ("crawler.cli.release", "Queue links that were parked as a trap's."),
    "robots": ("crawler.cli.robots", "What a robots.txt says, and why."),
    "download": ("crawler.cli.download", "Files: many, fast, resumable, verified."),
    "fetch": ("crawler.cli.fetch", "One trip to one URL, in full."),
    "try": ("crawler.cli.try_rules", "What extraction rules find on one page."),
    "serve": ("crawler.cli.serve", "Run crawls as jobs over HTTP, with a dashboard."),
    "jobs": ("crawler.cli.jobs", "Ask a running service: start, watch and stop jobs."),
    "demo-web": ("crawler.cli.demo", "Serve the bundled demo web."),
    "demo-crawl": ("crawler.cli.demo", "Start the demo web and crawl it."),
    "bench": ("crawler.cli.bench", "Measure asyncio, threads and processes on one crawl."),
}
"""Where each command is, and its line in the list: so that the list imports none of them."""


YOUNG: Final = 25_000
"""New containers between two searches for cycles among them: those of a few hundred pages, or of
half a start. Imports make tens of thousands of containers and hardly a cycle."""


EXIT: Final = 10
"""Seconds that the interpreter may take to end, when all is done."""


class Commands(LazyGroup):
    """All the commands, with a hint for who mistypes one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name in COMMANDS or name.startswith("-"):
            return super().resolve_command(ctx, args)
        if "://" in name or "." in name:
            ctx.fail(f"No such command {name!r}. Did you mean: crawler crawl {name}")
        near = difflib.get_close_matches(name, COMMANDS, 1)
        return ctx.fail(
            f"No such command {name!r}." + (f" Did you mean {near[0]!r}?" if near else "")
        )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        from crawler.cli.exits import MEANINGS  # noqa: PLC0415 - only --help needs it

        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), text) for code, text in MEANINGS.items()])


def _version(context: click.Context, _option: click.Parameter, asked: bool) -> None:
    if asked:
        from crawler.parse.native import COMPILED  # noqa: PLC0415 - only --version needs it

        click.echo(f"crawler {__version__} ({'compiled loops' if COMPILED else 'pure Python'})")
        context.exit()


@click.group(cls=Commands, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version, and whether the loops that read pages were compiled.",
)
def crawler() -> None:
    """A web crawler and downloader: polite, exact, and impossible to make lose a page.

    `crawler crawl https://example.com/` writes ./crawl/pages.jsonl; Ctrl-C stops it,
    `crawler resume ./crawl` goes on.
    """


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run a command; whatever happens, end with a documented code and no traceback."""
    open_standard_files()
    arguments = list(sys.argv[1:] if args is None else args)
    gc.set_threshold(YOUNG, 20, 100)  # decision 0060; the process is ours
    try:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError):  # not a text stream of ours
                stream.reconfigure(errors="replace")  # type: ignore[union-attr]
        code = _run(arguments)
    except KeyboardInterrupt:
        code = 11
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        _mute()
    if args is None:
        _leave_within(EXIT, code)
    gc.freeze()  # or the interpreter's last act is to search everything for cycles: 30 ms
    sys.exit(code)


def _leave_within(seconds: int, code: int) -> None:
    """Exit even if what the interpreter does at its end, joining threads, never comes to one."""
    with contextlib.suppress(AttributeError, ValueError):  # no such signal here
        signal.signal(signal.SIGALRM, lambda *_: os._exit(code))
        signal.alarm(seconds)


def _run(arguments: list[str]) -> int:
    try:
        code: Any = crawler.main(arguments, prog_name="crawler", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        _say("crawler: interrupted")
        return 11
    except BrokenPipeError:
        _mute()
        return 0
    except Exception as error:  # noqa: BLE001 - the last line before the person
        if isinstance(error, UnicodeEncodeError) and (given := _undecodable(arguments)):
            _say(f"crawler: error: {given}: cannot be used here, for it is not UTF-8")
            return 2
        return _report(_damage(error, arguments) or error, in_full=_wants_more(arguments))
    return int(code or 0)


def _damage(error: Exception, arguments: Sequence[str]) -> Exception | None:
    """The damage of a crawl that was named, over which our code tripped. None: it is a bug."""
    if any(_ours(error)) or _exhausted(error) is not None:
        return None
    from crawler.frontier.sqlite.corruption import damage_in  # noqa: PLC0415 - an error's cost only

    folders = [Path(one) for one in (*arguments, "crawl")]
    return next(filter(None, map(damage_in, folders)), None)


def _undecodable(arguments: Sequence[str]) -> str | None:
    """The first argument, or variable of ours, with bytes that are no text; None: there is none."""
    ours = (value for name, value in os.environ.items() if name.startswith("CRAWLER_"))
    return next((one for one in (*arguments, *ours) if not _is_text(one)), None)


def _is_text(value: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in value)


def _report(error: Exception, *, in_full: bool) -> int:
    lines, code = verdict_on(error, in_full=in_full)
    _say(*lines)
    return code


def verdict_on(error: Exception, *, in_full: bool) -> tuple[list[str], int]:
    """What ended a command: one line for an error of ours, even out of a group; for a bug, where
    to go with it. And the exit code.
    """
    from crawler.cli.exits import error_code  # noqa: PLC0415 - an error's cost only

    ours = list(_ours(error))
    if ours:
        error = next((one for one in ours if isinstance(one, FatalError)), ours[0])
        reason = f"{error.reason}: " if isinstance(error, FetchError) and error.detail else ""
        return [f"crawler: error: {reason}{error}"], error_code(error)
    if (said := _exhausted(error)) is not None:
        return [f"crawler: error: {said}"], error_code(FatalError(said))
    lines = "".join(traceback.format_exception(error)).splitlines() if in_full else []
    more = "please report it with the lines above" if in_full else "run it with -v to see where"
    lines.append(f"crawler: bug: {type(error).__name__}: {error} ({more})")
    return lines, error_code(error)


def _exhausted(error: BaseException) -> str | None:
    """What the machine ran out of, also out of a group, or lacks; None: it is a bug."""
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(_exhausted, error.exceptions)), None)
    if isinstance(error, FileNotFoundError):
        try:
            os.getcwd()  # noqa: PTH109 - a command that only helps has no use for pathlib
        except OSError:
            return "the working directory does not exist any more: go to another one"
    return machine_fault(error)


def _ours(error: BaseException) -> Iterator[CrawlerError]:
    if isinstance(error, CrawlerError):
        yield error
    elif isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _ours(one)


def _wants_more(arguments: Sequence[str]) -> bool:
    return any(
        one == "--verbose" or (one.startswith("-v") and not one.strip("-v")) for one in arguments
    )


def _say(*lines: str) -> None:
    """To stderr, without control characters that a URL or a file name could bring to a terminal."""
    for line in lines:
        one = " ".join(line.splitlines())
        clean = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in one)
        with contextlib.suppress(OSError, ValueError):
            click.echo(clean, err=True)


def _mute() -> None:
    """Who read our output has gone: say nothing more, not even when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


if __name__ == "__main__":
    main()
