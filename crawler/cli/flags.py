"""One table: flag → setting → help. The options, the help and the guide are made from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click
import msgspec

F = TypeVar("F", bound=Callable[..., Any])


class Flag(msgspec.Struct, frozen=True):
    """A flag, by the names people know from wget, Scrapy, katana and browsertrix."""

    names: tuple[str, ...]
    key: str  # the setting, dotted
    help: str
    metavar: str = ""  # nothing: a switch
    value: Any = None  # what a switch sets
    many: bool = False
    choices: tuple[str, ...] = ()


FLAGS: Final = (
    Flag(("--scope",), "scope.scope", "Which links belong to the crawl.", "NAME",
         choices=("page", "prefix", "host", "domain", "any")),
    Flag(("-A", "--include"), "scope.include", "Follow only URLs that match.", "REGEX", many=True),
    Flag(("-R", "--exclude"), "scope.exclude", "Never follow URLs that match.", "REGEX", many=True),
    Flag(("-d", "--depth", "--max-depth", "-l", "--level"), "scope.max_depth",
         "Clicks from a seed; 0: the seeds alone.", "N"),
    Flag(("--mime",), "scope.mime", "Read only bodies of this type.", "TYPE", many=True),
    Flag(("--forms",), "scope.forms", "Follow the actions of GET forms.", value=True),
    Flag(("--strip-query",), "urls.strip_query",
         "Parameters that never change a page (glob).", "NAME", many=True),
    Flag(("--max-pages", "--limit"), "limits.max_pages", "Stop after N pages, exactly.", "N"),
    Flag(("--time-limit",), "limits.time_limit", "Stop after this long.", "TIME"),
    Flag(("--size-limit",), "limits.size_limit", "Stop before more bytes than this.", "SIZE"),
    Flag(("-c", "--concurrency"), "limits.concurrency", "Open connections in all.", "N"),
    Flag(("--grace",), "limits.grace", "Time for what is in hand when stopped.", "TIME"),
    Flag(("--per-host",), "pace.per_host", "Requests at a time to one host.", "N"),
    Flag(("--delay", "-w", "--wait"), "pace.delay", "Pause between requests to a host.", "TIME"),
    Flag(("--fast",), "pace.fast", "One's own servers: no pacing at all.", value=True),
    Flag(("--robots/--no-robots",), "robots.obey", "Obey robots.txt (RFC 9309)."),
    Flag(("--user-agent",), "fetch.user_agent", "User-Agent; {version}, {contact} are filled in.",
         "TEXT"),
    Flag(("--contact",), "fetch.contact", "URL or mail address where you can be reached.", "TEXT"),
    Flag(("-H", "--header"), "fetch.headers", "Send a header, `Name: value`.", "HEADER", many=True),
    Flag(("--timeout",), "fetch.timeout", "For one whole exchange.", "TIME"),
    Flag(("--connect-timeout",), "fetch.connect_timeout", "For connecting, TLS included.", "TIME"),
    Flag(("--max-body",), "fetch.max_body", "Largest body, on the wire and decoded.", "SIZE"),
    Flag(("--proxy",), "fetch.proxy", "Go through this HTTP proxy.", "URL"),
    Flag(("--insecure",), "fetch.insecure", "Do not verify TLS certificates.", value=True),
    Flag(("-t", "--retries"), "retry.retries", "Tries after the first.", "N"),
    Flag(("--retry-on-http-status",), "retry.on_status", "Statuses worth another try.", "LIST"),
    Flag(("--processes",), "parse.processes", "Parse processes.", "N"),
    Flag(("--plugin",), "parse.plugins", "Extract with module:function or file.py:function.",
         "NAME", many=True),
    Flag(("--save",), "output.save", "Keep the bodies too, one file a page.", "WHAT",
         choices=("none", "html", "all")),
    Flag(("--durable",), "output.durable", "A commit survives kill -9, or a power cut.", "WHAT",
         choices=("process", "power")),
)  # fmt: skip

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "polite": {"pace.per_host": 1, "pace.delay": 1.0},
}


def options(command: F) -> F:
    """Give a click command all flags; their values arrive by the name of their key."""
    for flag in reversed(FLAGS):
        kind: Any = click.Choice(flag.choices) if flag.choices else str
        settings: dict[str, Any] = {"help": flag.help, "default": None}
        if flag.metavar:
            settings |= {"type": kind, "multiple": flag.many}
            if not flag.choices:
                settings["metavar"] = flag.metavar
        elif "/" not in flag.names[0]:
            settings |= {"is_flag": True, "flag_value": True}
        command = click.option(*flag.names, _parameter(flag.key), **settings)(command)
    return command


def given(values: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    """What was said on the command line, as (key, value, origin)."""
    said = []
    for flag in FLAGS:
        value = values[_parameter(flag.key)]
        if value is None or value == ():
            continue
        if flag.key == "fetch.headers":
            value = _headers(value)
        elif flag.many:
            value = list(value)
        said.append((flag.key, value, flag.names[0].partition("/")[0]))
    return said


def _headers(lines: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip() or not name.isprintable() or not value.isprintable():
            raise click.BadParameter(f"{line!r} is not `Name: value`", param_hint="-H")
        pairs[name.strip()] = value.strip()
    return pairs


def _parameter(key: str) -> str:
    return key.replace(".", "__")
