"""Settings of the service; those of a crawl are in `crawler/config/model.py`. Pure.

Precedence:

    defaults < a TOML file < CRAWLER_SERVICE_… variables < flags

The TOML file has a section `[service]`; its other sections are the settings every job starts from.
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

TOKEN_CHARS_MIN: Final = 16
"""Characters of a token from the environment; tokens that the service creates have 43."""


class ServiceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of section `[service]`. Sizes are in bytes, durations in seconds."""

    dir: str = "crawler-service"
    frontier: str | None = None  # redis://…: workers run the jobs; sets frontier.url of every job
    shares: str = ""  # folder with the workers' folders; empty: DIR/shares
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080  # 0: any free port, which is printed
    running: Annotated[int, Meta(ge=1, le=1000)] = 4  # concurrent jobs
    queued: Annotated[int, Meta(ge=0)] = 1000  # jobs waiting to start
    connections: Annotated[int, Meta(ge=1)] = 256  # open connections of all jobs together
    processes: Annotated[int, Meta(ge=1)] = 1  # parse processes of each job
    max_pages: Annotated[int, Meta(ge=1)] | None = None  # upper limit of each job
    max_bytes: Bytes | None = None
    disk: Bytes | None = None  # all job folders together
    min_free: Bytes = 256 * 1024 * 1024  # jobs are held below it
    allow: tuple[str, ...] = ()  # restricted keys that a job may set, e.g. fetch.proxy
    private: bool = False  # jobs and webhooks may go to private addresses
    cors: tuple[str, ...] = ()  # origins of other dashboards
    hosts: tuple[str, ...] = ()  # accepted Host headers, besides the service's own address
    rate: Annotated[float, Meta(gt=0)] = 50.0  # API requests per second of one token
    burst: Annotated[int, Meta(ge=1)] = 200
    max_body: Bytes = 4 * 1024 * 1024  # ten thousand files with names and checksums
    streams: Annotated[int, Meta(ge=1)] = 100  # concurrent event streams
    keep_for: Seconds | None = None  # ended jobs are deleted after this long
    keep_bytes: Bytes | None = None  # the oldest ended jobs are deleted above this total
    grace: Seconds = 25.0  # time for runs to end after SIGTERM
    log: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def limits(self) -> JobLimits:
        """Limits of all jobs together; `pages` and `bytes` are those of each job."""
        return JobLimits(self.running, self.queued, self.max_pages, self.max_bytes, self.disk)


_SECONDS: Final = frozenset({"keep_for", "grace"})
_BYTES: Final = frozenset({"max_bytes", "disk", "min_free", "max_body", "keep_bytes"})
_LISTS: Final = frozenset({"allow", "cors", "hosts"})
_SECRETS: Final = frozenset({"TOKEN", "TOKEN_FILE", "READ_TOKEN", "READ_TOKEN_FILE", "URL"})
"""Variables that are not settings: tokens, and the address for `crawler jobs`."""


def read(
    text: str, name: str, environ: Mapping[str, str], flags: Mapping[str, Any]
) -> tuple[ServiceConfig, dict[str, Any]]:
    """The settings, and the configuration tree that jobs start from. Raises ConfigError.

    `text` is the TOML file's content, `name` its name in messages.
    """
    try:
        tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{name}: not valid TOML: {error}") from error
    section = tree.pop("service", {})
    if not isinstance(section, dict):
        raise ConfigError(f"{name}: service is a section, not a value")
    values = {key: (value, f"{name}: service.{key}") for key, value in section.items()}
    for variable in sorted(environ):
        if not variable.startswith(SERVICE):
            continue
        key = variable.removeprefix(SERVICE)
        if key not in _SECRETS:
            values[key.lower()] = (environ[variable], variable)
    for key, value in flags.items():
        if value is not None and value != ():
            values[key] = (value, f"--{key.replace('_', '-')}")
    config = _convert(values)
    for key in config.allow:
        if key not in FIELDS:
            similar = difflib.get_close_matches(key, FIELDS, 1)
            hint = f"; did you mean {similar[0]}?" if similar else ""
            raise ConfigError(f"{values['allow'][1]}: {key}: no such setting{hint}")
    if config.frontier:
        frontier = tree.setdefault("frontier", {})
        if not isinstance(frontier, dict):
            raise ConfigError(f"{name}: frontier is a section, not a value")
        frontier["url"] = config.frontier
    return config, tree


def _convert(values: Mapping[str, tuple[Any, str]]) -> ServiceConfig:
    known = ServiceConfig.__struct_fields__
    chosen: dict[str, Any] = {}
    for key, (value, source) in values.items():
        if key not in known:
            raise ConfigError(f"{source}: no such setting; there are: {', '.join(known)}")
        try:
            chosen[key] = _parse(key, value)
            msgspec.convert({key: chosen[key]}, ServiceConfig, strict=False)
        except (ValueError, msgspec.ValidationError) as error:
            raise ConfigError(
                f"{source} = {value!r}: {str(error).partition(' - at')[0]}"
            ) from error
    return msgspec.convert(chosen, ServiceConfig, strict=False)


def _parse(key: str, value: Any) -> Any:
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
    """Whether a server on this host can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
