"""`crawler report`: the report of a crawl's folder, made anew."""

from __future__ import annotations

from pathlib import Path

import click

from crawler.cli.exits import Exit


@click.command(short_help="Write DIR/report.html: what happened, broken links, charts.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The report's facts as JSON on stdout.")
@click.option("--broken", is_flag=True, help="All broken links as JSON lines on stdout.")
def report(folder: Path, as_json: bool, broken: bool) -> Exit:
    """Write the report of the crawl in DIR, finished, stopped or running.

    One HTML file that needs no network: sums, throughput, status and type distribution, hosts,
    errors, broken links with the pages that link to them, redirect chains, duplicates.
    """
    import msgspec  # noqa: PLC0415 - not for `--help`

    from crawler.cli.screen import out  # noqa: PLC0415

    if broken:
        from crawler.report.broken import broken_in  # noqa: PLC0415

        _, found = broken_in(folder)
        for one in found:
            out(msgspec.json.encode(one).decode())
    elif as_json:
        from crawler.report.build import build_report  # noqa: PLC0415

        out(msgspec.json.encode(build_report(folder)).decode())
    else:
        from crawler.report.page import write_report  # noqa: PLC0415 - jinja2

        out(str(write_report(folder)))
    return Exit.OK
