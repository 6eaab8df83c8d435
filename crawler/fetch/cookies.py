"""Cookies by RFC 6265: aiohttp's bounded jar, with public suffixes and the rules of RFC 6265bis.

A site may set cookies for itself and for its registered domain, not for `co.uk`; a cookie marked
Secure, or named `__Secure-…` or `__Host-…`, is taken from https only. Files are Netscape's
cookies.txt, as wget and curl read and write them.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from http.cookiejar import Cookie, LoadError, MozillaCookieJar
from http.cookies import CookieError, Morsel, SimpleCookie
from pathlib import Path

import aiohttp
import yarl

from crawler.errors import ConfigError, SinkError
from crawler.urls import is_suffix

LONGEST = 4096
"""Bytes of a cookie's name and value that are taken (RFC 6265bis §5.6)."""

MOST = 50
"""Set-Cookie headers of one answer that are looked at: what a domain may have."""


class Jar(aiohttp.CookieJar):
    """What the sites of one crawl have set. At most 50 cookies a domain and about 3000 in all."""

    def __init__(self) -> None:
        super().__init__(unsafe=True, quote_cookie=False)  # unsafe: addresses have cookies too

    def update_cookies_from_headers(self, headers: Sequence[str], response_url: yarl.URL) -> None:
        """Take what the answer may set; what it may not is passed over, as in browsers."""
        judged = (_admitted(header, response_url) for header in headers[:MOST])
        fit = [header for header in judged if header is not None]
        if fit:
            super().update_cookies_from_headers(fit, response_url)

    def load(self, file_path: str | os.PathLike[str]) -> None:
        """Add the cookies of a cookies.txt. Raises ConfigError."""
        jar = MozillaCookieJar()
        try:
            jar.load(os.fspath(file_path), ignore_discard=True, ignore_expires=False)
        except LoadError as error:
            line = str(error).splitlines()[0]
            raise ConfigError(f"{file_path}: not a Netscape cookie file: {line}") from error
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not text"
            raise ConfigError(f"{file_path}: {reason}") from error
        for cookie in jar:
            self._add(cookie)

    def save(self, file_path: str | os.PathLike[str]) -> None:
        """Write a cookies.txt that only its owner can read. Raises SinkError."""
        jar = MozillaCookieJar()
        for morsel in self:
            jar.set_cookie(self._as_cookie(morsel))
        path = Path(file_path)
        part = path.with_name(f"{path.name}.part")
        try:
            with contextlib.suppress(FileNotFoundError):
                part.unlink()
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            jar.save(os.fspath(part), ignore_discard=True)
            part.replace(path)
        except OSError as error:
            raise SinkError(f"{file_path}: {error.strerror}") from error

    def _add(self, cookie: Cookie) -> None:
        domain = cookie.domain.lstrip(".").lower()
        jar = SimpleCookie()
        try:
            jar[cookie.name] = cookie.value or ""
        except CookieError:
            return
        morsel = jar[cookie.name]
        morsel["path"] = cookie.path or "/"
        if cookie.domain_specified and not is_suffix(domain):
            morsel["domain"] = domain
        if cookie.secure:
            morsel["secure"] = True
        if cookie.expires:
            morsel["max-age"] = str(max(1, int(cookie.expires - time.time())))
        scheme = "https" if cookie.secure else "http"
        host = f"[{domain}]" if ":" in domain else domain
        self.update_cookies([(cookie.name, morsel)], yarl.URL(f"{scheme}://{host}/"))

    def _as_cookie(self, morsel: Morsel[str]) -> Cookie:
        domain, path = str(morsel["domain"]), str(morsel["path"]) or "/"
        alone = (domain, path.rstrip("/"), morsel.key) in self.host_only_cookies
        age = str(morsel["max-age"])
        expires = _moment(str(morsel["expires"]))
        if age.isdigit():
            expires = time.time() + int(age)
        return Cookie(
            0, morsel.key, morsel.value, None, False,
            domain if alone else f".{domain}", not alone, not alone,
            path, True, bool(morsel["secure"]), None if expires is None else int(expires),
            expires is None, None, None, {},
        )  # fmt: skip


def _moment(date: str) -> float | None:
    """An Expires as Unix time; None: the cookie lives as long as the session."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _admitted(header: str, url: yarl.URL) -> str | None:
    """A Set-Cookie as an answer from `url` may set it (RFC 6265 §5.3, RFC 6265bis §4.1.3)."""
    pair, *rest = header.split(";")
    name, equals, value = pair.partition("=")
    name = name.strip()
    if not equals or not name or len(name) + len(value) > LONGEST:
        return None
    if any((char < " " and char != "\t") or char == "\x7f" for char in header):
        return None
    attributes = {
        key.strip().lower(): said.strip() for key, _, said in (part.partition("=") for part in rest)
    }
    prefix = name.lower().startswith
    secure = "secure" in attributes
    if (secure or prefix(("__secure-", "__host-"))) and url.scheme != "https":
        return None
    if prefix("__secure-") and not secure:
        return None
    if prefix("__host-") and not (
        secure and "domain" not in attributes and attributes.get("path") == "/"
    ):
        return None
    domain = attributes.get("domain", "").lstrip(".").lower()
    if domain and is_suffix(domain):
        if domain != (url.raw_host or "").lower():
            return None
        kept = [part for part in rest if part.partition("=")[0].strip().lower() != "domain"]
        return ";".join([pair, *kept])  # a host that is a suffix itself: for it alone
    return header
