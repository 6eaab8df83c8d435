"""`crawler export csv|jsonl|parquet|sqlite DIR`: the crawl's tables."""

from __future__ import annotations

from pathlib import Path

import click

from crawler.cli.exits import Exit

HELP = """Write a table of the crawl in DIR: its pages (default), links or records.

    Rows are streamed, so the memory it takes does not grow with the crawl. The column `run` tells
    recrawls apart. {more}
    """

MORE = {
    "csv": "Cells that a spreadsheet would run as formulas are defused; lists are JSON.",
    "jsonl": "With --table links the graph is written with its URLs.",
    "parquet": "Needs pyarrow: pip install 'crawler[parquet]'.",
    "sqlite": "A table that is there already is replaced, others are left alone.",
}

NAMES = {
    "csv": "{table}.csv",
    "jsonl": "{table}.export.jsonl",  # pages.jsonl is the crawl's own
    "parquet": "{table}.parquet",
    "sqlite": "export.sqlite",  # all tables in one file
}
"""Where an export goes when nobody says where."""


def _command(form: str) -> click.Command:
    @click.command(form, short_help="Pages, links or records.", help=HELP.format(more=MORE[form]))
    @click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
    @click.option(
        "-o",
        "--output",
        "path",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"Where to; - is stdout.  [DIR/{NAMES[form].format(table='TABLE')}]",
    )
    @click.option(
        "--table",
        type=click.Choice(["pages", "links", "records"]),
        default="pages",
        help="What of.  [pages]",
    )
    @click.option("--run", type=int, metavar="N", help="Only what the N-th run wrote.")
    def command(folder: Path, path: Path | None, table: str, run: int | None) -> Exit:
        from crawler.cli.screen import Screen  # noqa: PLC0415 - rich: not for `--help`
        from crawler.export.columns import TABLES, require_run  # noqa: PLC0415
        from crawler.export.tables import WRITERS  # noqa: PLC0415

        target = path or folder / NAMES[form].format(table=table)
        require_run(folder, run)
        number = WRITERS[form](TABLES[table](folder, run), target)
        if str(target) != "-":
            Screen().say(f"{number} rows of {table} in {target}")
        return Exit.OK

    return command


csv = _command("csv")
jsonl = _command("jsonl")
parquet = _command("parquet")
sqlite = _command("sqlite")
