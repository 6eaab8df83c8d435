"""A file's name: as ordered, as the server says, as its URL ends. Pure but for `NameRegistry`.

A name from a stranger is one path segment: never a way out of the folder, never a device, hidden
file or option, never longer than file systems take.
"""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Callable
from datetime import date
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

from crawler.downloads.temp_file import SUFFIX
from crawler.errors import ConfigError

MAX_BYTES: Final = 200
"""Of one segment in UTF-8; file systems end at 255, and `.wrong.1` or `.part` must fit behind."""

NAMELESS: Final = "index.html"
"""For a URL that ends in a slash, as wget and aria2 call it."""

OURS: Final = ".crawler-download"
"""The folder of our own state; no file may be called so."""

_DEVICES: Final = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])", re.IGNORECASE)
_PLAIN: Final = re.compile(
    r"(?!(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$))(?!.*\.(?:part|wrong)$)"
    r"\w(?:[\w+=@,.()-]{0,180}[\w+=@,()-])?",
    re.ASCII | re.IGNORECASE,
)
"""Names that are harmless as they are, which is what most are: 1 µs to see it, against 10."""

_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")

_BAD: Final = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ufffd]')
_PARAMETER: Final = re.compile(
    r';\s*([!#$&+\-.^_`|~0-9A-Za-z]+\*?)\s*=\s*("(?:[^"\\]|\\.)*"|[^;"]*)'
)


def disposed(value: str) -> str | None:
    """The file name in a Content-Disposition (RFC 6266), `filename*` (RFC 8187) before `filename`.

    `value` as decoded from Latin-1. None: it names none. Not made harmless yet.
    """
    if not value:
        return None
    found: dict[str, str] = {}
    kind = value.partition(";")[0]
    rest = f";{value}" if "=" in kind else value[len(kind) :]  # some forget `attachment`
    for name, text in _PARAMETER.findall(rest):
        found.setdefault(name.lower(), text.strip())
    extended = found.get("filename*")
    if extended is not None:
        charset, _, rest = extended.strip('"').partition("'")
        _, quote, coded = rest.partition("'")
        if quote and charset.lower() in {"utf-8", "iso-8859-1"}:
            with contextlib.suppress(UnicodeDecodeError):  # it is as if it were not there
                if name := unquote(coded, encoding=charset, errors="strict"):
                    return name
    plain = found.get("filename")
    if plain is None:
        return None
    if plain.startswith('"'):
        plain = re.sub(r"\\(.)", r"\1", plain[1:-1])
    return _as_sent(plain) or None


def _as_sent(name: str) -> str:
    """A name that is not of RFC 6266's form, as browsers read it (Chromium's net/http: encoded
    words of RFC 2047, escapes of a URL in UTF-8, bytes of UTF-8, then of a local charset).
    """
    if "=?" in name:
        with contextlib.suppress(UnicodeError, LookupError, HeaderParseError):
            return str(make_header(decode_header(name)))
    if _ESCAPE.search(name):
        with contextlib.suppress(UnicodeDecodeError):
            name = unquote(name, errors="strict")
    try:
        raw = name.encode("latin-1")
    except UnicodeEncodeError:
        return name
    for charset in ("utf-8", "gb2312"):  # the latter's pairs have both bytes above 0xA0
        with contextlib.suppress(UnicodeDecodeError):
            return raw.decode(charset)
    return name


def from_url(url: str) -> str:
    """The last segment of the path, decoded; a query is part of no name."""
    place = url.partition("#")[0].partition("?")[0]
    place = place.partition("://")[2] or place
    _, slash, name = place.rpartition("/")
    return unquote(name, errors="replace") if slash and name else NAMELESS


def chosen(ordered: str, answered: str) -> str:
    """The end of the URL that was asked for, where it looks like a file's; else of the one that its
    redirects led to: a stranger's choice comes second (wget's CVE-2010-2252).
    """
    name = from_url(ordered)
    if "." in name.strip(".") and name != NAMELESS:
        return name
    other = from_url(answered)
    return other if "." in other.strip(".") and other != NAMELESS else name


def tame(name: str) -> str:
    """One harmless path segment. Only the last segment of a stranger's path is meant."""
    return name if _PLAIN.fullmatch(name) else tamed(name)


def tamed(name: str) -> str:
    """… letter by letter, whatever it is."""
    name = unicodedata.normalize("NFC", name.replace("\\", "/").rstrip("/").rpartition("/")[2])
    name = "".join(char for char in name if unicodedata.category(char) not in {"Cf", "Cs", "Cn"})
    name = _BAD.sub("_", name).strip(" .") or "file"
    if name[0] in "-~":
        name = f"_{name}"
    if _DEVICES.fullmatch(name.partition(".")[0].rstrip(" ")):
        name = f"_{name}"
    if name.endswith((SUFFIX, ".wrong")):
        name += "_"
    return _fit(name)


def tamed_path(path: str) -> str:
    """A stranger's relative path (RFC 5854 §4.1.2.1), each of its segments harmless; empty: none.

    Steps upwards and the beginning of an absolute path are left out.
    """
    segments = path.replace("\\", "/").split("/")
    return "/".join(tame(one) for one in segments if one.strip(" .") and not one.endswith(":"))


def _fit(name: str) -> str:
    """Cut in the middle: a name keeps its end, which says what it is."""
    if len(name.encode()) <= MAX_BYTES:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix.encode()) > 20:
        stem, suffix = name, ""
    tail = f".{suffix}" if suffix else ""
    room = MAX_BYTES - len(tail.encode())
    return stem.encode()[:room].decode("utf-8", "ignore") + tail


def ordered(name: str) -> str:
    """A name that the person gave: a relative path. Raises ConfigError for one that leads out."""
    path = PurePosixPath(name)
    parts = path.parts
    if path.is_absolute() or not parts or ".." in parts or "\0" in name or parts[0] == OURS:
        raise ConfigError(f"file name {name!r}: not below the download folder")
    if any(len(part.encode()) > 255 - 10 for part in parts):
        raise ConfigError(f"file name {name[:40]!r}…: too long")
    return "/".join(parts)


FIELDS: Final = ("name", "stem", "ext", "host", "path", "n", "date")


def template(text: str) -> Callable[[str, str, int], str]:
    """`-o '{host}/{name}'` → a function of (url, name, number). Raises ConfigError.

    name, stem, ext (with its dot), host, path (the URL's folders), n (the order's number), date.
    """
    for field in re.findall(r"\{([^{}]*)\}", text):
        if field.partition(":")[0] not in FIELDS:
            raise ConfigError(f"-o {text}: {{{field}}} is none of {', '.join(FIELDS)}")

    def made(url: str, name: str, number: int) -> str:
        parts = urlsplit(url)
        stem, dot, suffix = name.rpartition(".")
        if not stem:
            stem, dot, suffix = name, "", ""
        folders = [tame(unquote(one)) for one in parts.path.split("/")[1:-1] if one]
        values = {
            "name": name, "stem": stem, "ext": dot + suffix, "host": tame(parts.netloc),
            "path": "/".join(folders) or ".", "n": number, "date": date.today().isoformat(),  # noqa: DTZ011
        }  # fmt: skip
        return ordered(str(PurePosixPath(text.format(**values))))

    try:
        made("https://example.com/a/b.c", "b.c", 1)
    except (ValueError, IndexError, KeyError) as error:
        raise ConfigError(f"-o {text}: {error}") from error
    return made


def numbered(name: str, number: int) -> str:
    """`name.3.ext` or `name.3.tar.gz`, for the number 3."""
    path = PurePosixPath(name)
    stem, suffix = path.stem, path.suffix
    if stem.endswith(".tar"):
        stem, suffix = stem[:-4], f".tar{suffix}"
    return str(path.with_name(f"{stem}.{number}{suffix}"))


class NameRegistry:
    """Names that are taken, in this run or by files that are there; none is given away twice.

    Case and Unicode forms are folded: two names may not meet on any file system.
    """

    def __init__(self, exists: Callable[[str], bool]) -> None:
        self._exists = exists
        self._taken: dict[str, str] = {}  # folded → url
        self._last: dict[str, int] = {}  # folded → the number given last

    def recall(self, name: str, url: str) -> None:
        """It was claimed by an earlier run."""
        self._taken[_folded(name)] = url

    def claim(self, name: str, url: str, *, replace: bool = False) -> str:
        """The name, or the first of `name.1.ext`, `name.2.ext` … that is free.

        With `replace` a file that is there is no hindrance, another URL's claim still is.
        """
        folded = _folded(name)
        if self._may(folded, name, url, replace=replace):
            self._taken[folded] = url
            return name
        while True:
            number = self._last[folded] = self._last.get(folded, 0) + 1
            candidate = numbered(name, number)
            if self._may(_folded(candidate), candidate, url, replace=replace):
                self._taken[_folded(candidate)] = url
                return candidate

    def _may(self, folded: str, name: str, url: str, *, replace: bool) -> bool:
        owner = self._taken.get(folded)
        return owner == url or (owner is None and (replace or not self._exists(name)))

    def give_back(self, name: str, url: str) -> None:
        if self._taken.get(_folded(name)) == url:
            del self._taken[_folded(name)]


def _folded(name: str) -> str:
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFKC", name).casefold()
