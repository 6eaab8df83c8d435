"""What is said to one origin and to no other: logins, tokens, headers and certificates.

A redirect or a link to somewhere else finds nothing here, because nothing is kept for "everywhere":

    seed with user:password@   that seed's origin (scheme, host and port)
    fetch.auth, fetch.bearer   the host named (`example.com`: any port of it, `example.com:8443`:
                               that one), or the origin (`https://example.com`)
    fetch.host_headers         the same
    fetch.headers              the seeds' origins; what anybody may know (Accept-Language …) goes
                               everywhere
    ~/.netrc                   the machines named in it, over TLS only; its `default` entry is for
                               the seeds' hosts alone; off by default
    client certificate         the seeds' origins
"""

from __future__ import annotations

import base64
import netrc
import os
import re
import stat
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from crawler.config.model import FetchConfig
from crawler.config.redaction import OPEN, WITHHELD, demand_secrets, origin_of, split_login
from crawler.errors import ConfigError

_PORT: Final = re.compile(r":([0-9]{1,5})$")


class Credentials:
    """Headers by origin. Raises ConfigError for what cannot be used."""

    def __init__(self, rules: FetchConfig, seeds: Iterable[str] = ()) -> None:
        """`seeds` as the person wrote them, logins included."""
        self._logins: dict[str, str] = {}
        origins = set()
        for seed in seeds:
            bare, login = split_login(seed)
            origins.add(_canonical_origin(bare))
            if login:
                self._logins[_canonical_origin(bare)] = _basic(login)
        demand_secrets(rules, known=frozenset(self._logins))
        self._origins = frozenset(origins)
        self._named: dict[str, dict[str, str]] = {}
        self._unsent: dict[str, list[str]] = {}  # by name, what was given for it
        for host, headers in rules.host_headers.items():
            self._name("fetch.host_headers", host).update(headers)
        for host, login in rules.auth.items():
            if login == WITHHELD:
                continue  # a seed has it
            if ":" not in login:
                raise ConfigError(f"fetch.auth for {host}: expected USER:PASSWORD")
            self._name("--auth", host).setdefault("Authorization", _basic(login))
        for host, token in rules.bearer.items():
            self._name("--bearer", host)["Authorization"] = f"Bearer {token}"
        for headers in [*self._named.values(), rules.headers]:
            _check(headers)
        self.everywhere = {
            name: value for name, value in rules.headers.items() if name.lower() in OPEN
        }
        self._own = {
            name: value for name, value in rules.headers.items() if name.lower() not in OPEN
        }
        self._netrc = _netrc() if rules.netrc else None
        self.headers = lru_cache(4096)(self._headers)

    @property
    def unsent(self) -> tuple[str, ...]:
        """Settings, with the hosts they name, of which nothing was asked for so far."""
        return tuple(one for several in self._unsent.values() for one in several)

    def _name(self, setting: str, host: str) -> dict[str, str]:
        """The headers for a host as a setting names it."""
        name = _name(host)
        self._unsent.setdefault(name, []).append(f"{setting} for {host}")
        return self._named.setdefault(name, {})

    def own(self, origin: str) -> bool:
        """Whether the person's own seeds named this origin."""
        return origin in self._origins

    def _headers(self, origin: str) -> Mapping[str, str]:
        """What goes to this origin beyond what goes everywhere; may be empty."""
        headers: dict[str, str] = {}
        name, port = _host_and_port(origin)
        if self._netrc is not None and origin.startswith("https://"):
            entry = self._netrc.hosts.get(name)
            if entry is None and origin in self._origins:
                entry = self._netrc.hosts.get("default")
            if entry is not None:
                headers["Authorization"] = _basic(f"{entry[0]}:{entry[2] or ''}")
        if origin in self._origins:
            headers |= self._own
        if origin in self._logins:
            headers["Authorization"] = self._logins[origin]
        for one in (name, f"{name}:{port}", origin):  # the closest last
            headers |= self._named.get(one, {})
            self._unsent.pop(one, None)
        return headers


def _basic(login: str) -> str:
    """RFC 7617, in UTF-8."""
    return f"Basic {base64.b64encode(login.encode()).decode()}"


def _name(host: str) -> str:
    """An origin, a host or a host with a port as a setting names it, in the form that links have;
    a port stands there where it was written, the usual one too.
    """
    if "://" in host:
        return _canonical_origin(host)
    name, _ = _host_and_port(_canonical_origin(f"http://{host}"))
    port = _PORT.search(host)
    return f"{name}:{int(port[1])}" if port else name


def _host_and_port(origin: str) -> tuple[str, int]:
    """An IPv6 address keeps its brackets."""
    scheme, _, place = origin.partition("://")
    if port := _PORT.search(place):
        return place[: port.start()], int(port[1])
    return place, 443 if scheme == "https" else 80


def _canonical_origin(url: str) -> str:
    import ada_url  # noqa: PLC0415 - the one use of the parser here, on opening

    try:
        return origin_of(ada_url.normalize_url(url))
    except ValueError:
        raise ConfigError(f"{split_login(url)[0]!r}: not a host or origin") from None


def _check(headers: Mapping[str, str]) -> None:
    """A control character in a value would smuggle a header in (RFC 9110 §5.5)."""
    for name, value in headers.items():
        if not name or not all(char.isalnum() or char in "!#$%&'*+-.^_`|~" for char in name):
            raise ConfigError(f"header {name!r}: not a header's name")
        if any((char < " " and char != "\t") or char == "\x7f" for char in value):
            raise ConfigError(f"header {name}: a control character in its value")


def _netrc() -> netrc.netrc:
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(f"{path}: others may read it; chmod 600 {path}")
        return netrc.netrc(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except netrc.NetrcParseError as error:
        raise ConfigError(f"{path}: line {error.lineno}: {error.msg}") from error
