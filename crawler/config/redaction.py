"""Which settings are secret, and a configuration without them. Pure.

What a crawl writes down (crawl.toml, reports, logs) is copied and sent around; passwords, tokens,
cookies and headers of one's own are not part of it. A resumed crawl is given them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from crawler.config.model import Config, FetchConfig
from crawler.errors import ConfigError

WITHHELD: Final = "***"
"""Stands where a secret was."""

OPEN: Final = frozenset(
    {
        "accept", "accept-encoding", "accept-language", "cache-control", "dnt", "from", "pragma",
        "sec-gpc", "upgrade-insecure-requests", "user-agent",
    }
)  # fmt: skip
"""Headers that say what anybody may know; every other one is for the seeds' own origins."""


PROTOCOL: Final = frozenset({"host", "connection", "if-modified-since", "if-none-match", "range"})
"""Headers that aiohttp or the crawl itself sends; what they say is no secret either."""


def as_told(sent: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """A request's headers as an archive may keep them: every name, secrets replaced by `***`."""
    known = OPEN | PROTOCOL
    return tuple((name, value if name.lower() in known else WITHHELD) for name, value in sent)


def without_secrets(config: Config) -> Config:
    """The configuration as it may be written down: the same keys, secrets replaced by `***`."""
    fetch = config.fetch
    auth = dict.fromkeys(fetch.auth, WITHHELD)
    seeds = []
    for seed in config.seeds:
        bare, login = split_login(seed)
        seeds.append(bare)
        if login:
            auth[origin_of(bare)] = WITHHELD
    return msgspec.structs.replace(
        config,
        seeds=tuple(seeds),
        fetch=msgspec.structs.replace(
            fetch,
            auth=auth,
            bearer=dict.fromkeys(fetch.bearer, WITHHELD),
            headers=_withheld(fetch.headers),
            host_headers={host: _withheld(each) for host, each in fetch.host_headers.items()},
            proxy=_proxy(fetch.proxy),
            scheme_proxies={
                scheme: _proxy(each) or "" for scheme, each in fetch.scheme_proxies.items()
            },
        ),
        frontier=msgspec.structs.replace(config.frontier, url=_proxy(config.frontier.url)),
    )


def demand_secrets(fetch: FetchConfig, *, known: frozenset[str] = frozenset()) -> None:
    """Raises ConfigError for a secret that was not kept and not given again.

    `known` are origins whose login came by another way: in a seed.
    """
    for key, flag in _missing(fetch, known):
        raise ConfigError(f"{key}: secrets are not kept in crawl.toml; give it again with {flag}")


def split_login(url: str) -> tuple[str, str]:
    """A URL without its `user:password@`, and that, decoded; nothing where there was none."""
    scheme, mark, rest = url.partition("://")
    authority = rest.replace("\\", "/").partition("/")[0].partition("?")[0].partition("#")[0]
    if not mark or "@" not in authority:
        return url, ""
    login, _, _ = authority.rpartition("@")
    user, colon, password = login.partition(":")
    bare = f"{scheme}://{rest[len(login) + 1 :]}"
    return bare, f"{unquote(user)}:{unquote(password)}" if colon else f"{unquote(user)}:"


def origin_of(url: str) -> str:
    """`scheme://host[:port]`, lower-case."""
    return "/".join(url.split("/", 3)[:3]).lower()


def _withheld(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value if name.lower() in OPEN else WITHHELD for name, value in headers.items()}


def _proxy(proxy: str | None) -> str | None:
    if proxy is None or "@" not in proxy:
        return proxy
    bare, _ = split_login(proxy)
    return bare.replace("://", f"://{WITHHELD}@", 1)


def _missing(fetch: FetchConfig, known: frozenset[str]) -> Iterator[tuple[str, str]]:
    for host, value in fetch.auth.items():
        if value == WITHHELD and host.lower() not in known:
            yield f"fetch.auth for {host}", "--auth HOST=USER:PASSWORD"
    for host, value in fetch.bearer.items():
        if value == WITHHELD:
            yield f"fetch.bearer for {host}", "--bearer HOST=TOKEN"
    for name, value in fetch.headers.items():
        if value == WITHHELD:
            yield f"fetch.headers {name}", f"--header '{name}: …'"
    for host, headers in fetch.host_headers.items():
        if WITHHELD in headers.values():
            yield f"fetch.host_headers for {host}", "-s fetch.host_headers=… or --config FILE"
    if fetch.proxy and urlsplit(fetch.proxy).username == WITHHELD:
        yield "fetch.proxy", "--proxy URL"
    for scheme, proxy in () if fetch.proxy else fetch.scheme_proxies.items():
        if urlsplit(proxy).username == WITHHELD:
            yield f"fetch.scheme_proxies for {scheme}", f"{scheme}_proxy=… in the environment"
