"""The service's own settings; a crawl's are in `crawler/config/model.py`. Pure: the door reads.

    defaults < a TOML file < CRAWLER_SERVICE_… variables < flags

The file is that of the crawl's defaults with a section `[service]` added: what stands beside it is
what every job starts from.
"""

from __future__ import annotations

import difflib
import ipaddress
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from crawler.config.loader import SERVICE
from crawler.errors import ConfigError
from crawler.service.jobs.job import JobLimits
from crawler.service.jobs.request_body import FIELDS
from crawler.utils import units

Bytes = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]

LEAST_TOKEN: Final = 16
"""Characters of a token that a person chose; ours have 43."""


class ServiceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the service runs, and how much of it anybody may use."""

    dir: str = "crawler-service"
    frontier: str | None = None  # redis://…: jobs are run by workers; frontier.url of every job
    shares: str = ""  # where the workers' folders can be read; empty: DIR/shares
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080  # 0: a free one, printed
    running: Annotated[int, Meta(ge=1, le=1000)] = 4  # jobs at a time
    queued: Annotated[int, Meta(ge=0)] = 1000  # jobs that may wait
    connections: Annotated[int, Meta(ge=1)] = 256  # open ones, all jobs together
    processes: Annotated[int, Meta(ge=1)] = 1  # parse processes of each job
    max_pages: Annotated[int, Meta(ge=1)] | None = None  # ceiling of each job
    max_bytes: Bytes | None = None
    disk: Bytes | None = None  # all job folders together
    min_free: Bytes = 256 * 1024 * 1024  # below it jobs are held
    allow: tuple[str, ...] = ()  # restricted keys that a job may set, e.g. fetch.proxy
    private: bool = False  # jobs and webhooks may go to private addresses
    cors: tuple[str, ...] = ()  # origins of other dashboards
    hosts: tuple[str, ...] = ()  # Host headers answered besides our own address
    rate: Annotated[float, Meta(gt=0)] = 50.0  # requests a second of one token
    burst: Annotated[int, Meta(ge=1)] = 200
    max_body: Bytes = 4 * 1024 * 1024  # ten thousand files with names and checksums
    streams: Annotated[int, Meta(ge=1)] = 100  # event streams at a time
    keep_for: Seconds | None = None  # ended jobs are deleted after this long
    keep_bytes: Bytes | None = None  # … or the oldest, above this sum
    grace: Seconds = 25.0  # for everything to end after SIGTERM
    log: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def limits(self) -> JobLimits:
        """What holds for all together; the ceilings also for each."""
        return JobLimits(self.running, self.queued, self.max_pages, self.max_bytes, self.disk)


_SECONDS: Final = frozenset({"keep_for", "grace"})
_BYTES: Final = frozenset({"max_bytes", "disk", "min_free", "max_body", "keep_bytes"})
_LISTS: Final = frozenset({"allow", "cors", "hosts"})
_SECRETS: Final = frozenset({"TOKEN", "TOKEN_FILE", "READ_TOKEN", "READ_TOKEN_FILE", "URL"})
"""Variables that are no settings: tokens, and the address for `crawler jobs`."""


def read(
    text: str, name: str, environ: Mapping[str, str], flags: Mapping[str, Any]
) -> tuple[ServiceConfig, dict[str, Any]]:
    """The settings, and the tree that jobs start from. Raises ConfigError."""
    try:
        tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{name}: not valid TOML: {error}") from error
    own = tree.pop("service", {})
    if not isinstance(own, dict):
        raise ConfigError(f"{name}: service is a section, not a value")
    values = {key: (value, f"{name}: service.{key}") for key, value in own.items()}
    for variable in sorted(environ):
        if not variable.startswith(SERVICE):
            continue
        key = variable.removeprefix(SERVICE)
        if key not in _SECRETS:
            values[key.lower()] = (environ[variable], variable)
    for key, value in flags.items():
        if value is not None and value != ():
            values[key] = (value, f"--{key.replace('_', '-')}")
    config = _config(values)
    for key in config.allow:
        if key not in FIELDS:
            near = difflib.get_close_matches(key, FIELDS, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{values['allow'][1]}: {key}: no such setting{hint}")
    if config.frontier:
        section = tree.setdefault("frontier", {})
        if not isinstance(section, dict):
            raise ConfigError(f"{name}: frontier is a section, not a value")
        section["url"] = config.frontier
    return config, tree


def _config(values: Mapping[str, tuple[Any, str]]) -> ServiceConfig:
    known = ServiceConfig.__struct_fields__
    chosen: dict[str, Any] = {}
    for key, (value, place) in values.items():
        if key not in known:
            raise ConfigError(f"{place}: no such setting; there are: {', '.join(known)}")
        try:
            chosen[key] = _value(key, value)
            msgspec.convert({key: chosen[key]}, ServiceConfig, strict=False)
        except (ValueError, msgspec.ValidationError) as error:
            raise ConfigError(f"{place} = {value!r}: {str(error).partition(' - at')[0]}") from error
    return msgspec.convert(chosen, ServiceConfig, strict=False)


def _value(key: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if key in _SECONDS:
        return units.seconds(value)
    if key in _BYTES:
        return units.size(value)
    if key in _LISTS:
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
