"""Validate a job request and build its Config, within the limits of this service.

The body is the command line's configuration model. Keys that reach beyond the job's own folder or
its own crawl (paths, code, proxies, the machine's memory) are closed, and so is every key that is
not named here: a setting that is added to the model later stays closed until somebody opens it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from crawler.config.loader import Settings, as_tree
from crawler.config.model import Config
from crawler.downloads.download_request import DownloadRequest as File
from crawler.errors import ConfigError
from crawler.policy.scope import Scope
from crawler.policy.urls import Urls
from crawler.policy.user_agent import demand_contact
from crawler.service.jobs.job import JobLimits, Webhook
from crawler.service.jobs.request_body import (
    FIELDS,
    HIDDEN,
    InvalidBody,
    check_headers,
    check_types,
    keys,
    pointer_in,
    pointer_of,
    read_extras,
    without_login,
)

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
appetite, which has ceilings (`JobLimits`), and names no path, program or address.
"""

NEVER: Final = ("output.dir",)
"""Not even when the configuration allows it: the service decides where a job lies."""

CEILINGS: Final[Mapping[str, int]] = {"limits.concurrency": 1000, "limits.workers": 4000}


class JobRequest(msgspec.Struct, frozen=True):
    """A body that was understood. `files`: what is to be downloaded; None: it is a crawl."""

    name: str
    config: Config
    webhooks: tuple[Webhook, ...]
    files: tuple[File, ...] | None = None


def order(
    body: object,
    *,
    defaults: Mapping[str, Any],
    allow: Iterable[str] = (),
    limits: JobLimits,
    processes: int = 1,
) -> JobRequest:
    """Read a job's body. `defaults` is the tree every job starts from. Raises Invalid."""
    if not isinstance(body, dict):
        raise InvalidBody("expected a JSON object")
    tree = dict(body)
    extras = read_extras(tree.pop("job", {}))
    settings = Settings()
    settings.tree(defaults, "the service's defaults")
    for key in keys(tree):
        if not is_open(key, allow):
            raise InvalidBody(_closed(key), pointer_of(key))
    check_types(tree)
    try:
        settings.tree(tree, "body")
        settings.set("parse.processes", processes, "service")
        config = bounded(settings.config(), limits)
        seeds = _seeds(config)
        Scope(config.scope, seeds)  # its regular expressions are ones
    except (ConfigError, TypeError) as error:
        place, _, message = str(error).partition(": ")
        raise InvalidBody(message or place, pointer_in(message)) from error
    try:
        demand_contact(config, seeds)
    except ConfigError as error:
        words = str(error).partition(";")[0].replace("--contact", "fetch.contact")
        raise InvalidBody(words, "/fetch/contact") from error
    check_headers(config)
    if not seeds:
        raise InvalidBody("name at least one seed", "/seeds")
    host = urlsplit(seeds[0]).hostname or ""
    return JobRequest(extras.name or host, config, extras.webhooks)


def is_open(key: str, allow: Iterable[str] = ()) -> bool:
    """Whether a job's body may set a key."""
    if key in NEVER:
        return False
    section = f"{key.partition('.')[0]}.*"
    return key in OPEN or section in OPEN or key in allow or key not in FIELDS


def public(tree: Mapping[str, Any], may_set: Callable[[str], bool] = is_open) -> dict[str, Any]:
    """A configuration tree as it may be shown: what could be a credential is not told back.

    That is every text of a key closed to the job (`may_set`), too, as an operator's defaults may
    hold logins and paths.
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
                elif may_set(dotted) or not value or isinstance(value, int | float):
                    section[key] = value
                elif dotted not in NEVER:
                    section[key] = HIDDEN
    return shown


def stored(config: Config) -> dict[str, Any]:
    """A configuration as the register keeps it."""
    return as_tree(config)


def _closed(key: str) -> str:
    if key in NEVER:
        return f"{key}: the service decides where a job lies"
    return f"{key}: not for jobs of this service (its operator may --allow {key})"


def bounded(config: Config, limits: JobLimits) -> Config:
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
