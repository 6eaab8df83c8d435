"""`crawler merge`: the folders of several workers become one crawl."""

from __future__ import annotations

from pathlib import Path

import click

from crawler.cli.formatting import amount, counted


@click.command(short_help="Make one crawl of what several workers wrote.")
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("folders", metavar="DIR...", nargs=-1, required=True)
def merge(out: Path, folders: tuple[str, ...]) -> None:
    """Write OUT/pages.jsonl with each URL of the workers' folders exactly once.

    DIR is a worker's folder, a folder of such folders, or, with crawler[upload], where one was
    copied to (s3://…). Of several records of a URL the last fetched stands; they come from workers
    that died, or were cut off, between writing and settling.

    Bodies and texts are copied too, and archives become one in OUT/warc, with one index: `crawler
    export cdxj OUT` and the like read it. (Of what lies in a store, only the records.)
    """
    from crawler.export.merge_crawls import merge as merged  # noqa: PLC0415 - not for `--help`

    done = merged(out, folders)
    click.echo(
        f"{amount(done.records)} records of {done.sources} folders in {out / 'pages.jsonl'}; "
        f"{amount(done.repeated)} that were repeated are left out"
        + (f", {done.torn} torn lines too" if done.torn else "")
    )
    if done.archive.files:
        click.echo(
            f"{counted(done.archive.captures, 'capture')} in {counted(done.archive.files, 'file')} "
            f"under {out / 'warc'}"
        )
