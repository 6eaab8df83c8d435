"""Netscape's cookies.txt, as curl, wget, wget2 and browsers write and read it.

    domain  TRUE|FALSE: its subdomains too  path  TRUE|FALSE: Secure  expiry  name  value

Fields are separated by tabs. `#HttpOnly_` before the domain marks what no script may read; other
lines with `#` say nothing. An expiry of 0, or none, is a session's end. wget writes `host:port`;
cookies know no ports (RFC 6265 §8.5), so it is left out.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import Counter
from pathlib import Path
from typing import Final

from crawler.config.model import FetchConfig
from crawler.errors import ConfigError, SinkError
from crawler.fetch.cookie_jar import CookieJar
from crawler.fetch.cookies import LONGEST, Cookie
from crawler.policy.urls import is_suffix
from crawler.utils.units import counted

log = logging.getLogger(__name__)

HTTP_ONLY: Final = "#HttpOnly_"
_LATEST: Final = 253_402_300_799.0  # the end of the year 9999

HEADER: Final = (
    "# Netscape HTTP Cookie File\n# Written by crawler; whoever reads it is logged in.\n\n"
)


class FileCookieJar(CookieJar):
    """A crawl's jar: begins with the file that the settings name, and ends in one."""

    def __init__(self, rules: FetchConfig, *, tell: bool, resumed: bool = False) -> None:
        """Raises ConfigError. `tell`: what is left out of the file is said. `resumed`: the crawl
        goes on with what it saved when it was stopped.
        """
        super().__init__()
        self._save = rules.save_cookies
        files = [rules.load_cookies] if rules.load_cookies else []
        if resumed and self._save and Path(self._save).exists():
            files.append(self._save)
        for path in files:
            if (left := load_cookies(path, self)) and tell:
                log.warning("%s: %s", path, left)
        if resumed and tell and not self._save:
            log.warning("cookies that sites set before are gone: --save-cookies FILE keeps them")

    def close(self) -> None:
        """Save what the settings ask to be saved. Raises SinkError."""
        if self._save and (left := save_cookies(self._save, self)):
            log.warning("%s: %s", self._save, left)


def load_cookies(path: str | os.PathLike[str], jar: CookieJar, now: float | None = None) -> str:
    """Add a file's cookies to a jar. What was left out of it, in a few words; empty: nothing.

    Raises ConfigError for a file that cannot be read, or in which no line is a cookie.
    """
    try:
        text = Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    moment = time.time() if now is None else now
    left = Counter[str]()
    for line in text.replace("\r\n", "\n").split(
        "\n"
    ):  # a value may hold what Unicode ends lines with
        marked = line.startswith(HTTP_ONLY)
        if not line.strip() or (line.startswith("#") and not marked):
            continue
        cookie = _read(line.removeprefix(HTTP_ONLY), http_only=marked)
        if cookie is None:
            left["no cookie"] += 1
        elif cookie.expires is not None and cookie.expires <= moment:
            left["expired"] += 1
        else:
            left["taken"] += 1
            jar.put(cookie, given=True)
    if left["no cookie"] and not left["taken"] + left["expired"]:
        raise ConfigError(f"{path}: not a Netscape cookie file: no line of it is a cookie")
    del left["taken"]
    said = ", ".join(f"{number} {why}" for why, number in left.items() if number)
    return f"{counted(left.total(), 'line')} left out ({said})" if said else ""


def save_cookies(path: str | os.PathLike[str], jar: CookieJar) -> str:
    """Write a file that only its owner can read, whole or not at all. What was left out of it, in a
    few words. Raises SinkError.
    """
    cookies = list(jar)
    fit = [one for one in cookies if "\t" not in f"{one.name}{one.value}{one.path}"]
    place = Path(path)
    part = place.with_name(f"{place.name}.part")
    try:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write((HEADER + "".join(map(_line, fit))).encode("latin-1"))
        part.replace(place)
    except OSError as error:
        raise SinkError(f"{path}: {error.strerror}") from error
    left = len(cookies) - len(fit)
    return f"{counted(left, 'cookie')} left out: a tab in it" if left else ""


def _read(line: str, *, http_only: bool) -> Cookie | None:
    """One line's cookie; None: it is none."""
    fields = line.split("\t", 6)
    if len(fields) == 6:  # curl leaves an empty value's tab out in old versions
        fields.append("")
    if len(fields) != 7:
        return None
    domain, tail, path, secure, expiry, name, value = fields
    domain = _without_port(domain.strip().removeprefix(".").lower())
    expires = _moment(expiry.strip())
    flags = {tail.upper(), secure.upper()}
    if not domain or not flags <= {"TRUE", "FALSE"} or expires is None:
        return None
    if not (name or value) or len(name) + len(value) > LONGEST:
        return None
    if any(char < " " and char != "\t" for char in line):
        return None
    return Cookie(
        name,
        value,
        domain,
        path if path.startswith("/") else "/",
        host_only=tail.upper() == "FALSE" or is_suffix(domain),
        secure=secure.upper() == "TRUE",
        http_only=http_only,
        expires=expires or None,
    )


def _without_port(domain: str) -> str:
    if domain.startswith("["):
        return domain[1:].partition("]")[0]
    return domain.partition(":")[0] if domain.count(":") == 1 else domain


def _moment(expiry: str) -> float | None:
    """Unix time; 0.0: at the session's end; None: no number. Some exports write fractions."""
    try:
        return min(max(0.0, float(expiry or 0)), _LATEST)
    except ValueError:
        return None


def _line(cookie: Cookie) -> str:
    tail, secure = ("TRUE" if flag else "FALSE" for flag in (not cookie.host_only, cookie.secure))
    expiry = 0 if cookie.expires is None else int(cookie.expires)
    dot = "" if cookie.host_only else "."
    mark = HTTP_ONLY if cookie.http_only else ""
    fields = (f"{dot}{cookie.domain}", tail, cookie.path, secure, str(expiry))
    return mark + "\t".join((*fields, cookie.name, cookie.value)) + "\n"
