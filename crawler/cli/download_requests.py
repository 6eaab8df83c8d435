"""What a download's command line asks for, as orders: URLs, lists, a crawl's files, checksums."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from crawler.cli.config_sources import text_of, with_scheme
from crawler.errors import ConfigError

if TYPE_CHECKING:
    from crawler.downloads.download_request import DownloadRequest

TYPES: Final = ("image", "audio", "video", "font", "text", "application")
"""Words of --type that stand for the first half of a media type; others are endings."""


def ordered(values: Mapping[str, Any]) -> list[DownloadRequest]:
    """Everything that was asked for. Raises ConfigError."""
    import msgspec  # noqa: PLC0415

    from crawler.downloads import checksums, file_names, input_lists  # noqa: PLC0415
    from crawler.downloads.download_request import DownloadRequest  # noqa: PLC0415

    found: list[DownloadRequest] = []
    for url in values["urls"]:
        if "://" not in url and Path(url).is_file():
            raise ConfigError(f"{url}: is a file; to download the URLs in it: -i {url}")
        many = [url] if values["globoff"] else input_lists.expand_url(url)
        found += [DownloadRequest(with_scheme(one)) for one in many]
    single = values["name"] is not None and "{" not in values["name"]
    if single or values["sums"] or values["mirrors"]:
        if len(found) != 1 or values["lists"] or values["crawl"]:
            raise ConfigError("-o NAME, --checksum and --mirror are for one URL; see -i for lists")
        try:
            found[0] = msgspec.structs.replace(
                found[0],
                name=file_names.check_relative_name(values["name"]) if single else None,
                checksums=tuple(checksums.parse_checksum(text) for text in values["sums"]),
                mirrors=tuple(with_scheme(url) for url in values["mirrors"]),
            )
        except ValueError as error:
            raise ConfigError(f"--checksum: {error}") from error
    for name in values["lists"]:
        text = _stdin() if name == "-" else text_of(name)
        found += input_lists.parse_list(text, "stdin" if name == "-" else name)
    if values["types"] and values["crawl"] is None:
        raise ConfigError("--type: of which crawl? --from DIR")
    if values["crawl"] is not None:
        found += [DownloadRequest(url) for url in _seen(values["crawl"], values["types"])]
    for name in values["sum_files"]:
        found = input_lists.with_checksums(
            found, checksums.parse_sums_file(text_of(name), Path(name).name)
        )
    if not found:
        raise ConfigError("nothing to download: crawler download https://example.com/a.zip, or -i")
    checksums.new_hashers({which for order in found for which, _ in order.checksums})
    return found


def _stdin() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise ConfigError(f"stdin: not UTF-8 (byte {error.start})") from error


def _seen(folder: Path, types: str | None) -> list[str]:
    """URLs of a crawl's links that are of these types, by what their path ends in."""
    from urllib.parse import urlsplit  # noqa: PLC0415

    from crawler.config.workdir import FRONTIER  # noqa: PLC0415
    from crawler.downloads.file_response import guess_type  # noqa: PLC0415
    from crawler.frontier.sqlite.download_rows import known_urls  # noqa: PLC0415

    if not (folder / FRONTIER).exists():
        raise ConfigError(f"{folder}: holds no crawl")
    wanted = {one.strip().lower().removeprefix(".") for one in (types or "").split(",")} - {""}
    if not wanted:
        raise ConfigError("--from: which files? --type pdf,zip,image")
    found = []
    for url, _ in known_urls(folder / FRONTIER):
        path = urlsplit(url).path
        ending = path.rpartition("/")[2].rpartition(".")[2].lower()
        mime = guess_type(path)[0] or ""
        if ending in wanted or mime in wanted or (mime.partition("/")[0] in wanted & {*TYPES}):
            found.append(url)
    if not found:
        raise ConfigError(f"{folder}: that crawl has seen no file of type {types}")
    return found
