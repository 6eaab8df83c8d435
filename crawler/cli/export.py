"""`crawler export FORMAT DIR`: what a crawl left behind, in another form."""

from __future__ import annotations

from typing import Final

import click

from crawler.cli.lazy import LazyGroup

FORMATS: Final = {
    "cdxj": ("crawler.cli.export_archive", "The archive's index, sorted (CDXJ)."),
    "mirror": ("crawler.cli.export_archive", "A copy to browse from disk, out of the archive."),
    "upload": ("crawler.cli.export_archive", "Copies of all its files, wherever fsspec writes."),
    "wacz": ("crawler.cli.export_archive", "Archive, index and pages in one WACZ file."),
    "csv": ("crawler.cli.export_tables", "Pages, links or records as CSV."),
    "jsonl": ("crawler.cli.export_tables", "… as JSON lines."),
    "links": ("crawler.cli.export_links", "Which page links to which: an edge list or GraphML."),
    "markdown": ("crawler.cli.export_text", "Each page's main content as Markdown."),
    "parquet": ("crawler.cli.export_tables", "… as Parquet, typed columns."),
    "sqlite": ("crawler.cli.export_tables", "… as tables of an SQLite file."),
}
"""Where each format is, and its line in the list."""


@click.group(cls=LazyGroup, table=FORMATS, short_help="What a crawl left behind, in another form.")
def export() -> None:
    """Make something else of what a crawl left in DIR."""
