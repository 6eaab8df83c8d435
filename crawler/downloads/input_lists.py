"""Parse lists of downloads: URLs with ranges as in curl, lists as in aria2, JSON Lines, Metalink.
Pure; files are read by the caller.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from crawler.downloads import checksums, file_names
from crawler.downloads.download_request import DownloadRequest
from crawler.errors import ConfigError

MAX_EXPANDED_URLS: Final = 1_000_000
"""URLs that one range expression may expand to."""

MAX_RANGE_DIGITS: Final = 18
"""Digits of a number in a range expression."""

_RANGE_EXPRESSION: Final = re.compile(r"\{([^{}]*)\}|\[([^\[\]]*)\]")
_NUMBERS: Final = re.compile(r"([0-9]+)-([0-9]+)(?::([0-9]+))?")
_LETTERS: Final = re.compile(r"([a-z])-([a-z])(?::([0-9]+))?|([A-Z])-([A-Z])(?::([0-9]+))?")


class ListLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of JSON. `checksum` is one text or several."""

    url: str
    name: str | None = None
    headers: dict[str, str] = {}
    checksum: str | list[str] = []
    size: int | None = None
    mirrors: tuple[str, ...] = ()


def expand_url(url: str) -> Iterator[str]:
    """Expand `{a,b}`, `[1-100]`, `[001-100:10]`, `[a-z]` to every URL; the last range varies
    fastest.

    Brackets with an IPv6 address are left as they are. Raises ConfigError.
    """
    parts: list[list[str]] = []
    at, number = 0, 1
    for match in _RANGE_EXPRESSION.finditer(url):
        choices = _expand_expression(match, url)
        if choices is None:
            continue
        parts += [[url[at : match.start()]], choices]
        number *= len(choices)
        if number > MAX_EXPANDED_URLS:
            raise ConfigError(f"{url}: expands to more than {MAX_EXPANDED_URLS:,} addresses")
        at = match.end()
    parts.append([url[at:]])
    return ("".join(combination) for combination in itertools.product(*parts))


def _expand_expression(match: re.Match[str], url: str) -> list[str] | None:
    """The values of one expression; None: it is not a range expression."""
    if match[1] is not None:
        return match[1].split(",")
    text = match[2]
    if numbers := _NUMBERS.fullmatch(text):
        if max(len(group or "") for group in numbers.groups()) > MAX_RANGE_DIGITS:
            raise ConfigError(f"{url}: a number of more than {MAX_RANGE_DIGITS} digits")
        first, last, step = int(numbers[1]), int(numbers[2]), int(numbers[3] or 1)
        width = len(numbers[1]) if numbers[1].startswith("0") else 0
        if step and (last - first) // step >= MAX_EXPANDED_URLS:
            raise ConfigError(f"{url}: expands to more than {MAX_EXPANDED_URLS:,} addresses")
        count = range(first, last + 1, step) if step else range(0)
        expanded = [f"{number:0{width}}" for number in count]
    elif letters := _LETTERS.fullmatch(text):
        first_letter, last_letter = letters[1] or letters[4], letters[2] or letters[5]
        step = int(letters[3] or letters[6] or 1)
        codes = range(ord(first_letter), ord(last_letter) + 1, step) if step else range(0)
        expanded = [chr(code) for code in codes]
    else:
        return None
    if not expanded:
        raise ConfigError(f"{url}: [{text}] is an empty range")
    return expanded


def parse_list(text: str, name: str) -> list[DownloadRequest]:
    """Requests from a list's text in any of the supported formats; `name` is for messages.

    Raises ConfigError that names the line.
    """
    if text.lstrip()[:1] == "<":
        from crawler.downloads import metalink  # noqa: PLC0415 - XML: for Metalinks only

        return metalink.parse_metalink(text, name)
    requests: list[dict[str, Any]] = []
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{name}:{number}"
        if not line.strip() or line.startswith("#"):
            continue
        if line.lstrip().startswith("{"):
            requests.append(_from_json(line, where))
        elif line[0] in " \t":
            if not requests:
                raise ConfigError(f"{where}: an option before the first URL")
            _add_aria2_option(requests[-1], line.strip(), where)
        else:
            url, *mirrors = [part.strip() for part in line.split("\t") if part.strip()]
            requests.append({"url": url, "mirrors": mirrors})
    return [_to_request(request, name) for request in requests]


def with_checksums(
    requests: Iterable[DownloadRequest], sums: dict[str, list[tuple[str, str]]]
) -> list[DownloadRequest]:
    """The requests with the checksums of a SHA256SUMS file added, matched by name or by the end of
    the URL.
    """
    found = []
    for request in requests:
        name = request.name or file_names.from_url(request.url)
        digests = sums.get(name) or sums.get(name.rpartition("/")[2]) or []
        both = tuple(dict.fromkeys((*request.checksums, *digests)))
        found.append(msgspec.structs.replace(request, checksums=both))
    return found


def _from_json(line: str, where: str) -> dict[str, Any]:
    try:
        entry = msgspec.json.decode(line, type=ListLine)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{where}: {error}") from error
    checksums = [entry.checksum] if isinstance(entry.checksum, str) else entry.checksum
    return {
        "url": entry.url, "name": entry.name, "headers": entry.headers, "size": entry.size,
        "mirrors": entry.mirrors, "checksums": [_parse_checksum(text, where) for text in checksums],
    }  # fmt: skip


def _add_aria2_option(request: dict[str, Any], text: str, where: str) -> None:
    """Apply an indented line `option=value` of aria2's format to the request above it."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals:
        raise ConfigError(f"{where}: expected option=value")
    if key == "out":
        request["name"] = value.strip()
    elif key == "checksum":
        request.setdefault("checksums", []).append(_parse_checksum(value, where))
    elif key == "header":
        name, colon, content = value.partition(":")
        if not colon:
            raise ConfigError(f"{where}: expected header=Name: value")
        request.setdefault("headers", {})[name.strip()] = content.strip()
    else:
        raise ConfigError(
            f"{where}: {key} is not supported; the options are out, checksum and header"
        )


def _parse_checksum(text: str, where: str) -> tuple[str, str]:
    try:
        return checksums.parse_checksum(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _to_request(values: dict[str, Any], name: str) -> DownloadRequest:
    if values.get("name") is not None:
        values["name"] = file_names.check_relative_name(values["name"])
    for key, value in (values.get("headers") or {}).items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", key) or re.search(r"[\r\n\0]", value):
            raise ConfigError(f"{name}: header {key!r} is not `Name: value`")
    try:
        return msgspec.convert(values, DownloadRequest)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{name}: {values['url']}: {error}") from error
