"""A job's body as JSON says it: its keys and types, its own section `job`, its headers; and where
in it something is wrong. What may be said is `intake.py`'s and `files_intake.py`'s. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from crawler.config.loader import fields
from crawler.config.model import Config
from crawler.errors import CrawlerError
from crawler.service.jobs.job import Webhook

MOST_WEBHOOKS: Final = 8

FIELDS: Final = fields()

SECTIONS: Final = frozenset(key.partition(".")[0] for key in FIELDS if "." in key)

HIDDEN: Final = "…"
"""Stands for a secret in everything that is told back."""

UNITS: Final[Mapping[str, str]] = {
    "s": r"^[0-9]{1,9}(\.[0-9]{1,3})?(ms|s|m|h|d)?([0-9]{1,4}(ms|s|m|h))*$",
    "B": r"^[0-9]{1,9}(\.[0-9]{1,3})?[kKmMgGtT]?i?[bB]?$",
}
"""How a duration or a size may be written as text; `units.py` decides what it means."""

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header's name, RFC 9110 §5.6.2."""

_RESERVED: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})
"""Headers that are the HTTP client's business: set by hand they would smuggle requests."""


class InvalidBody(CrawlerError):
    """A body that cannot be used. `pointer` says where (RFC 6901)."""

    def __init__(self, detail: str, pointer: str = "") -> None:
        super().__init__(detail)
        self.pointer = pointer


class JobOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body's own section `job`: what a crawl from the command line does not have."""

    name: str = ""
    webhooks: tuple[Webhook, ...] = ()


def without_login(url: str) -> str:
    """A URL with its user and password hidden (RFC 3986 §3.2.1)."""
    scheme, slashes, rest = url.partition("://")
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    if not slashes or "@" not in authority:
        return url
    host = authority.rpartition("@")[2]
    return f"{scheme}://{HIDDEN}@{host}{rest[len(authority) :]}"


def read_extras(value: object) -> JobOptions:
    try:
        extras = msgspec.convert(value, JobOptions)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at ")
        raise InvalidBody(
            message, "/job" + where.strip("`").removeprefix("$").replace(".", "/")
        ) from None
    if len(extras.name) > 200:
        raise InvalidBody("longer than 200 characters", "/job/name")
    if len(extras.webhooks) > MOST_WEBHOOKS:
        raise InvalidBody(f"more than {MOST_WEBHOOKS} webhooks", "/job/webhooks")
    for number, hook in enumerate(extras.webhooks):
        parts = split_url(hook.url)
        if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InvalidBody("not a http or https URL", f"/job/webhooks/{number}/url")
    return extras


def split_url(url: str) -> Any:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return None if any(char <= " " or char == "\x7f" for char in url) else parts


def keys(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted keys that a tree sets; unknown ones too, they are refused by name later."""
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and key in SECTIONS:
            yield from keys(value, f"{key}.")
        else:
            yield key


def check_types(tree: Mapping[str, Any]) -> None:
    """JSON says what it means: `0` is no `false`, `"5"` no number. Only durations and sizes may be
    text, as on the command line. What is unknown is left to the settings, which know its neighbour.
    """
    known = FIELDS
    plain: dict[str, Any] = {}
    for name, value in tree.items():
        if name in known:
            plain[name] = value
        elif isinstance(value, Mapping):
            part = {}
            for key, inner in value.items():
                field = known.get(f"{name}.{key}")
                if field is None:
                    continue
                if not (field.unit and isinstance(inner, str)):
                    part[key] = inner
                elif not re.fullmatch(UNITS[field.unit], inner):
                    raise InvalidBody(
                        f"{inner[:40]!r} is not a number with a unit", f"/{name}/{key}"
                    )
            plain[name] = part
    plain = {name: value for name, value in plain.items() if name in Config.__struct_fields__}
    try:
        msgspec.convert(plain, Config)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at ")
        pointer = re.sub(r"\[(\d+)\]", r".\1", where.strip("`").removeprefix("$"))
        pointer = re.sub(r"\[.*?\]", "", pointer)
        raise InvalidBody(message, pointer.replace(".", "/")) from error


def check_headers(config: Config) -> None:
    """Raises Invalid for a header that cannot be sent as it is."""
    for name, value in config.fetch.headers.items():
        check_header(name, value, "/fetch/headers")
    for key in ("user_agent", "contact"):
        if not is_clean(getattr(config.fetch, key)):
            raise InvalidBody("control characters or characters beyond Latin-1", f"/fetch/{key}")


def check_header(name: str, value: str, place: str) -> None:
    """A line end in a header would smuggle another one in (RFC 9110 §5.5)."""
    if not _NAME.fullmatch(name) or name.lower() in _RESERVED or not is_clean(value):
        raise InvalidBody(f"header {name!r} is not usable", place)


def is_clean(value: str) -> bool:
    return all((" " <= char != "\x7f" and char < "\u0100") or char == "\t" for char in value)


def pointer_of(key: str) -> str:
    return "/" + key.replace("~", "~0").replace("/", "~1").replace(".", "/")


def pointer_in(message: str) -> str:
    match = re.match(r"([a-z_]+(?:\.[a-z_]+)?)\b", message)
    known = FIELDS
    key = match[1] if match else ""
    return pointer_of(key) if key in known or any(k.startswith(f"{key}.") for k in known) else ""
