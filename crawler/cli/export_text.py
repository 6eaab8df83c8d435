"""`crawler export markdown DIR`: the pages' main content, for people and language models."""

from __future__ import annotations

from pathlib import Path

import click

from crawler.cli.exits import Exit


@click.command(short_help="Each page's main content as Markdown.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to.  [DIR/text]",
)
def markdown(folder: Path, target: Path | None) -> Exit:
    """Write each page of the crawl in DIR as Markdown: its main content, with front matter.

    Needs the bodies (--save html). With --text a crawl writes the same files as it goes.
    """
    from crawler.cli.screen import Screen  # noqa: PLC0415 - rich: not for `--help`
    from crawler.export.text import write_markdown  # noqa: PLC0415
    from crawler.parse.workers.pool import usable_cpus  # noqa: PLC0415

    place = target or folder / "text"
    number = write_markdown(folder, place, processes=usable_cpus())
    Screen().say(f"{number} pages in {place}")
    return Exit.OK
