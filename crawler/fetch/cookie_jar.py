"""The cookie jar of one crawl (RFC 6265bis): which cookies are stored, sent and evicted.

A jar of our own, because aiohttp's, which stood here, is made of `http.cookies`: it takes the
quotes from values, keeps one cookie of a name where two paths have one each, and refuses names that
browsers take (docs/decisions/0105). A site may set cookies for itself and for its registered
domain, not for `co.uk`; one marked Secure, or named `__Secure-…` or `__Host-…`, is taken from https
only and not overwritten from http. Which page a person came from is nobody's here, so SameSite
means nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from crawler.fetch.cookies import (
    Cookie,
    CookieScope,
    SetCookie,
    default_path,
    domain_matches,
    domains_of,
    keeps_prefix,
    path_matches,
    place_of,
    read_set_cookie,
)
from crawler.policy.urls import is_suffix

LASTING: Final = 400 * 86_400.0
"""Seconds a cookie is kept at most (RFC 6265bis §5.6.1)."""

MOST: Final = 180
"""Cookies of one domain, and Set-Cookie fields of one answer that are looked at; browsers' number
(RFC 6265bis §6.1 asks for 50).
"""

MOST_IN_ALL: Final = 3000
SPARE: Final = 300
"""Cookies of a jar (RFC 6265 §6.1), and how many of the longest unused go when there are more."""


class CookieJar:
    """What the sites of one crawl have set. Bounded: a domain's, and in all."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._domains: dict[str, dict[tuple[str, str, bool], Cookie]] = {}
        self._used: dict[tuple[str, str, str, bool], int] = {}
        self._most = MOST_IN_ALL
        self._secure = 0  # how many of them are
        self._moments = 0  # counts what was set and sent, as a clock that never stands

    def __len__(self) -> int:
        return len(self._used)

    def __iter__(self) -> Iterator[Cookie]:
        """Those that are still good, in the order of their making."""
        now = self._clock()
        alive = (one for each in self._domains.values() for one in each.values())
        return iter(sorted((one for one in alive if _alive(one, now)), key=lambda one: one.made))

    def take(self, headers: Iterable[str], url: str) -> None:
        """Take what an answer from `url` may set (RFC 6265bis §5.7); the rest is passed over."""
        place = place_of(url)
        for number, header in enumerate(headers):
            if number >= MOST:
                return
            said = read_set_cookie(header)
            cookie = None if said is None else self._admitted(said, place)
            if cookie is not None:
                self.put(cookie)

    def cookies(self, url: str) -> list[Cookie]:
        """What a request for `url` brings: longer paths first, then older cookies (§5.8.3)."""
        place = place_of(url)
        now = self._clock()
        found = [
            one
            for domain in domains_of(place.host)
            for one in self._domains.get(domain, {}).values()
            if (not one.host_only or domain == place.host)
            and (place.secure or not one.secure)
            and path_matches(place.path, one.path)
            and _alive(one, now)
        ]
        found.sort(key=lambda one: (-len(one.path), one.made))
        for one in found:
            self._touch(one)
        return found

    def put(self, cookie: Cookie, *, given: bool = False) -> None:
        """Keep a cookie, in the place of the one that it renews; an expired one only removes it.

        `given` by the person: the bounds are for what sites set, and rise with each.
        """
        domain = self._domains.setdefault(cookie.domain, {})
        key = (cookie.name, cookie.path, cookie.host_only)
        old = domain.get(key)
        now = self._clock()
        if not _alive(cookie, now):
            self._drop(cookie)
            return
        self._moments += 1
        made = self._moments if old is None else old.made
        self._secure += cookie.secure - (old is not None and old.secure)
        domain[key] = kept = msgspec.structs.replace(cookie, made=made)
        self._touch(kept)
        if given:
            self._most += 1
            return
        if len(domain) > MOST:
            self._make_room(list(domain.values()), len(domain) - MOST, now)
        if len(self._used) > self._most:
            every = [one for each in self._domains.values() for one in each.values()]
            self._make_room(every, SPARE, now)

    # ── what may be set ──────────────────────────────────────────────────────────────────────

    def _admitted(self, said: SetCookie, place: CookieScope) -> Cookie | None:
        domain = said.domain
        if domain and is_suffix(domain):
            if domain != place.host:
                return None
            domain = ""  # a host that is a suffix itself: for it alone
        if domain and not domain_matches(place.host, domain):
            return None
        host_only, domain = not domain, domain or place.host
        if said.secure and not place.secure:
            return None
        if not keeps_prefix(said, host_only=host_only):
            return None
        path = said.path or default_path(place.path)
        open_ = not (said.secure or place.secure)
        if open_ and self._secure and self._overlaid(said.name, domain, path):
            return None
        now = self._clock()
        expires = said.expires
        if said.max_age is not None:
            expires = now + said.max_age if said.max_age > 0 else 0.0
        if expires is not None:
            expires = min(expires, now + LASTING)
        return Cookie(
            said.name, said.value, domain, path, host_only, said.secure, said.http_only, expires
        )

    def _overlaid(self, name: str, domain: str, path: str) -> bool:
        """Whether a Secure cookie of this name goes to some of the same requests."""
        near = [
            one for other in domains_of(domain) for one in self._domains.get(other, {}).values()
        ]
        for other, cookies in self._domains.items():
            if other.endswith(f".{domain}"):
                near += cookies.values()
        return any(one.secure and one.name == name and path_matches(path, one.path) for one in near)

    # ── room ─────────────────────────────────────────────────────────────────────────────────

    def _make_room(self, among: list[Cookie], number: int, now: float) -> None:
        """Expired ones go first, then those unused for longest (RFC 6265bis §5.7)."""
        among.sort(key=lambda one: (_alive(one, now), self._used[_name_of(one)]))
        for one in among[:number]:
            self._drop(one)

    def _touch(self, cookie: Cookie) -> None:
        self._moments += 1
        self._used[_name_of(cookie)] = self._moments

    def _drop(self, cookie: Cookie) -> None:
        domain = self._domains[cookie.domain]
        old = domain.pop((cookie.name, cookie.path, cookie.host_only), None)
        self._secure -= old is not None and old.secure
        self._used.pop(_name_of(cookie), None)
        if not domain:
            del self._domains[cookie.domain]


def _name_of(cookie: Cookie) -> tuple[str, str, str, bool]:
    return cookie.domain, cookie.name, cookie.path, cookie.host_only


def _alive(cookie: Cookie, now: float) -> bool:
    return cookie.expires is None or cookie.expires > now
