"""`crawler diff`: what changed between two crawls, or two runs of one."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crawler.cli.exits import Exit
from crawler.cli.formatting import counted, plain
from crawler.config.workdir import FRONTIER
from crawler.errors import ConfigError

if TYPE_CHECKING:
    from crawler.report.crawl_diff import CrawlDiff

KINDS = ("added", "removed", "changed", "moved", "unreachable")

MARKS = {"added": "+", "removed": "-", "changed": "~", "moved": ">", "unreachable": "!"}


@click.command(short_help="What changed between two crawls, or two runs of one.")
@click.argument(
    "folders", metavar="DIR [DIR]", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option("--runs", metavar="A:B", help="Which runs of one DIR.  [the last two]")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "html"]),
    default="text",
    help="What is written to stdout.  [text]",
)
@click.option("--exit-code", is_flag=True, help="End with 1 when anything differs, for scripts.")
def diff(folders: tuple[Path, ...], runs: str | None, form: str, exit_code: bool) -> int:
    """Show which pages were added (+), removed (-), changed (~) or moved (>).

    Two folders: the crawls in them, as they are now. One folder: its last two runs (`crawler
    recrawl`). Pages are compared by their main text: another date in the footer, a menu or a
    script is no change. ! marks pages that could not be had this time.
    """
    from crawler.report.crawl_diff import CrawlSide, compare  # noqa: PLC0415 - not for `--help`

    if len(folders) == 1:
        before, after = _runs(folders[0], runs)
        _warn(folders[0], after)
        changes = compare(CrawlSide(folders[0], before), CrawlSide(folders[0], after))
    elif len(folders) == 2 and runs is None:
        changes = compare(CrawlSide(folders[0]), CrawlSide(folders[1]))
    else:
        raise ConfigError("diff: two folders, or one and --runs A:B")
    from crawler.cli.screen import out  # noqa: PLC0415

    if form == "json":
        import msgspec  # noqa: PLC0415

        out(msgspec.json.encode(changes).decode())
    elif form == "html":
        from crawler.report.page import render_changes  # noqa: PLC0415 - jinja2

        out(render_changes(changes))
    else:
        for line in lines(changes):
            out(line)
    return 1 if exit_code and changes.number else int(Exit.OK)


def lines(changes: CrawlDiff) -> Iterator[str]:
    """The differences, a line each, and the sums."""
    for kind in KINDS:
        for one in getattr(changes, kind):
            detail = one.detail or one.title
            tail = f"  ({plain(detail, 300)})" if detail and kind != "moved" else ""
            arrow = f" → {plain(one.detail, 2000)}" if kind == "moved" else ""
            yield f"{MARKS[kind]} {plain(one.url, 2000)}{arrow}{tail}"
    sums = ", ".join(f"{len(getattr(changes, kind))} {kind}" for kind in KINDS)
    yield f"{sums}, {changes.unchanged} unchanged"


def _warn(folder: Path, after: int) -> None:
    """Of a run that has not ended: what it has yet to visit is compared as it was before."""
    from crawler.frontier.sqlite.overview import left_in_run  # noqa: PLC0415

    run, left = left_in_run(folder / FRONTIER)
    if after == run and left:
        click.echo(
            f"warning: run {run} has not ended: {counted(left, 'page')} that it has yet to visit "
            f"count as they were; go on with it: crawler resume {shlex.quote(str(folder))}",
            err=True,
        )


def _runs(folder: Path, text: str | None) -> tuple[int, int]:
    from crawler.report.crawl_diff import runs  # noqa: PLC0415

    there = runs(folder)
    if text is None:
        if there < 2:
            raise ConfigError(
                f"{folder}: had one run only; crawler recrawl {folder} makes another, "
                f"or name two folders"
            )
        return there - 1, there
    first, colon, second = text.partition(":")
    if not colon or not first.isdecimal() or not second.isdecimal():
        raise ConfigError(f"--runs: {text!r} is not A:B, two numbers of runs")
    return int(first), int(second)
