"""Which proxy the environment names for whom, by curl's rules. Pure.

    http_proxy                       for http:// (not HTTP_PROXY: a CGI program's caller sets that)
    https_proxy, HTTPS_PROXY         for https://
    all_proxy, ALL_PROXY             for what has none of its own
    no_proxy, NO_PROXY               who is reached without: names with all below them, addresses,
                                     networks, each for one port where it names one; `*`: everyone

Lower case wins; an empty variable is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Final

VARIABLES: Final = {
    "http": ("http_proxy",),
    "https": ("https_proxy", "HTTPS_PROXY"),
    "all": ("all_proxy", "ALL_PROXY"),
}

NO_PROXY: Final = ("no_proxy", "NO_PROXY")

_PORT: Final = re.compile(r"(.*):([0-9]{1,5})")


def proxies_in(environ: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...], list[str]]:
    """Proxies by scheme (`all`: any), who is reached without, and the variables that say so."""
    found, said = {}, []
    for scheme, names in VARIABLES.items():
        if name := _first_set(names, environ):
            found[scheme] = _with_scheme(environ[name].strip())
            said.append(name)
    if not found:
        return {}, (), []
    name = _first_set(NO_PROXY, environ)
    if not name:
        return found, (), said
    return found, tuple(re.split(r"[,\s]+", environ[name].strip(", \t\n"))), [*said, name]


def goes_without(host: str, port: int, entries: Iterable[str]) -> bool:
    """Whether one of the entries of a no_proxy stands for this host (in lower case, an IPv6 address
    without brackets) and port.
    """
    return any(_stands_for(entry.lower(), host, port) for entry in entries)


def _first_set(names: Iterable[str], environ: Mapping[str, str]) -> str:
    """The first of these variables that says something; "": none does."""
    return next((name for name in names if environ.get(name, "").strip()), "")


def _with_scheme(proxy: str) -> str:
    return proxy if "://" in proxy else f"http://{proxy}"


def _stands_for(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    bare = entry
    if (found := _PORT.fullmatch(entry)) and (entry.count(":") == 1 or "]" in found[1]):
        if int(found[2]) != port:
            return False
        bare = found[1]
    bare = bare.removeprefix("[").removesuffix("]")
    try:
        address = ip_address(host)
    except ValueError:
        name = bare.removeprefix("*").removeprefix(".").rstrip(".")
        host = host.rstrip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
    try:
        return address in ip_network(bare, strict=False)
    except ValueError:
        return False
