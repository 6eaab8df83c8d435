"""`crawler jobs fetch` and `crawler jobs files`: downloads of a running service."""

from __future__ import annotations

import json
from typing import Any

import click

from crawler.cli.config_sources import add_said, config_options, text_of, with_scheme
from crawler.cli.download import LEFT_OUT, SECTIONS
from crawler.cli.exits import Exit
from crawler.cli.flags import options
from crawler.cli.formatting import plain, size
from crawler.cli.job_text import asked, job_options, posted
from crawler.cli.service_client import ServiceClient
from crawler.config.loader import Settings
from crawler.downloads.defaults import DEFAULTS


@click.command(short_help="Start a download as a job.")
@click.argument("urls", nargs=-1, metavar="[URL]...")
@click.option(
    "-i",
    "--input-file",
    "lists",
    multiple=True,
    metavar="FILE",
    help="URLs (aria2's lists too), JSON lines or a Metalink; repeatable.",
)
@job_options
@click.option("-g", "--globoff", is_flag=True, help="{a,b} and [1-9] in URLs mean themselves.")
@config_options
@options(only=SECTIONS, without=LEFT_OUT, defaults=DEFAULTS)
@click.pass_obj
def fetch(
    api: ServiceClient,
    /,
    urls: tuple[str, ...],
    lists: tuple[str, ...],
    globoff: bool,
    **values: Any,
) -> Exit:
    """Download files as a job of the service; lists are read here. Prints the job's id."""
    from crawler.downloads import input_lists as forms  # noqa: PLC0415 - not for `--help`

    settings = Settings()
    add_said(settings, values)
    files: list[Any] = []
    for url in urls:
        files += [with_scheme(one) for one in ([url] if globoff else forms.expand_url(url))]
    for path in lists:
        files += [_told(order) for order in forms.parse_list(text_of(path), path)]
    return posted(api, asked(settings) | {"files": files}, values)


@click.command(short_help="A download's files, and what became of each.")
@click.argument("job", metavar="JOB")
@click.option("-n", "--most", default=100, metavar="N", help="Rows at most.  [100]",
              type=click.IntRange(1))  # fmt: skip
@click.option("--state", help="Only these: waiting, running, done, failed.")
@click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
@click.pass_obj
def files(api: ServiceClient, job: str, most: int, state: str | None, as_json: bool) -> None:
    """Show each file: its state, size, name or URL, and why it failed."""
    for row in api.pages(f"/jobs/{job}/downloads", "downloads", most, state=state):
        if as_json:
            click.echo(json.dumps(row, ensure_ascii=False))
            continue
        known = "?" if row["bytes"] is None else size(row["bytes"])
        reason = f"  {plain(row['reason'], 200)}" if row["reason"] else ""
        click.echo(f"{row['state']:8} {known:>9}  {plain(row['path'] or row['url'], 500)}{reason}")


def _told(order: Any) -> dict[str, Any]:
    """An order as the service takes it: only what was said."""
    line = {
        "url": with_scheme(order.url), "name": order.name, "headers": order.headers,
        "checksum": [f"{name}:{digest}" for name, digest in order.checksums],
        "size": order.size, "mirrors": list(order.mirrors),
    }  # fmt: skip
    return {name: value for name, value in line.items() if value not in (None, {}, [])}
