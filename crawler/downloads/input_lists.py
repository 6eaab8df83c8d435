"""Orders from what people write: URLs with ranges as curl has them, lists as aria2 has them, JSON
lines, Metalink. Pure: reading files is a door's job.
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

MOST: Final = 1_000_000
"""Addresses made from one range expression."""

DIGITS: Final = 18
"""Of a number in a range: what is longer counts nothing that exists."""

_GLOB: Final = re.compile(r"\{([^{}]*)\}|\[([^\[\]]*)\]")
_NUMBERS: Final = re.compile(r"([0-9]+)-([0-9]+)(?::([0-9]+))?")
_LETTERS: Final = re.compile(r"([a-z])-([a-z])(?::([0-9]+))?|([A-Z])-([A-Z])(?::([0-9]+))?")


class ListLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of JSON. `checksum` as one text or several; `url` is the first place."""

    url: str
    name: str | None = None
    headers: dict[str, str] = {}
    checksum: str | list[str] = []
    size: int | None = None
    mirrors: tuple[str, ...] = ()


def spread(url: str) -> Iterator[str]:
    """`{a,b}`, `[1-100]`, `[001-100:10]`, `[a-z]` → every address, the last range fastest.

    Brackets that hold an IPv6 address stay as they are. Raises ConfigError.
    """
    parts: list[list[str]] = []
    at, number = 0, 1
    for match in _GLOB.finditer(url):
        choices = _choices(match, url)
        if choices is None:
            continue
        parts += [[url[at : match.start()]], choices]
        number *= len(choices)
        if number > MOST:
            raise ConfigError(f"{url}: stands for more than {MOST:,} addresses")
        at = match.end()
    parts.append([url[at:]])
    return ("".join(one) for one in itertools.product(*parts))


def _choices(match: re.Match[str], url: str) -> list[str] | None:
    """What one expression stands for; None: it is no expression."""
    if match[1] is not None:
        return match[1].split(",")
    text = match[2]
    if numbers := _NUMBERS.fullmatch(text):
        if max(len(one or "") for one in numbers.groups()) > DIGITS:
            raise ConfigError(f"{url}: a number of more than {DIGITS} digits")
        first, last, step = int(numbers[1]), int(numbers[2]), int(numbers[3] or 1)
        width = len(numbers[1]) if numbers[1].startswith("0") else 0
        if step and (last - first) // step >= MOST:
            raise ConfigError(f"{url}: stands for more than {MOST:,} addresses")
        count = range(first, last + 1, step) if step else range(0)
        made = [f"{one:0{width}}" for one in count]
    elif letters := _LETTERS.fullmatch(text):
        first_letter, last_letter = letters[1] or letters[4], letters[2] or letters[5]
        step = int(letters[3] or letters[6] or 1)
        made = [chr(one) for one in range(ord(first_letter), ord(last_letter) + 1, step)] if step \
            else []  # fmt: skip
    else:
        return None
    if not made:
        raise ConfigError(f"{url}: [{text}] stands for nothing")
    return made


def read(text: str, name: str) -> list[DownloadRequest]:
    """Orders from a file's text, whichever of the forms it has; `name` is for messages.

    Raises ConfigError that names the line.
    """
    if text.lstrip()[:1] == "<":
        from crawler.downloads import metalink  # noqa: PLC0415 - XML: for Metalinks only

        return metalink.read(text, name)
    orders: list[dict[str, Any]] = []
    for number, line in enumerate(text.splitlines(), 1):
        place = f"{name}:{number}"
        if not line.strip() or line.startswith("#"):
            continue
        if line.lstrip().startswith("{"):
            orders.append(_json(line, place))
        elif line[0] in " \t":
            if not orders:
                raise ConfigError(f"{place}: an option before any URL")
            _option(orders[-1], line.strip(), place)
        else:
            url, *mirrors = [one.strip() for one in line.split("\t") if one.strip()]
            orders.append({"url": url, "mirrors": mirrors})
    return [_order(one, name) for one in orders]


def with_sums(
    orders: Iterable[DownloadRequest], sums: dict[str, list[tuple[str, str]]]
) -> list[DownloadRequest]:
    """Checksums from a SHA256SUMS file for the orders whose name, or URL's end, it lists."""
    found = []
    for order in orders:
        name = order.name or file_names.from_url(order.url)
        digests = sums.get(name) or sums.get(name.rpartition("/")[2]) or []
        both = tuple(dict.fromkeys((*order.checksums, *digests)))
        found.append(msgspec.structs.replace(order, checksums=both))
    return found


def _json(line: str, place: str) -> dict[str, Any]:
    try:
        one = msgspec.json.decode(line, type=ListLine)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{place}: {error}") from error
    checksums = [one.checksum] if isinstance(one.checksum, str) else one.checksum
    return {
        "url": one.url, "name": one.name, "headers": one.headers, "size": one.size,
        "mirrors": one.mirrors, "checksums": [_checksum(text, place) for text in checksums],
    }  # fmt: skip


def _option(order: dict[str, Any], text: str, place: str) -> None:
    """An indented line, as aria2 has them."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals:
        raise ConfigError(f"{place}: expected option=value")
    if key == "out":
        order["name"] = value.strip()
    elif key == "checksum":
        order.setdefault("checksums", []).append(_checksum(value, place))
    elif key == "header":
        name, colon, content = value.partition(":")
        if not colon:
            raise ConfigError(f"{place}: expected header=Name: value")
        order.setdefault("headers", {})[name.strip()] = content.strip()
    else:
        raise ConfigError(f"{place}: {key}: of aria2's options, out, checksum and header are known")


def _checksum(text: str, place: str) -> tuple[str, str]:
    try:
        return checksums.checksum(text)
    except ValueError as error:
        raise ConfigError(f"{place}: {error}") from error


def _order(values: dict[str, Any], name: str) -> DownloadRequest:
    if values.get("name") is not None:
        values["name"] = file_names.ordered(values["name"])
    for key, value in (values.get("headers") or {}).items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", key) or re.search(r"[\r\n\0]", value):
            raise ConfigError(f"{name}: header {key!r} is not `Name: value`")
    try:
        return msgspec.convert(values, DownloadRequest)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{name}: {values['url']}: {error}") from error
