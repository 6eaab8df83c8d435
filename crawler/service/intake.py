"""What a stranger may ask for: a job's body → a configuration that this service is willing to run.

The body is the command line's configuration model. Keys that reach beyond the job's own folder or
its own crawl (paths, code, proxies, the machine's memory) are closed, and so is every key that is
not named here: a setting that is added to the model later stays closed until somebody opens it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from crawler.config import Config
from crawler.errors import ConfigError, CrawlerError
from crawler.identity import demand_contact
from crawler.scope import Scope
from crawler.service.job import Limits, Webhook
from crawler.settings import Settings, as_tree, fields
from crawler.urls import Urls

OPEN: Final = (
    "seeds", "scope.*", "urls.*", "limits.*", "retry.*", "robots.*",
    "pace.per_host", "pace.delay", "pace.jitter", "pace.adaptive", "pace.max_crawl_delay",
    "pace.max_retry_after", "pace.group", "pace.limit_rate", "pace.host_rate", "pace.park_after",
    "pace.park", "pace.park_most", "pace.max_parks", "sitemap.*",
    "fetch.user_agent", "fetch.contact", "fetch.headers", "fetch.dns_timeout",
    "fetch.connect_timeout", "fetch.first_byte_timeout", "fetch.idle_timeout", "fetch.timeout",
    "fetch.max_body", "fetch.max_ratio", "fetch.max_redirects", "fetch.cookies", "fetch.min_rate",
    "fetch.min_rate_after",
    "parse.deadline", "parse.simhash",
    "output.skipped", "output.jsonl", "output.save", "output.durable", "output.warc", "warc.*",
)  # fmt: skip
"""Keys that any job may set. A section with `.*` is open as a whole: it rules the crawl's own
appetite, which has ceilings (`Limits`), and names no path, program or address.
"""

NEVER: Final = ("output.dir",)
"""Not even when the configuration allows it: the service decides where a job lies."""

CEILINGS: Final[Mapping[str, int]] = {"limits.concurrency": 1000, "limits.workers": 4000}

MOST_WEBHOOKS: Final = 8

_FIELDS: Final = fields()

_SECTIONS: Final = frozenset(key.partition(".")[0] for key in _FIELDS if "." in key)

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


class Invalid(CrawlerError):
    """A body that cannot be used. `pointer` says where (RFC 6901)."""

    def __init__(self, detail: str, pointer: str = "") -> None:
        super().__init__(detail)
        self.pointer = pointer


class Extras(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body's own section `job`: what a crawl from the command line does not have."""

    name: str = ""
    webhooks: tuple[Webhook, ...] = ()


class Order(msgspec.Struct, frozen=True):
    """A body that was understood."""

    name: str
    config: Config
    webhooks: tuple[Webhook, ...]


def order(
    body: object,
    *,
    defaults: Mapping[str, Any],
    allow: Iterable[str] = (),
    limits: Limits,
    processes: int = 1,
) -> Order:
    """Read a job's body. `defaults` is the tree every job starts from. Raises Invalid."""
    if not isinstance(body, dict):
        raise Invalid("expected a JSON object")
    tree = dict(body)
    extras = _extras(tree.pop("job", {}))
    settings = Settings()
    settings.tree(defaults, "the service's defaults")
    for key in _keys(tree):
        if not is_open(key, allow):
            raise Invalid(_closed(key), _pointer(key))
    _check_types(tree)
    try:
        settings.tree(tree, "body")
        settings.set("parse.processes", processes, "service")
        config = _bounded(settings.config(), limits)
        seeds = _seeds(config)
        Scope(config.scope, seeds)  # its regular expressions are ones
    except (ConfigError, TypeError) as error:
        place, _, message = str(error).partition(": ")
        raise Invalid(message or place, _pointer_in(message)) from error
    try:
        demand_contact(config, seeds)
    except ConfigError as error:
        words = str(error).partition(";")[0].replace("--contact", "fetch.contact")
        raise Invalid(words, "/fetch/contact") from error
    _check_headers(config)
    if not seeds:
        raise Invalid("name at least one seed", "/seeds")
    host = urlsplit(seeds[0]).hostname or ""
    return Order(extras.name or host, config, extras.webhooks)


def is_open(key: str, allow: Iterable[str] = ()) -> bool:
    """Whether a job's body may set a key."""
    if key in NEVER:
        return False
    section = f"{key.partition('.')[0]}.*"
    return key in OPEN or section in OPEN or key in allow or key not in _FIELDS


def public(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration tree as it may be shown: what could be a credential is not told back.

    That is every text of a closed key, too, as an operator's defaults may hold logins and paths.
    """
    shown: dict[str, Any] = {}
    for name, part in tree.items():
        if name == "seeds" and isinstance(part, list | tuple):
            shown[name] = [without_login(str(seed)) for seed in part]
        elif isinstance(part, Mapping):
            section = shown[name] = {}
            for key, value in part.items():
                dotted = f"{name}.{key}"
                if dotted == "fetch.headers" and value:
                    section[key] = dict.fromkeys(value, HIDDEN)
                elif is_open(dotted) or not value or isinstance(value, int | float):
                    section[key] = value
                elif dotted not in NEVER:
                    section[key] = HIDDEN
    return shown


def without_login(url: str) -> str:
    """A URL with its user and password hidden (RFC 3986 §3.2.1)."""
    scheme, slashes, rest = url.partition("://")
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    if not slashes or "@" not in authority:
        return url
    host = authority.rpartition("@")[2]
    return f"{scheme}://{HIDDEN}@{host}{rest[len(authority) :]}"


def stored(config: Config) -> dict[str, Any]:
    """A configuration as the register keeps it."""
    return as_tree(config)


def _extras(value: object) -> Extras:
    try:
        extras = msgspec.convert(value, Extras)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at ")
        raise Invalid(
            message, "/job" + where.strip("`").removeprefix("$").replace(".", "/")
        ) from None
    if len(extras.name) > 200:
        raise Invalid("longer than 200 characters", "/job/name")
    if len(extras.webhooks) > MOST_WEBHOOKS:
        raise Invalid(f"more than {MOST_WEBHOOKS} webhooks", "/job/webhooks")
    for number, hook in enumerate(extras.webhooks):
        parts = _split(hook.url)
        if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Invalid("not a http or https URL", f"/job/webhooks/{number}/url")
    return extras


def _split(url: str) -> Any:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return None if any(char <= " " or char == "\x7f" for char in url) else parts


def _keys(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted keys that a tree sets; unknown ones too, they are refused by name later."""
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and key in _SECTIONS:
            yield from _keys(value, f"{key}.")
        else:
            yield key


def _check_types(tree: Mapping[str, Any]) -> None:
    """JSON says what it means: `0` is no `false`, `"5"` no number. Only durations and sizes may be
    text, as on the command line. What is unknown is left to the settings, which know its neighbour.
    """
    known = _FIELDS
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
                    raise Invalid(f"{inner[:40]!r} is not a number with a unit", f"/{name}/{key}")
            plain[name] = part
    plain = {name: value for name, value in plain.items() if name in Config.__struct_fields__}
    try:
        msgspec.convert(plain, Config)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at ")
        pointer = re.sub(r"\[(\d+)\]", r".\1", where.strip("`").removeprefix("$"))
        pointer = re.sub(r"\[.*?\]", "", pointer)
        raise Invalid(message, pointer.replace(".", "/")) from error


def _closed(key: str) -> str:
    if key in NEVER:
        return f"{key}: the service decides where a job lies"
    return f"{key}: not for jobs of this service (its operator may --allow {key})"


def _bounded(config: Config, limits: Limits) -> Config:
    """Ask for no more than there is: ceilings are lowered silently, and shown in the job."""
    own = config.limits
    for key, most in CEILINGS.items():
        value = getattr(own, key.partition(".")[2])
        if value is not None and value > most:
            raise ConfigError(f"body: {key} = {value}: more than {most}")
    pages = [one for one in (own.max_pages, limits.pages) if one is not None]
    volume = [one for one in (own.size_limit, limits.bytes) if one is not None]
    own = msgspec.structs.replace(
        own, max_pages=min(pages, default=None), size_limit=min(volume, default=None)
    )
    return msgspec.structs.replace(config, limits=own)


def _seeds(config: Config) -> list[str]:
    urls = Urls(config.urls)
    seeds = []
    for seed in config.seeds:
        canonical = urls.canonical(seed)
        if canonical is None:
            raise ConfigError(f"body: seeds: {seed!r} is not a http or https URL")
        seeds.append(canonical)
    return seeds


def _check_headers(config: Config) -> None:
    """A line end in a header would smuggle another one in (RFC 9110 §5.5)."""
    for name, value in config.fetch.headers.items():
        if not _NAME.fullmatch(name) or name.lower() in _RESERVED or not _is_clean(value):
            raise Invalid(f"header {name!r} is not usable", "/fetch/headers")
    for key in ("user_agent", "contact"):
        if not _is_clean(getattr(config.fetch, key)):
            raise Invalid("control characters or characters beyond Latin-1", f"/fetch/{key}")


def _is_clean(value: str) -> bool:
    return all((" " <= char != "\x7f" and char < "\u0100") or char == "\t" for char in value)


def _pointer(key: str) -> str:
    return "/" + key.replace("~", "~0").replace("/", "~1").replace(".", "/")


def _pointer_in(message: str) -> str:
    match = re.match(r"([a-z_]+(?:\.[a-z_]+)?)\b", message)
    known = _FIELDS
    key = match[1] if match else ""
    return _pointer(key) if key in known or any(k.startswith(f"{key}.") for k in known) else ""
