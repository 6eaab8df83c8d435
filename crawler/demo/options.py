"""Options of the demo web and their command-line flags. Pure, except for reading `@FILE`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from crawler.demo.response_cache import ServerBehaviour
from crawler.demo.web import Web
from crawler.errors import ConfigError


class DemoOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All options of a demo web."""

    web: Web = Web()
    behaviour: ServerBehaviour = ServerBehaviour()
    processes: Annotated[int, Meta(ge=1, le=64)] = 1
    log: str | None = None  # path of an access log, JSON lines; appended to
    tls: str | None = None  # path of a PEM file with key and certificates: https
    until_eof: bool = False  # stop when stdin ends, as it does when the parent dies


FLAGS: Mapping[str, str] = {
    "pages": "number of pages (1 to 10 million; none is stored)",
    "scheme": "what its own links begin with, for a web behind a proxy; --tls makes it https",
    "port": "port on loopback; 0: a free one",
    "hosts": "spread the pages over 127.0.0.1, 127.0.0.2 …",
    "seed": "another seed, another web",
    "size": "mean length of a page in bytes",
    "spread": "deviation of the logarithm of the length; 0: all alike",
    "links": "random links on a page, beside its children and the navigation",
    "tracking": "some links carry utm_source",
    "broken": "share of the random links that lead nowhere (404, 410, 500)",
    "redirects": "share of the random links that lead through redirects, and one loop",
    "hops": "longest chain of redirects",
    "busy": "share of the pages that answer 500 or 503 at first",
    "busy-times": "how often such a page refuses",
    "retry-after": "seconds to name in a 503",
    "sitemap": "off, xml or gz",
    "sitemap-size": "addresses in one sitemap; more make an index",
    "robots": "the text of robots.txt, or @FILE",
    "robots-status": "the status of robots.txt",
    "crawl-delay": "Crawl-delay in robots.txt",
    "traps": "calendar, sessions, facets and mirrors without an end",
    "latency": "seconds before each answer",
    "jitter": "up to so many seconds more",
    "tail": "mean of an exponential time on top",
    "slow": "share of the pages whose body comes in drops",
    "slow-for": "seconds that such a body takes",
    "gzip": "compress for those who accept it",
    "idle": "seconds until a silent connection is closed",
    "cache": "bytes of rendered answers kept, a process",
    "processes": "so many processes share the port",
    "log": "append an access log to this file, as JSON lines",
    "tls": "serve https, with the key and the certificates in this PEM file",
    "until-eof": "stop when stdin ends",
}
"""The flags and what they mean; a value goes to whichever record has a field of its name."""

SWITCHES = frozenset({"tracking", "traps", "gzip", "until-eof"})
"""Flags without a value."""


def options(flags: Mapping[str, Any]) -> DemoOptions:
    """Options from flags (as text or as values). Raises ConfigError, which names what is wrong."""
    given = {name.replace("-", "_"): value for name, value in flags.items()}
    robots = given.get("robots")
    try:
        if isinstance(robots, str) and robots.startswith("@"):
            given["robots"] = Path(robots[1:]).read_text("utf-8")
        web = {name: given.pop(name) for name in Web.__struct_fields__ if name in given}
        behaviour = {
            name: given.pop(name) for name in ServerBehaviour.__struct_fields__ if name in given
        }
        if given.get("tls"):
            web["scheme"] = "https"
        tree = {**given, "web": web, "behaviour": behaviour}
        return msgspec.convert(tree, DemoOptions, strict=False)
    except (msgspec.ValidationError, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"demo web: {error}") from error
