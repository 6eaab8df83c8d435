"""Validate the request body of a crawl job and build its Config, within the service's limits.

The body has the same settings as the command line. Settings that reach beyond the job's own folder
or its own crawl (paths, code, proxies, the machine's memory) are rejected, and so is every setting
that is not in `SETTABLE`: one that is added to the model later is rejected until it is listed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from crawler.config.loader import Settings, as_tree
from crawler.config.model import Config
from crawler.downloads.download_request import DownloadRequest
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
    dotted_keys,
    pointer_in,
    pointer_of,
    read_options,
    without_login,
)

SETTABLE: Final = (
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
"""Keys that any job may set. `.*` stands for all keys of a section: they affect only the crawl's
own load, which `JobLimits` limits, and contain no path, program or address.
"""

FORBIDDEN: Final = ("output.dir",)
"""Keys that no job may set, even if the operator allows them: the service chooses job folders."""

CEILINGS: Final[Mapping[str, int]] = {"limits.concurrency": 1000, "limits.workers": 4000}
"""Key → largest value that is accepted."""


class JobRequest(msgspec.Struct, frozen=True):
    """A valid request. `files`: the files of a download; None: the job is a crawl."""

    name: str
    config: Config
    webhooks: tuple[Webhook, ...]
    files: tuple[DownloadRequest, ...] | None = None


def read_crawl_request(
    body: object,
    *,
    defaults: Mapping[str, Any],
    allow: Iterable[str] = (),
    limits: JobLimits,
    processes: int = 1,
) -> JobRequest:
    """Validate a crawl's request body. Raises InvalidBody.

    `defaults` is the configuration tree every job starts from, `allow` the further keys that the
    operator lets jobs set, `processes` the number of parse processes.
    """
    if not isinstance(body, dict):
        raise InvalidBody("expected a JSON object")
    tree = dict(body)
    options = read_options(tree.pop("job", {}))
    settings = Settings()
    settings.tree(defaults, "the service's defaults")
    for key in dotted_keys(tree):
        if not is_settable(key, allow):
            raise InvalidBody(_not_settable(key), pointer_of(key))
    check_types(tree)
    try:
        settings.tree(tree, "body")
        settings.set("parse.processes", processes, "service")
        config = apply_limits(settings.config(), limits)
        seeds = _canonical_seeds(config)
        Scope(config.scope, seeds)  # checks its regular expressions
    except (ConfigError, TypeError) as error:
        prefix, _, message = str(error).partition(": ")
        raise InvalidBody(message or prefix, pointer_in(message)) from error
    try:
        demand_contact(config, seeds)
    except ConfigError as error:
        message = str(error).partition(";")[0].replace("--contact", "fetch.contact")
        raise InvalidBody(message, "/fetch/contact") from error
    check_headers(config)
    if not seeds:
        raise InvalidBody("name at least one seed", "/seeds")
    host = urlsplit(seeds[0]).hostname or ""
    return JobRequest(options.name or host, config, options.webhooks)


def is_settable(key: str, allow: Iterable[str] = ()) -> bool:
    """Whether a crawl's body may set a key. Unknown keys pass: the loader rejects them by name."""
    if key in FORBIDDEN:
        return False
    section = f"{key.partition('.')[0]}.*"
    return key in SETTABLE or section in SETTABLE or key in allow or key not in FIELDS


def redacted(
    tree: Mapping[str, Any], may_set: Callable[[str], bool] = is_settable
) -> dict[str, Any]:
    """The configuration tree for API responses, without possible credentials.

    Header values, logins in URLs, and texts of keys that the job may not set (`may_set`) are
    replaced by HIDDEN: an operator's defaults may contain logins and paths.
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
                elif dotted not in FORBIDDEN:
                    section[key] = HIDDEN
    return shown


def config_tree(config: Config) -> dict[str, Any]:
    """The configuration as a tree, as the job store saves it."""
    return as_tree(config)


def _not_settable(key: str) -> str:
    if key in FORBIDDEN:
        return f"{key}: the service decides where a job is stored"
    return f"{key}: not for jobs of this service (its operator may --allow {key})"


def apply_limits(config: Config, limits: JobLimits) -> Config:
    """Lower the limits of a configuration to `limits`. Raises ConfigError above a ceiling."""
    own = config.limits
    for key, ceiling in CEILINGS.items():
        value = getattr(own, key.partition(".")[2])
        if value is not None and value > ceiling:
            raise ConfigError(f"body: {key} = {value}: more than {ceiling}")
    pages = [limit for limit in (own.max_pages, limits.pages) if limit is not None]
    sizes = [limit for limit in (own.size_limit, limits.bytes) if limit is not None]
    own = msgspec.structs.replace(
        own, max_pages=min(pages, default=None), size_limit=min(sizes, default=None)
    )
    return msgspec.structs.replace(config, limits=own)


def _canonical_seeds(config: Config) -> list[str]:
    urls = Urls(config.urls)
    seeds = []
    for seed in config.seeds:
        canonical = urls.canonical(seed)
        if canonical is None:
            raise ConfigError(f"body: seeds: {seed!r} is not a http or https URL")
        seeds.append(canonical)
    return seeds
