"""Read a command's settings from files, environment variables and flags."""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from crawler.cli.flags import given
from crawler.config.loader import Settings, is_as_saved
from crawler.config.proxy_env import proxies_in
from crawler.config.workdir import FRONTIER, SAVED
from crawler.errors import ConfigError, FrontierError

if TYPE_CHECKING:
    from crawler.config.model import FrontierConfig

log = logging.getLogger(__name__)

AGAIN = "put it back as it was, or start over: crawler crawl … --fresh"

F = TypeVar("F", bound=Callable[..., Any])

OTHER_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:(?![0-9]{1,5}(/|\?|#|$))", re.IGNORECASE)
"""`mailto:x`, but not `example.com:8080`."""


def config_options(command: F) -> F:
    """--config, -s and --polite, --fast for a click command."""
    for option in (
        click.option("--config", "files", multiple=True, metavar="FILE",
                     help="Read settings from a TOML file; repeatable, later ones win."),
        click.option("-s", "assignments", multiple=True, metavar="KEY=VALUE",
                     help="Set anything, e.g. -s scope.max_links=100; repeatable."),
        click.option("--polite", is_flag=True,
                     help="One connection a host, a second between requests."),
        click.option("--fast", is_flag=True,
                     help="Your own servers: no pacing; one host may have all connections."),
    ):  # fmt: skip
        command = option(command)
    return command


def merged(values: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """All sources in their order. `values` are a click command's. Raises ConfigError."""
    settings = Settings()
    add_said(settings, values, environ)
    return settings


def add_said(
    settings: Settings, values: Mapping[str, Any], environ: Mapping[str, str] | None = None
) -> None:
    """What is said now, in its order: files, environment (None: it has no say), flags, -s.

    Raises ConfigError.
    """
    before = dict(settings.origins)
    for name in values["files"]:
        settings.toml(text_of(name), name)
    if environ is not None:
        settings.environment(environ)
    _add_flags(settings, values)
    _add_proxies(settings, before)


def _add_proxies(settings: Settings, before: Mapping[str, str]) -> None:
    """The environment's proxies, unless others are named or none are wanted. Raises ConfigError.

    They say where this machine is: a crawl that goes on takes today's, with their logins, and
    those that it began with only where today there are none. `before`: where each setting came
    from when what is said now had not been heard.
    """
    fetch = settings.config().fetch

    def said(key: str) -> bool:
        return settings.origins.get(key) != before.get(key)

    if fetch.proxy is not None:
        return
    if not fetch.env_proxy:
        if before and said("fetch.env_proxy"):  # until now it took them
            settings.set("fetch.scheme_proxies", {}, settings.origins["fetch.env_proxy"])
        return
    if said("fetch.scheme_proxies"):
        settings.set("fetch.env_proxy", False, settings.origins["fetch.scheme_proxies"])
        return
    proxies, without, variables = proxies_in(os.environ)
    if proxies:
        settings.set("fetch.scheme_proxies", proxies, ", ".join(variables))
        if without and not said("fetch.no_proxy"):
            settings.set("fetch.no_proxy", list(without), variables[-1])


def _add_flags(settings: Settings, values: Mapping[str, Any]) -> None:
    """Presets, flags, -s: what the command line itself says."""
    for preset in ("polite", "fast"):
        if values[preset]:
            settings.preset(preset, f"--{preset}")
    if values["fast"]:
        for name, said in (("--polite", values["polite"]), ("--delay", values.get("pace__delay")),
                           ("--per-host", values.get("pace__per_host"))):  # fmt: skip
            if said:
                raise ConfigError(f"--fast and {name}: only one of them")
    given(settings, values)
    for assignment in values["assignments"]:
        settings.assignment(assignment)


def saved(folder: Path) -> Settings:
    """The settings a crawl was started with; the defaults when it died before they were written.

    Raises ConfigError when the file is gone from a crawl that had begun, or is not whole.
    """
    settings = Settings()
    path = folder / SAVED
    if path.exists():
        settings.toml(whole_text(path), str(path))
    elif has_begun(folder):
        raise ConfigError(f"{path}: is gone: {AGAIN}")
    return settings


def has_begun(folder: Path) -> bool:
    """Whether the folder's frontier has links: then the settings had been written before them."""
    if not (folder / FRONTIER).exists():
        return False
    from crawler.frontier.sqlite.overview import looking  # noqa: PLC0415 - an error's cost only

    try:
        with looking(folder / FRONTIER) as db:
            return db.execute("SELECT 1 FROM link LIMIT 1").fetchone() is not None
    except FrontierError:  # empty yet, or damaged: who opens it next says so
        return False


def whole_text(path: Path) -> str:
    """The text of a crawl's settings; it is told when they were edited. Raises ConfigError."""
    text = text_of(path)
    try:
        as_saved = is_as_saved(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}: {AGAIN}") from error
    if not as_saved:
        log.warning("%s was edited since it was written: it is taken as it stands", path)
    return text


def text_of(name: str | Path) -> str:
    """A small text file. Raises ConfigError."""
    try:
        return Path(name).read_text("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: not UTF-8 (byte {error.start})") from error


def seeds_in(lines: Iterable[str]) -> list[str]:
    """URLs one a line; blank lines and those that start with # are none."""
    stripped = (line.strip() for line in lines)
    return [with_scheme(line) for line in stripped if line and not line.startswith("#")]


def with_scheme(url: str) -> str:
    """`example.com` → `https://example.com`; localhost and addresses are http, as one's own are.

    What names another scheme stays as it is and is refused where seeds are judged.
    """
    if url.startswith("//"):
        url = url[2:]
    elif "://" in url or OTHER_SCHEME.match(url):
        return url
    authority = re.split(r"[/?#]", url, maxsplit=1)[0].rpartition("@")[2]
    name = authority if authority.endswith("]") else re.sub(r":[0-9]*$", "", authority)
    own = name.lower() == "localhost" or name.lower().endswith(".localhost") or _is_address(name)
    return f"{'http' if own else 'https'}://{url}"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def of_job(text: str, where: FrontierConfig, values: dict[str, Any]) -> Settings:
    """A job's settings, as TOML, with what is said here on top. Raises ConfigError."""
    settings = Settings()
    settings.toml(text, f"job {where.job}")
    settings.set("output.dir", "crawl", "default")  # the first worker's folder is not ours
    add_said(settings, values, os.environ)
    settings.set("frontier.url", where.url, "--frontier")
    settings.set("frontier.job", where.job, "--job")
    return settings
