"""`crawler jobs …`: ask a running service. The command line is the API's first user."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from crawler.cli.config_sources import add_said, config_options, seeds_in, text_of, with_scheme
from crawler.cli.exits import Exit
from crawler.cli.flags import options
from crawler.cli.formatting import amount, plain, size
from crawler.cli.job_text import asked, job_options, line, posted, watched
from crawler.cli.jobs_files import fetch, files
from crawler.cli.service_client import SERVER, ServiceClient
from crawler.config.loader import SERVICE, Settings
from crawler.errors import ConfigError

_JOB = click.argument("job", metavar="JOB")
_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON on stdout.")
_MANY = click.option("-n", "--most", default=100, metavar="N", help="Rows at most.  [100]",
                     type=click.IntRange(1))  # fmt: skip


@click.group(short_help="Ask a running service: start, watch and stop jobs.")
@click.option("--server", metavar="URL", help=f"Where it listens.  [{SERVER}]")
@click.pass_context
def jobs(context: click.Context, server: str | None) -> None:
    """Start, watch and stop the jobs of a running `crawler serve`.

    The token is read from CRAWLER_SERVICE_TOKEN, the address from --server or CRAWLER_SERVICE_URL.
    """
    context.obj = ServiceClient(server or os.environ.get(f"{SERVICE}URL") or SERVER, os.environ)


@jobs.command(short_help="Start a crawl as a job.")
@click.argument("urls", nargs=-1, metavar="[URL]...")
@click.option("-i", "--input-file", metavar="FILE", help="Start at the URLs in FILE.")
@job_options
@config_options
@options(without=("output.dir",))
@click.pass_obj
def start(
    api: ServiceClient,
    /,
    urls: tuple[str, ...],
    input_file: str | None,
    **values: Any,
) -> Exit:
    """Start a crawl of URL, or several; flags are those of `crawler crawl`. Prints the job's id."""
    settings = Settings()
    add_said(settings, values)
    seeds = [with_scheme(url) for url in urls]
    if input_file:
        seeds += seeds_in(text_of(input_file).splitlines())
    if seeds:
        settings.set("seeds", list(dict.fromkeys(seeds)), "command line")
    return posted(api, asked(settings), values)


@jobs.command("list", short_help="Jobs, the newest first.")
@click.option("--state", help="Only these states, comma-separated.")
@_MANY
@_JSON
@click.pass_obj
def listed(api: ServiceClient, state: str | None, most: int, as_json: bool) -> None:
    """Show jobs, the newest first."""
    for job in api.pages("/jobs", "jobs", most, state=state):
        click.echo(json.dumps(job) if as_json else line(job))


@jobs.command(short_help="One job in full.")
@_JOB
@_JSON
@click.pass_obj
def show(api: ServiceClient, job: str, as_json: bool) -> None:
    """Show what a job has done and does."""
    found = api.ask("GET", f"/jobs/{job}")
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(line(found))
    if live := found["live"]:
        click.echo(
            f"{live['recent_per_second']} pages/s, {live['in_flight']} open connections, "
            f"{amount(live['queued'])} queued; held up by: {live['bottleneck']}"
        )


def _verb(name: str, words: str) -> None:
    @jobs.command(name, short_help=f"{words}.")
    @_JOB
    @click.pass_obj
    def verb(api: ServiceClient, job: str) -> None:
        click.echo(line(api.ask("POST", f"/jobs/{job}/{name}")))

    verb.help = f"{words}."


_verb("pause", "Finish what is in hand, then wait")
_verb("resume", "Go on with a paused job")
_verb("cancel", "Stop for good; what was fetched stays")
_verb("retry", "Go on with a failed or cancelled job where it stopped")


@jobs.command(short_help="Forget a job and delete its folder.")
@_JOB
@click.pass_obj
def delete(api: ServiceClient, job: str) -> None:
    """Forget a job that is not running and delete all that it fetched."""
    api.ask("DELETE", f"/jobs/{job}")


@jobs.command(short_help="Watch a job to its end.")
@_JOB
@click.pass_obj
def watch(api: ServiceClient, job: str) -> Exit:
    """Watch a job; the exit code is 0 when it finishes, 8 when it fails, 11 when cancelled."""
    return watched(api, job)


@jobs.command(short_help="Its records, one JSON object a line.")
@_JOB
@_MANY
@click.option("--outcome", help="Only these outcomes, comma-separated.")
@click.pass_obj
def pages(api: ServiceClient, job: str, most: int, outcome: str | None) -> None:
    """Print records as they stand in pages.jsonl."""
    for record in api.pages(f"/jobs/{job}/pages", "pages", most, outcome=outcome):
        click.echo(json.dumps(record, ensure_ascii=False))


@jobs.command(short_help="Broken links, and who links to them.")
@_JOB
@_MANY
@_JSON
@click.pass_obj
def errors(api: ServiceClient, job: str, most: int, as_json: bool) -> None:
    """Print URLs that failed, why, and the page that links to them."""
    for link in api.pages(f"/jobs/{job}/errors", "links", most):
        if as_json:
            click.echo(json.dumps(link))
        else:
            click.echo(f"{plain(link['reason'] or '', 40):24} {plain(link['url'])}"
                       f"  ← {plain(link['via'] or 'a seed')}")  # fmt: skip


@jobs.command(short_help="The story of one URL.")
@_JOB
@click.argument("url")
@_JSON
@click.pass_obj
def why(api: ServiceClient, job: str, url: str, as_json: bool) -> None:
    """Show how a URL was found and what became of it."""
    story = api.ask("GET", f"/jobs/{job}/why", url=with_scheme(url))
    if as_json:
        click.echo(json.dumps(story))
        return
    link = story["link"]
    click.echo(
        f"{link['state']}: {plain(link['reason'] or '')} {link['status'] or ''}".rstrip(" :")
    )
    for step, place in enumerate(story["path"]):
        click.echo(f"{'  ' * step}{plain(place)}")


@jobs.command(short_help="Download a job's file.")
@_JOB
@click.argument("file", default="pages.jsonl")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="To this file; - is stdout.")
@click.pass_obj
def download(api: ServiceClient, job: str, file: str, output: Path | None) -> None:
    """Download FILE (pages.jsonl) of a job."""
    target = output or Path(Path(file).name)
    from urllib.parse import quote  # noqa: PLC0415 - not for `--help`

    path = f"/jobs/{job}/files/{quote(file)}"
    if str(target) == "-":
        api.save(path, sys.stdout.buffer)
        return
    try:
        with target.open("wb") as place:
            number = api.save(path, place)
    except OSError as error:
        raise ConfigError(f"{target}: {error.strerror}") from error
    click.echo(f"{target}: {size(number)}", err=True)


jobs.add_command(fetch)
jobs.add_command(files)
