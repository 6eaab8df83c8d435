"""`crawler download`: files from URLs, lists or a crawl, complete, verified, resumable."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from crawler.cli.config_sources import add_said, config_options
from crawler.cli.download_requests import ordered
from crawler.cli.exits import Exit
from crawler.cli.flags import options
from crawler.config.loader import Settings
from crawler.downloads.defaults import DEFAULTS

if TYPE_CHECKING:
    from crawler.config.model import Config
    from crawler.downloads.download_request import DownloadRequest

SECTIONS: Final = ("limits.concurrency", "limits.time_limit", "limits.size_limit", "limits.grace",
                   "pace.", "fetch.", "retry.", "robots.obey", "output.durable")  # fmt: skip

LEFT_OUT: Final = ("fetch.max_body", "fetch.timeout")


@click.command(short_help="Files: many, fast, resumable, verified.")
@click.argument("urls", nargs=-1, metavar="[URL]...")
@click.option(
    "-i",
    "--input-file",
    "lists",
    multiple=True,
    metavar="FILE",
    help="URLs (aria2's lists too), JSON lines or a Metalink; - is stdin; repeatable.",
)
@click.option(
    "--from",
    "crawl",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Files that a crawl has seen; with --type.",
)
@click.option("--type", "types", metavar="LIST", help="Of those: pdf,zip,image …")
@click.option(
    "-O",
    "--out-dir",
    "folder",
    metavar="DIR",
    default=".",
    type=click.Path(path_type=Path),
    help="Where the files go.  [.]",
)
@click.option(
    "-o",
    "--output",
    "name",
    metavar="TEMPLATE",
    help="Names: {name} {stem} {ext} {host} {path} {n} {date}; one URL: simply a name.",
)
@click.option(
    "--checksum",
    "sums",
    multiple=True,
    metavar="ALGO:HEX",
    help="Of the one URL: sha256, sha1, md5, sha512, blake2b, crc32c …; repeatable.",
)
@click.option(
    "--checksums",
    "sum_files",
    multiple=True,
    metavar="FILE",
    help="A SHA256SUMS file (md5sum, b2sum … too); repeatable.",
)
@click.option(
    "--mirror",
    "mirrors",
    multiple=True,
    metavar="URL",
    help="Another place of the one URL; repeatable.",
)
@click.option("-x", "--connections", metavar="N", help="To one file, where they pay.  [4]")
@click.option("--max-filesize", metavar="SIZE", help="No file larger than this.")
@click.option(
    "-nc",
    "--no-clobber",
    "exists",
    flag_value="skip",
    help="A file of that name is there: leave it, ask nothing.",
)
@click.option(
    "-N",
    "--timestamping",
    "exists",
    flag_value="newer",
    help="… fetch it only where the server's is newer.",
)
@click.option(
    "--replace", "exists", flag_value="replace", help="… replace it.  [another name: a.1.zip]"
)
@click.option(
    "--continue",
    "exists",
    flag_value="continue",
    help="… another program left it unfinished: fetch the rest. (Our own are always gone on with.)",
)
@click.option("-g", "--globoff", is_flag=True, help="{a,b} and [1-9] in URLs mean themselves.")
@click.option("-q", "--silent", is_flag=True, help="Say nothing but errors.")
@click.option("-v", "--verbose", count=True, help="Log visits; twice: everything.")
@click.option("--no-color", is_flag=True, help="No colours.")
@click.option("--json", "as_json", is_flag=True, help="Progress and results as JSON lines.")
@click.option("--dry-run", is_flag=True, help="Show what would be fetched; fetch nothing.")
@config_options
@options(only=SECTIONS, without=LEFT_OUT, defaults=DEFAULTS)
def download(folder: Path, **values: Any) -> Exit:
    """Download files into DIR, each under its name only when it is whole and right.

    Killed at any instant, the same command goes on where it was. URLs may hold ranges as curl has
    them: 'https://example.com/[001-100].jpg'. Everything about it: docs/guide/download.md.

    Exit code: 0, all files are there; 32, wrong bytes; 8, a server's error; 4, the network.
    """
    config = _settings(values).config()
    orders = ordered(values)
    from crawler.cli.screen import Screen  # noqa: PLC0415 - rich: not for `--help`

    screen = Screen(
        silent=values["silent"],
        verbose=values["verbose"],
        no_color=values["no_color"],
        as_json=values["as_json"],
    )
    if values["dry_run"]:
        return _dry_run(config, orders, folder, as_json=values["as_json"])
    from crawler.cli.run_download import run  # noqa: PLC0415 - asyncio and aiohttp: not for `--help`

    return run(config, orders, folder, screen, again=_again(folder, values))


def _settings(values: dict[str, Any]) -> Settings:
    """Defaults of a download < files < environment < flags < -s."""
    settings = Settings()
    for key, value in DEFAULTS.items():
        settings.set(key, value, "download")
    add_said(settings, values, os.environ)
    single = values["name"] is not None and "{" not in values["name"]
    for key, value in (
        ("download.name", None if single else values["name"]),
        ("download.connections", values["connections"]),
        ("download.max_filesize", values["max_filesize"]),
        ("download.exists", values["exists"]),
    ):
        if value is not None:
            settings.set(key, value, f"--{key.partition('.')[2].replace('_', '-')}")
    return settings


def _dry_run(
    config: Config, orders: Sequence[DownloadRequest], folder: Path, *, as_json: bool
) -> Exit:
    """What would be fetched and under which name, as far as that is known before asking."""
    import msgspec  # noqa: PLC0415

    from crawler.cli.formatting import plain  # noqa: PLC0415
    from crawler.config.redaction import split_login  # noqa: PLC0415
    from crawler.downloads.file_names import compile_template, from_url, sanitize  # noqa: PLC0415
    from crawler.policy.urls import Urls  # noqa: PLC0415

    urls = Urls(config.urls)
    made = compile_template(config.download.name) if config.download.name else None
    wrong = 0
    for number, order in enumerate(orders, 1):
        url = urls.canonical(order.url)
        name = order.name or sanitize(from_url(order.url))
        if made is not None and order.name is None:
            name = made(order.url, name, number)
        wrong += url is None
        shown = split_login(order.url)[0]
        there = (folder / name).exists()
        if as_json:
            line = {
                "url": shown, "valid": url is not None, "name": name, "exists": there,
                "size": order.size, "checksums": order.checksums, "mirrors": order.mirrors,
            }  # fmt: skip
            click.echo(msgspec.json.encode(line).decode())
        else:
            verdict = "not a http or https URL" if url is None else "is there" if there else "fetch"
            click.echo(f"{verdict:8} {plain(name, 100)}  {plain(shown, 2000)}")
    return Exit.USAGE if wrong else Exit.OK


def _again(folder: Path, values: dict[str, Any]) -> str:
    lists = "".join(f" -i {name}" for name in values["lists"])
    return f"the same command (crawler download … -O {folder}{lists})"
