"""Validate the request body of a download job: build its Config and its download requests.

A file's name is a path below the job's own folder; a name template contains fields only. As in
`crawl_job_request.py`, every setting that is not listed here is rejected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from crawler.config.loader import Settings
from crawler.config.model import Config
from crawler.downloads import checksums, file_names
from crawler.downloads.defaults import DEFAULTS
from crawler.downloads.download_request import DownloadRequest
from crawler.downloads.input_lists import ListLine
from crawler.downloads.temp_file import TEMP_SUFFIX
from crawler.errors import ConfigError
from crawler.policy.urls import Urls
from crawler.service.jobs.crawl_job_request import (
    FORBIDDEN,
    JobRequest,
    apply_limits,
    redacted,
)
from crawler.service.jobs.crawl_job_request import SETTABLE as CRAWL_SETTABLE
from crawler.service.jobs.job import JobLimits
from crawler.service.jobs.request_body import (
    FIELDS,
    InvalidBody,
    check_header,
    check_headers,
    check_types,
    dotted_keys,
    json_pointer,
    pointer_in,
    pointer_of,
    read_options,
)

SETTABLE: Final = (
    "urls.*", "retry.*", "robots.obey", "output.durable", "limits.concurrency", "limits.grace",
    "limits.time_limit", "limits.size_limit", "download.name", "download.connections",
    "download.max_filesize", "download.disposition", "download.accept_html",
    *(
        key for key in CRAWL_SETTABLE
        if key.startswith(("pace.", "fetch.")) and key != "fetch.max_body"
    ),
)  # fmt: skip
"""Keys that a download may set; not `download.exists`, because a new job's folder is empty."""

FILES_MAX: Final = 10_000
"""Files of one job. Each change of a file's state is looked up by URL; split larger lists."""

FILE_SOURCES_MAX: Final = 20
"""Mirrors of one file, and likewise its checksums."""

URL_CHARS_MAX: Final = 8192

NAME_TEMPLATE: Final = r"^([^{}]|\{(name|stem|ext|host|path|date|n|n:0?[1-9])\})*$"
"""Valid name templates. Other formatting of Python is rejected: a large width would fill memory."""

_RANGE_HEADERS: Final = frozenset({
    "range", "if-range", "if-none-match", "if-modified-since", "accept-encoding",
})  # fmt: skip
"""Headers that the downloader sets for segments; a client's values would corrupt files."""


UNUSED_SECTIONS: Final = (
    "seeds", "scope", "sitemap", "parse", "warc", "frontier", "output",
)  # fmt: skip
"""Sections of a download's configuration that have no effect."""


def is_settable(key: str, allow: Iterable[str] = ()) -> bool:
    """Whether a download's body may set a key. Unknown keys pass: the loader rejects them."""
    if key in FORBIDDEN:
        return False
    section = f"{key.partition('.')[0]}.*"
    allowed = key in allow and key.startswith(("pace.", "fetch.", "retry."))
    return key in SETTABLE or section in SETTABLE or allowed or key not in FIELDS


def read_download_request(
    body: Mapping[str, Any],
    *,
    defaults: Mapping[str, Any],
    allow: Iterable[str] = (),
    limits: JobLimits,
) -> JobRequest:
    """Validate a download's request body. Raises InvalidBody.

    `defaults` is the configuration tree every job starts from, `allow` the further keys that the
    operator lets jobs set.
    """
    tree = dict(body)
    options = read_options(tree.pop("job", {}))
    files = tree.pop("files")
    for key in dotted_keys(tree):
        if not is_settable(key, allow):
            raise InvalidBody(f"{key}: not for downloads of this service", pointer_of(key))
    check_types(tree)
    config = _read_config(tree, defaults, limits)
    _check_name_template(config.download.name)
    check_headers(config)
    files_max = min(FILES_MAX, limits.pages or FILES_MAX)
    requests = _read_files(files, Urls(config.urls), files_max)
    host = urlsplit(requests[0].url).hostname or ""
    return JobRequest(options.name or host, config, options.webhooks, requests)


def visible_config(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A download's configuration for API responses: without sections that downloads do not use."""
    shown = redacted(tree, is_settable)
    return {name: section for name, section in shown.items() if name not in UNUSED_SECTIONS}


def _read_config(tree: Mapping[str, Any], defaults: Mapping[str, Any], limits: JobLimits) -> Config:
    """Merge defaults and body, and apply the limits."""
    settings = Settings()
    for key, value in DEFAULTS.items():
        settings.set(key, value, "download")
    settings.tree({name: part for name, part in defaults.items() if name != "seeds"},
                  "the service's defaults")  # fmt: skip
    try:
        settings.tree(tree, "body")
        settings.set("download.keep_wrong", False, "service")
        config = apply_limits(settings.config(), limits)
    except (ConfigError, TypeError) as error:
        prefix, _, message = str(error).partition(": ")
        raise InvalidBody(message or prefix, pointer_in(message)) from error
    sizes = (config.download.max_filesize, limits.bytes, limits.disk)
    max_filesize = min((size for size in sizes if size is not None), default=None)
    return msgspec.structs.replace(
        config,
        seeds=(),
        limits=msgspec.structs.replace(config.limits, max_pages=None),
        download=msgspec.structs.replace(config.download, max_filesize=max_filesize),
    )


def _check_name_template(template: str) -> None:
    if not re.fullmatch(NAME_TEMPLATE, template) or len(template) > 200:
        raise InvalidBody("not a template: {name} {stem} {ext} {host} {path} {n} {n:03} {date}",
                          "/download/name")  # fmt: skip
    try:
        if template:
            file_names.compile_template(template)
    except ConfigError as error:
        raise InvalidBody(str(error), "/download/name") from error


def _read_files(files: object, urls: Urls, files_max: int) -> tuple[DownloadRequest, ...]:
    if not isinstance(files, list) or not files:
        raise InvalidBody("expected a list of URLs, or of objects with one", "/files")
    if len(files) > files_max:
        raise InvalidBody(f"more than {files_max} files", "/files")
    requests = []
    for number, file in enumerate(files):
        try:
            line = msgspec.convert({"url": file} if isinstance(file, str) else file, ListLine)
        except msgspec.ValidationError as error:
            message, _, where = str(error).partition(" - at ")
            raise InvalidBody(message, f"/files/{number}{json_pointer(where)}") from error
        requests.append(_read_file(line, urls, f"/files/{number}"))
    return tuple(requests)


def _read_file(line: ListLine, urls: Urls, pointer: str) -> DownloadRequest:
    for url, where in ((line.url, "url"), *((url, "mirrors") for url in line.mirrors)):
        if len(url) > URL_CHARS_MAX or urls.canonical(url) is None:
            raise InvalidBody("not a http or https URL", f"{pointer}/{where}")
    if len(line.mirrors) > FILE_SOURCES_MAX:
        raise InvalidBody(f"more than {FILE_SOURCES_MAX} mirrors", f"{pointer}/mirrors")
    if line.size is not None and line.size < 0:
        raise InvalidBody("a negative size", f"{pointer}/size")
    texts = [line.checksum] if isinstance(line.checksum, str) else line.checksum
    if len(texts) > FILE_SOURCES_MAX:
        raise InvalidBody(f"more than {FILE_SOURCES_MAX} checksums", f"{pointer}/checksum")
    try:
        sums = tuple(checksums.parse_checksum(text) for text in texts)
        checksums.new_hashers({algorithm for algorithm, _ in sums})
    except (ValueError, ConfigError) as error:
        raise InvalidBody(str(error), f"{pointer}/checksum") from error
    for name, value in line.headers.items():
        check_header(name, value, f"{pointer}/headers")
        if name.lower() in _RANGE_HEADERS:
            raise InvalidBody(
                f"header {name!r} is set by the downloader itself", f"{pointer}/headers"
            )
    return DownloadRequest(
        line.url,
        _checked_name(line.name, f"{pointer}/name"),
        line.headers,
        sums,
        line.size,
        line.mirrors,
    )


def _checked_name(name: str | None, pointer: str) -> str | None:
    """A path below the job's folder that is valid on every operating system. Raises InvalidBody."""
    if name is None:
        return None
    try:
        path = file_names.check_relative_name(name)
    except (ConfigError, UnicodeEncodeError) as error:
        raise InvalidBody(str(error), pointer) from error
    parts = path.split("/")
    if len(path) > 1000 or not all(part == file_names.sanitize(part) for part in parts):
        shown = "/".join(file_names.sanitize(part) for part in parts)[:100]
        raise InvalidBody(f"not a name that every system accepts; {shown!r} would be one", pointer)
    if path.endswith((TEMP_SUFFIX, ".wrong")):
        raise InvalidBody(f"ends in {TEMP_SUFFIX} or .wrong: for unfinished files only", pointer)
    return path
