"""What is made of DIR/warc: CDXJ, WACZ, mirror."""

from __future__ import annotations

from pathlib import Path

import click

from crawler.cli.config_sources import saved
from crawler.config.workdir import FRONTIER
from crawler.errors import ConfigError

folder_argument = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))


@click.command(short_help="The archive's index, sorted (CDXJ).")
@folder_argument
@click.option("-o", "--output", type=click.Path(path_type=Path),
              help="Write here; `-` is stdout.  [default: DIR/warc/index.cdxj]")  # fmt: skip
def cdxj(folder: Path, output: Path | None) -> None:
    """Write the index of DIR's archive as CDXJ, as pywb and other replayers read it."""
    from crawler.export.cdxj import cdxj_lines  # noqa: PLC0415
    from crawler.export.output_file import open_output  # noqa: PLC0415
    from crawler.export.warc_reader import WarcReader  # noqa: PLC0415 - SQLite: only who exports pays

    path = output or folder / "warc" / "index.cdxj"
    with WarcReader(folder) as archive, open_output(path) as file:
        count = sum(1 for line in cdxj_lines(archive) if file.write(f"{line}\n".encode()))
    click.echo(f"{path}: {count} captures", err=True)


@click.command(short_help="Archive, index and pages in one WACZ file.")
@folder_argument
@click.option("-o", "--output", type=click.Path(path_type=Path),
              help="Write here.  [default: DIR/crawl.wacz]")  # fmt: skip
@click.option("--title", help="What viewers call it.  [default: the folder's name]")
def wacz(folder: Path, output: Path | None, title: str | None) -> None:
    """Pack DIR's archive into one WACZ file, to open on replayweb.page or with pywb."""
    from crawler.export.wacz import incompatibility, write_wacz  # noqa: PLC0415
    from crawler.export.warc_reader import WarcReader  # noqa: PLC0415 - SQLite: only who exports pays

    path = output or folder / "crawl.wacz"
    with WarcReader(folder) as archive:
        if warning := incompatibility(archive):
            click.echo(f"crawler: {warning}", err=True)
        pages = write_wacz(archive, path, title=title or folder.resolve().name)
    click.echo(f"{path}: {pages} pages", err=True)


@click.command(short_help="A copy to browse from disk, out of the archive.")
@folder_argument
@click.option("-o", "--output", type=click.Path(path_type=Path),
              help="Write into this folder.  [default: DIR/mirror]")  # fmt: skip
def mirror(folder: Path, output: Path | None) -> None:
    """Write the pages of DIR's archive as files that a browser opens from disk.

    Links are relative where their target is in the mirror and absolute where it is not. What has
    not changed is not written again; a failed fetch never replaces a good copy.
    """
    from crawler.export.mirror import MIRROR, write_mirror  # noqa: PLC0415
    from crawler.export.warc_reader import WarcReader  # noqa: PLC0415 - SQLite: only who exports pays
    from crawler.policy.urls import Urls  # noqa: PLC0415

    path = output or folder / MIRROR
    with WarcReader(folder) as archive:
        result = write_mirror(archive, path, Urls(saved(folder).config().urls))
    for problem in result.problems:
        click.echo(f"crawler: {problem}", err=True)
    click.echo(f"{path}: {result.sentence()}", err=True)


@click.command(short_help="Copies of all its files, wherever fsspec writes.")
@folder_argument
@click.argument("target", metavar="URL")
def upload(folder: Path, target: str) -> None:
    """Copy what lies in DIR to URL (s3://…, gs://…, sftp://…); what is there is not sent again."""
    from crawler.output.upload import copy_all, open_target  # noqa: PLC0415 - only who uploads pays

    if not (folder / FRONTIER).exists():
        raise ConfigError(f"{folder}: holds no crawl")
    system, root = open_target(target)
    sent = copy_all(folder, system, root, target)
    click.echo(f"{target}: {sent} files sent", err=True)
