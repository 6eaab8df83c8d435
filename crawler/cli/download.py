"""`crawler download`: files from URLs, lists or a crawl, complete, verified, resumable."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from crawler.cli.exits import Exit
from crawler.cli.flags import options
from crawler.cli.sources import add_flags, config_options, text_of, with_scheme
from crawler.errors import ConfigError
from crawler.settings import Settings

if TYPE_CHECKING:
    from crawler.config import Config
    from crawler.transfer.order import Order

SECTIONS: Final = ("limits.concurrency", "limits.time_limit", "limits.size_limit", "limits.grace",
                   "pace.", "fetch.", "retry.", "robots.obey", "output.durable")  # fmt: skip

LEFT_OUT: Final = ("fetch.max_body", "fetch.timeout")

TYPES: Final = ("image", "audio", "video", "font", "text", "application")
"""Words of --type that stand for the first half of a media type; others are endings."""


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
@click.option("--continue", "_", is_flag=True, help="Nothing: it always goes on where it was.")
@click.option("-g", "--globoff", is_flag=True, help="{a,b} and [1-9] in URLs mean themselves.")
@click.option("-q", "--silent", is_flag=True, help="Say nothing but errors.")
@click.option("-v", "--verbose", count=True, help="Log visits; twice: everything.")
@click.option("--no-color", is_flag=True, help="No colours.")
@click.option("--json", "as_json", is_flag=True, help="Progress and results as JSON lines.")
@click.option("--dry-run", is_flag=True, help="Show what would be fetched; fetch nothing.")
@config_options
@options(only=SECTIONS, without=LEFT_OUT)
def download(folder: Path, **values: Any) -> Exit:
    """Download files into DIR, each under its name only when it is whole and right.

    Killed at any instant, the same command goes on where it was. URLs may hold ranges as curl has
    them: 'https://example.com/[001-100].jpg'. Everything about it: docs/guide/download.md.

    Exit code: 0, all files are there; 32, wrong bytes; 8, a server's error; 4, the network.
    """
    config = _settings(values).config()
    orders = _orders(values)
    from crawler.cli.screen import Screen  # noqa: PLC0415 - rich: not for `--help`

    screen = Screen(
        silent=values["silent"],
        verbose=values["verbose"],
        no_color=values["no_color"],
        as_json=values["as_json"],
    )
    if values["dry_run"]:
        return _dry_run(config, orders, folder, as_json=values["as_json"])
    from crawler.cli.transfers import run  # noqa: PLC0415 - asyncio and aiohttp: not for `--help`

    return run(config, orders, folder, screen, again=_again(folder, values))


def _settings(values: dict[str, Any]) -> Settings:
    """Defaults of a download < files < environment < flags < -s."""
    from crawler.depot import DEFAULTS  # noqa: PLC0415 - aiohttp: not for `--help`

    settings = Settings()
    for key, value in DEFAULTS.items():
        settings.set(key, value, "download")
    for name in values["files"]:
        settings.toml(text_of(name), name)
    settings.environment(os.environ)
    add_flags(settings, values)
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


def _orders(values: dict[str, Any]) -> list[Order]:
    """Everything that was asked for. Raises ConfigError."""
    import msgspec  # noqa: PLC0415

    from crawler.transfer import checks, lists, names  # noqa: PLC0415
    from crawler.transfer.order import Order  # noqa: PLC0415

    found: list[Order] = []
    for url in values["urls"]:
        if "://" not in url and Path(url).is_file():
            raise ConfigError(f"{url}: is a file; to download the URLs in it: -i {url}")
        many = [url] if values["globoff"] else lists.spread(url)
        found += [Order(with_scheme(one)) for one in many]
    single = values["name"] is not None and "{" not in values["name"]
    if single or values["sums"] or values["mirrors"]:
        if len(found) != 1 or values["lists"] or values["crawl"]:
            raise ConfigError("-o NAME, --checksum and --mirror are for one URL; see -i for lists")
        try:
            found[0] = msgspec.structs.replace(
                found[0],
                name=names.ordered(values["name"]) if single else None,
                checksums=tuple(checks.checksum(text) for text in values["sums"]),
                mirrors=tuple(with_scheme(url) for url in values["mirrors"]),
            )
        except ValueError as error:
            raise ConfigError(f"--checksum: {error}") from error
    for name in values["lists"]:
        text = _stdin() if name == "-" else text_of(name)
        found += lists.read(text, "stdin" if name == "-" else name)
    if values["types"] and values["crawl"] is None:
        raise ConfigError("--type: of which crawl? --from DIR")
    if values["crawl"] is not None:
        found += [Order(url) for url in _seen(values["crawl"], values["types"])]
    for name in values["sum_files"]:
        found = lists.with_sums(found, checks.sums(text_of(name), Path(name).name))
    if not found:
        raise ConfigError("nothing to download: crawler download https://example.com/a.zip, or -i")
    checks.hashes({which for order in found for which, _ in order.checksums})
    return found


def _stdin() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise ConfigError(f"stdin: not UTF-8 (byte {error.start})") from error


def _seen(folder: Path, types: str | None) -> list[str]:
    """URLs of a crawl's links that are of these types, by what their path ends in."""
    import mimetypes  # noqa: PLC0415
    from urllib.parse import urlsplit  # noqa: PLC0415

    from crawler.folder import FRONTIER  # noqa: PLC0415
    from crawler.frontier.downloads import known_urls  # noqa: PLC0415

    if not (folder / FRONTIER).exists():
        raise ConfigError(f"{folder}: holds no crawl")
    wanted = {one.strip().lower().removeprefix(".") for one in (types or "").split(",")} - {""}
    if not wanted:
        raise ConfigError("--from: which files? --type pdf,zip,image")
    found = []
    for url, _ in known_urls(folder / FRONTIER):
        path = urlsplit(url).path
        ending = path.rpartition("/")[2].rpartition(".")[2].lower()
        mime = mimetypes.guess_type(f"file://{path}", strict=False)[0] or ""
        if ending in wanted or mime in wanted or (mime.partition("/")[0] in wanted & {*TYPES}):
            found.append(url)
    if not found:
        raise ConfigError(f"{folder}: that crawl has seen no file of type {types}")
    return found


def _dry_run(config: Config, orders: Sequence[Order], folder: Path, *, as_json: bool) -> Exit:
    """What would be fetched and under which name, as far as that is known before asking."""
    import msgspec  # noqa: PLC0415

    from crawler.cli.words import plain  # noqa: PLC0415
    from crawler.secrets import split_login  # noqa: PLC0415
    from crawler.transfer.names import from_url, tame, template  # noqa: PLC0415
    from crawler.urls import Urls  # noqa: PLC0415

    urls = Urls(config.urls)
    made = template(config.download.name) if config.download.name else None
    wrong = 0
    for number, order in enumerate(orders, 1):
        url = urls.canonical(order.url)
        name = order.name or tame(from_url(order.url))
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
