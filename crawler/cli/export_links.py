"""`crawler export links DIR`: the link graph as an edge list or GraphML."""

from __future__ import annotations

from pathlib import Path

import click

from crawler.cli.exits import Exit


@click.command(short_help="Which page links to which: an edge list or GraphML.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["edges", "graphml"]),
    default="edges",
    help="source TAB target a line, or GraphML with states and kinds.  [edges]",
)
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to; - is stdout.  [DIR/links.tsv, DIR/links.graphml]",
)
def links(folder: Path, form: str, path: Path | None) -> Exit:
    """Write the link graph of the crawl in DIR, streamed.

    Every link of every page that was read, also those that were not followed. The same as a
    table: crawler export csv DIR --table links.
    """
    from crawler.cli.screen import Screen  # noqa: PLC0415 - rich: not for `--help`
    from crawler.export.graph_formats import write_edges, write_graphml  # noqa: PLC0415

    target = path or folder / ("links.tsv" if form == "edges" else "links.graphml")
    number = (write_edges if form == "edges" else write_graphml)(folder, target)
    if str(target) != "-":
        Screen().say(f"{number} links in {target}")
    return Exit.OK
