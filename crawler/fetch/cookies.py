"""A cookie by RFC 6265bis: what a Set-Cookie says, and what it goes with. Pure.

Names and values are the octets as sent, one a character (latin-1).
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final, NamedTuple

import msgspec

from crawler.utils.dates import cookie_date

LONGEST: Final = 4096
"""Octets of a cookie's name and value that are taken (RFC 6265bis §5.6)."""

LONGEST_ATTRIBUTE: Final = 1024
"""Octets of an attribute; a longer one is passed over (RFC 6265bis §5.6)."""

_CONTROL: Final = frozenset(map(chr, (*range(9), *range(10, 32), 127)))


class Cookie(msgspec.Struct, frozen=True):
    """`expires` is Unix time, None: at the session's end. `made` orders cookies by their first
    setting. A name may be empty.
    """

    name: str
    value: str
    domain: str  # of the host, where `host_only`
    path: str = "/"
    host_only: bool = True
    secure: bool = False
    http_only: bool = False
    expires: float | None = None
    made: int = 0

    @property
    def pair(self) -> str:
        """As it is sent (RFC 6265bis §5.8.3)."""
        return f"{self.name}={self.value}" if self.name else self.value


class CookieScope(NamedTuple):
    """What of a URL decides on cookies. `host` is without port and brackets."""

    secure: bool
    host: str
    path: str


class SetCookie(msgspec.Struct):
    """A Set-Cookie as read; of attributes that come twice the last counts."""

    name: str
    value: str
    domain: str = ""
    path: str = ""
    expires: float | None = None
    max_age: float | None = None
    secure: bool = False
    http_only: bool = False


def read_set_cookie(header: str) -> SetCookie | None:
    """A Set-Cookie's parts (RFC 6265bis §5.6); None: it sets nothing."""
    if not _CONTROL.isdisjoint(header):
        return None
    pair, *attributes = header.split(";")
    name, equals, value = pair.partition("=")
    name, value = (name.strip(" \t"), value.strip(" \t")) if equals else ("", pair.strip(" \t"))
    if not (name or value) or len(name) + len(value) > LONGEST:
        return None
    said = SetCookie(name, value)
    for attribute in attributes:
        key, _, value = attribute.partition("=")
        key, value = key.strip(" \t").lower(), value.strip(" \t")
        if len(value) > LONGEST_ATTRIBUTE:
            continue
        if key == "expires":
            date = cookie_date(value)
            said.expires = said.expires if date is None else date
        elif key == "max-age":
            digits = value.removeprefix("-")
            if digits.isascii() and digits.isdigit():
                said.max_age = float(value[:12])
        elif key == "domain":
            said.domain = value.removeprefix(".").lower()
        elif key == "path":
            said.path = value if value.startswith("/") else ""
        elif key == "secure":
            said.secure = True
        elif key == "httponly":
            said.http_only = True
    return said


def keeps_prefix(said: SetCookie, *, host_only: bool) -> bool:
    """Whether a name that promises something keeps it (RFC 6265bis §4.1.3)."""
    name = (said.name or said.value).lower()
    if not name.startswith(("__secure-", "__host-")):
        return True
    if not (said.name and said.secure):
        return False
    return name.startswith("__secure-") or (host_only and said.path == "/")


def domain_matches(host: str, domain: str) -> bool:
    """RFC 6265 §5.1.3; `host` and `domain` in lower case."""
    return host == domain or (host.endswith(f".{domain}") and not _is_address(host))


def path_matches(path: str, cookies: str) -> bool:
    """RFC 6265 §5.1.4: whether a cookie of the path `cookies` goes to `path`."""
    if not path.startswith(cookies):
        return False
    return len(path) == len(cookies) or cookies.endswith("/") or path[len(cookies)] == "/"


def default_path(path: str) -> str:
    """The path of a cookie that names none: the folder of the URL's (RFC 6265 §5.1.4)."""
    return path[: path.rfind("/")] or "/"


def place_of(url: str) -> CookieScope:
    """Of a canonical URL."""
    scheme, _, rest = url.partition("://")
    rest = rest.partition("#")[0].partition("?")[0]
    authority, slash, path = rest.partition("/")
    host = authority.rpartition("@")[2]
    host = host[1:].partition("]")[0] if host[:1] == "[" else host.partition(":")[0]
    return CookieScope(scheme == "https", host, f"/{path}" if slash else "/")


def domains_of(host: str) -> Iterator[str]:
    """The domains whose cookies may go to a host: itself and what stands above it."""
    yield host
    if not _is_address(host):
        while mark := host.find(".") + 1:
            host = host[mark:]
            yield host


def _is_address(host: str) -> bool:
    if ":" not in host and not host[-1:].isdigit():
        return False
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
