"""Checks of a job's JSON body that crawls and downloads share: keys, types, headers, section `job`.

Which settings a body may contain is defined in `crawl_job_request.py` and
`download_job_request.py`. Pure.
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

WEBHOOKS_MAX: Final = 8

FIELDS: Final = fields()

SECTIONS: Final = frozenset(key.partition(".")[0] for key in FIELDS if "." in key)

HIDDEN: Final = "…"
"""Replaces a secret in API responses."""

UNITS: Final[Mapping[str, str]] = {
    "s": r"^[0-9]{1,9}(\.[0-9]{1,3})?(ms|s|m|h|d)?([0-9]{1,4}(ms|s|m|h))*$",
    "B": r"^[0-9]{1,9}(\.[0-9]{1,3})?[kKmMgGtT]?i?[bB]?$",
}
"""Unit → pattern of a duration or size as text; `utils/units.py` parses it."""

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header name, RFC 9110 §5.6.2."""

_RESERVED_HEADERS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})
"""Headers that only the HTTP client may set: a client's values could smuggle requests."""


class InvalidBody(CrawlerError):
    """A body is not valid. `pointer`: the JSON pointer (RFC 6901) of the invalid value."""

    def __init__(self, detail: str, pointer: str = "") -> None:
        super().__init__(detail)
        self.pointer = pointer


class JobOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `job` of a body: options that only jobs of a service have."""

    name: str = ""
    webhooks: tuple[Webhook, ...] = ()


def without_login(url: str) -> str:
    """The URL with its user and password replaced by HIDDEN (RFC 3986 §3.2.1)."""
    scheme, slashes, rest = url.partition("://")
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    if not slashes or "@" not in authority:
        return url
    host = authority.rpartition("@")[2]
    return f"{scheme}://{HIDDEN}@{host}{rest[len(authority) :]}"


def read_options(value: object) -> JobOptions:
    """Validate section `job`. Raises InvalidBody."""
    try:
        options = msgspec.convert(value, JobOptions)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at ")
        raise InvalidBody(message, f"/job{json_pointer(where)}") from None
    if len(options.name) > 200:
        raise InvalidBody("longer than 200 characters", "/job/name")
    if len(options.webhooks) > WEBHOOKS_MAX:
        raise InvalidBody(f"more than {WEBHOOKS_MAX} webhooks", "/job/webhooks")
    for number, hook in enumerate(options.webhooks):
        parts = parse_url(hook.url)
        if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InvalidBody("not a http or https URL", f"/job/webhooks/{number}/url")
    return options


def parse_url(url: str) -> Any:
    """The parts of a URL; None: its port is invalid, or it contains control characters."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return None if any(char <= " " or char == "\x7f" for char in url) else parts


def dotted_keys(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted keys that a tree sets, unknown ones included: those are rejected by name later."""
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and key in SECTIONS:
            yield from dotted_keys(value, f"{key}.")
        else:
            yield key


def check_types(tree: Mapping[str, Any]) -> None:
    """Check that values have the JSON types of their settings: `0` is not `false`, `"5"` is not a
    number. Only durations and sizes may be text, as on the command line. Unknown keys are skipped:
    the loader rejects them and suggests a similar key. Raises InvalidBody.
    """
    plain: dict[str, Any] = {}
    for name, value in tree.items():
        if name in FIELDS:
            plain[name] = value
        elif isinstance(value, Mapping):
            part = {}
            for key, inner in value.items():
                field = FIELDS.get(f"{name}.{key}")
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
        raise InvalidBody(message, json_pointer(where)) from error


def check_headers(config: Config) -> None:
    """Raises InvalidBody for a header that cannot be sent unchanged."""
    for name, value in config.fetch.headers.items():
        check_header(name, value, "/fetch/headers")
    for key in ("user_agent", "contact"):
        if not is_clean(getattr(config.fetch, key)):
            raise InvalidBody("control characters or characters beyond Latin-1", f"/fetch/{key}")


def check_header(name: str, value: str, pointer: str) -> None:
    """Raises InvalidBody. A line end in a value would add another header (RFC 9110 §5.5)."""
    if not _HEADER_NAME.fullmatch(name) or name.lower() in _RESERVED_HEADERS or not is_clean(value):
        raise InvalidBody(f"header {name!r} is not usable", pointer)


def is_clean(value: str) -> bool:
    """Whether the text has only Latin-1 characters and no control characters but tabs."""
    return all((" " <= char != "\x7f" and char < "\u0100") or char == "\t" for char in value)


def json_pointer(where: str) -> str:
    """The JSON pointer of a place in a msgspec error, such as "`$.files[0].url`"."""
    path = re.sub(r"\[(\d+)\]", r".\1", where.strip("`").removeprefix("$"))
    return re.sub(r"\[.*?\]", "", path).replace(".", "/")


def pointer_of(key: str) -> str:
    """The JSON pointer of a dotted key."""
    return "/" + key.replace("~", "~0").replace("/", "~1").replace(".", "/")


def pointer_in(message: str) -> str:
    """The JSON pointer of the key that an error message begins with; empty: it names none."""
    match = re.match(r"([a-z_]+(?:\.[a-z_]+)?)\b", message)
    key = match[1] if match else ""
    is_known = key in FIELDS or any(field.startswith(f"{key}.") for field in FIELDS)
    return pointer_of(key) if is_known else ""
