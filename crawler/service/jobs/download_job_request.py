"""Validate a download job's request: its `files` become download requests and a Config.

A file's name is a path below the job's own folder; a template for names has no more than fields.
As in `intake.py`, every key that is not named here is closed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from crawler.config.loader import Settings
from crawler.downloads import checksums, file_names
from crawler.downloads.defaults import DEFAULTS
from crawler.downloads.download_request import DownloadRequest as File
from crawler.downloads.input_lists import ListLine
from crawler.downloads.temp_file import TEMP_SUFFIX
from crawler.errors import ConfigError
from crawler.policy.urls import Urls
from crawler.service.jobs.crawl_job_request import NEVER, OPEN, JobRequest, bounded
from crawler.service.jobs.job import JobLimits
from crawler.service.jobs.request_body import (
    FIELDS,
    InvalidBody,
    check_header,
    check_headers,
    check_types,
    keys,
    pointer_in,
    pointer_of,
    read_extras,
)

DOWNLOADS: Final = (
    "urls.*", "retry.*", "robots.obey", "output.durable", "limits.concurrency", "limits.grace",
    "limits.time_limit", "limits.size_limit", "download.name", "download.connections",
    "download.max_filesize", "download.disposition", "download.accept_html",
    *(key for key in OPEN if key.startswith(("pace.", "fetch.")) and key != "fetch.max_body"),
)  # fmt: skip
"""Keys that a download may set. Its folder is its own and was empty: `exists` means nothing."""

MOST: Final = 10_000
"""Files of one job; more are several jobs. Each change of a file's state is looked up by URL."""

MOST_PLACES: Final = 20
"""Mirrors, and checksums, of one file."""

LONGEST: Final = 8192
"""Characters of a URL."""

TEMPLATE: Final = r"^([^{}]|\{(name|stem|ext|host|path|date|n|n:0?[1-9])\})*$"
"""A template for names. No more of Python's formatting: a stranger's width could fill memory."""

_OURS: Final = frozenset({
    "range", "if-range", "if-none-match", "if-modified-since", "accept-encoding",
})  # fmt: skip
"""Headers by which parts are asked for; set by hand they would mix files up."""


def is_open(key: str, allow: Iterable[str] = ()) -> bool:
    """Whether a download's body may set a key."""
    if key in NEVER:
        return False
    section = f"{key.partition('.')[0]}.*"
    allowed = key in allow and key.startswith(("pace.", "fetch.", "retry."))
    return key in DOWNLOADS or section in DOWNLOADS or allowed or key not in FIELDS


def order(
    body: Mapping[str, Any],
    *,
    defaults: Mapping[str, Any],
    allow: Iterable[str] = (),
    limits: JobLimits,
) -> JobRequest:
    """Read a download's body. `defaults` is the tree every job starts from. Raises Invalid."""
    tree = dict(body)
    extras = read_extras(tree.pop("job", {}))
    asked = tree.pop("files")
    settings = Settings()
    for key, value in DEFAULTS.items():
        settings.set(key, value, "download")
    settings.tree({name: part for name, part in defaults.items() if name != "seeds"},
                  "the service's defaults")  # fmt: skip
    for key in keys(tree):
        if not is_open(key, allow):
            raise InvalidBody(f"{key}: not for downloads of this service", pointer_of(key))
    check_types(tree)
    try:
        settings.tree(tree, "body")
        settings.set("download.keep_wrong", False, "service")
        config = bounded(settings.config(), limits)
    except (ConfigError, TypeError) as error:
        place, _, message = str(error).partition(": ")
        raise InvalidBody(message or place, pointer_in(message)) from error
    template = config.download.name
    if not re.fullmatch(TEMPLATE, template) or len(template) > 200:
        raise InvalidBody("not a template: {name} {stem} {ext} {host} {path} {n} {n:03} {date}",
                      "/download/name")  # fmt: skip
    try:
        if template:
            file_names.compile_template(template)
    except ConfigError as error:
        raise InvalidBody(str(error), "/download/name") from error
    check_headers(config)
    sizes = (config.download.max_filesize, limits.bytes, limits.disk)
    config = msgspec.structs.replace(
        config,
        seeds=(),
        limits=msgspec.structs.replace(config.limits, max_pages=None),
        download=msgspec.structs.replace(
            config.download,
            max_filesize=min((one for one in sizes if one is not None), default=None),
        ),
    )
    files = _files(asked, Urls(config.urls), min(MOST, limits.pages or MOST))
    host = urlsplit(files[0].url).hostname or ""
    return JobRequest(extras.name or host, config, extras.webhooks, files)


def _files(asked: object, urls: Urls, most: int) -> tuple[File, ...]:
    if not isinstance(asked, list) or not asked:
        raise InvalidBody("expected a list of URLs, or of objects with one", "/files")
    if len(asked) > most:
        raise InvalidBody(f"more than {most} files", "/files")
    files = []
    for number, one in enumerate(asked):
        try:
            line = msgspec.convert({"url": one} if isinstance(one, str) else one, ListLine)
        except msgspec.ValidationError as error:
            message, _, where = str(error).partition(" - at ")
            inside = re.sub(r"\[(\d+)\]", r".\1", where.strip("`").removeprefix("$"))
            inside = re.sub(r"\[.*?\]", "", inside).replace(".", "/")
            raise InvalidBody(message, f"/files/{number}{inside}") from error
        files.append(_file(line, urls, f"/files/{number}"))
    return tuple(files)


def _file(line: ListLine, urls: Urls, place: str) -> File:
    for url, where in ((line.url, "url"), *((one, "mirrors") for one in line.mirrors)):
        if len(url) > LONGEST or urls.canonical(url) is None:
            raise InvalidBody("not a http or https URL", f"{place}/{where}")
    if len(line.mirrors) > MOST_PLACES:
        raise InvalidBody(f"more than {MOST_PLACES} mirrors", f"{place}/mirrors")
    if line.size is not None and line.size < 0:
        raise InvalidBody("less than nothing", f"{place}/size")
    texts = [line.checksum] if isinstance(line.checksum, str) else line.checksum
    if len(texts) > MOST_PLACES:
        raise InvalidBody(f"more than {MOST_PLACES} checksums", f"{place}/checksum")
    try:
        sums = tuple(checksums.parse_checksum(text) for text in texts)
        checksums.new_hashers({which for which, _ in sums})
    except (ValueError, ConfigError) as error:
        raise InvalidBody(str(error), f"{place}/checksum") from error
    for name, value in line.headers.items():
        check_header(name, value, f"{place}/headers")
        if name.lower() in _OURS:
            raise InvalidBody(f"header {name!r} is the downloader's own", f"{place}/headers")
    return File(
        line.url, _name(line.name, f"{place}/name"), line.headers, sums, line.size, line.mirrors
    )


def _name(name: str | None, place: str) -> str | None:
    """A path below the job's folder that every system and every listing can show."""
    if name is None:
        return None
    try:
        path = file_names.check_relative_name(name)
    except (ConfigError, UnicodeEncodeError) as error:
        raise InvalidBody(str(error), place) from error
    parts = path.split("/")
    if len(path) > 1000 or not all(part == file_names.sanitize(part) for part in parts):
        shown = "/".join(file_names.sanitize(part) for part in parts)[:100]
        raise InvalidBody(f"not a name for everywhere; {shown!r} would be one", place)
    if path.endswith((TEMP_SUFFIX, ".wrong")):
        raise InvalidBody(f"ends in {TEMP_SUFFIX} or .wrong: for unfinished files only", place)
    return path
