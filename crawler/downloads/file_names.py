"""The name of a downloaded file: as requested, from the response, or from its URL. Pure.

A name from a server becomes one path segment: it cannot leave the folder, name a device, a hidden
file or an option, or be longer than file systems allow.
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

from crawler.downloads.temp_file import TEMP_SUFFIX
from crawler.errors import ConfigError

MAX_NAME_BYTES: Final = 200
"""Length of one path segment in UTF-8. File systems allow 255, and `.wrong.1` or `.part` is
appended."""

DEFAULT_NAME: Final = "index.html"
"""For a URL that ends in a slash, as in wget and aria2."""

STATE_FOLDER: Final = ".crawler-download"
"""The folder of the download's own state; no file may have this name."""

_DEVICES: Final = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])", re.IGNORECASE)
_HARMLESS: Final = re.compile(
    r"(?!(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$))(?!.*\.(?:part|wrong)$)"
    r"\w(?:[\w+=@,.()-]{0,180}[\w+=@,()-])?",
    re.ASCII | re.IGNORECASE,
)
"""Names that need no change, which most are: recognised in 1 µs instead of 10."""

_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")

_FORBIDDEN: Final = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ufffd]')
_PARAMETER: Final = re.compile(
    r';\s*([!#$&+\-.^_`|~0-9A-Za-z]+\*?)\s*=\s*("(?:[^"\\]|\\.)*"|[^;"]*)'
)


def from_content_disposition(value: str) -> str | None:
    """The file name in a Content-Disposition (RFC 6266), `filename*` (RFC 8187) before `filename`.

    `value` is decoded from Latin-1. None: no file name. The result is not sanitized.
    """
    if not value:
        return None
    found: dict[str, str] = {}
    kind = value.partition(";")[0]
    rest = f";{value}" if "=" in kind else value[len(kind) :]  # `attachment` is missing
    for name, text in _PARAMETER.findall(rest):
        found.setdefault(name.lower(), text.strip())
    extended = found.get("filename*")
    if extended is not None:
        charset, _, rest = extended.strip('"').partition("'")
        _, quote, coded = rest.partition("'")
        if quote and charset.lower() in {"utf-8", "iso-8859-1"}:
            with contextlib.suppress(UnicodeDecodeError):  # treated as missing
                if name := unquote(coded, encoding=charset, errors="strict"):
                    return name
    plain = found.get("filename")
    if plain is None:
        return None
    if plain.startswith('"'):
        plain = re.sub(r"\\(.)", r"\1", plain[1:-1])
    return _decode_as_browsers(plain) or None


def _decode_as_browsers(name: str) -> str:
    """Decode a name that is not in RFC 6266's form as browsers do (Chromium's net/http: encoded
    words of RFC 2047, percent-encoded UTF-8, raw UTF-8, then a local charset).
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
    """The last segment of the URL's path, decoded, without the query."""
    place = url.partition("#")[0].partition("?")[0]
    place = place.partition("://")[2] or place
    _, slash, name = place.rpartition("/")
    return unquote(name, errors="replace") if slash and name else DEFAULT_NAME


def from_urls(requested: str, answered: str) -> str:
    """The name from `requested` if it looks like a file's, else from `answered`, the URL after
    redirects: the server's choice comes second (wget's CVE-2010-2252).
    """
    name = from_url(requested)
    if "." in name.strip(".") and name != DEFAULT_NAME:
        return name
    other = from_url(answered)
    return other if "." in other.strip(".") and other != DEFAULT_NAME else name


def sanitize(name: str) -> str:
    """One harmless path segment, from the last segment of `name`."""
    return name if _HARMLESS.fullmatch(name) else sanitize_by_letter(name)


def sanitize_by_letter(name: str) -> str:
    """As `sanitize`, without the shortcut for harmless names."""
    name = unicodedata.normalize("NFC", name.replace("\\", "/").rstrip("/").rpartition("/")[2])
    name = "".join(char for char in name if unicodedata.category(char) not in {"Cf", "Cs", "Cn"})
    name = _FORBIDDEN.sub("_", name).strip(" .") or "file"
    if name[0] in "-~":
        name = f"_{name}"
    if _DEVICES.fullmatch(name.partition(".")[0].rstrip(" ")):
        name = f"_{name}"
    if name.endswith((TEMP_SUFFIX, ".wrong")):
        name += "_"
    return _shorten(name)


def sanitize_path(path: str) -> str:
    """A relative path from a Metalink (RFC 5854 §4.1.2.1) with each segment sanitized; empty: none
    left.

    `..` segments and the beginning of an absolute path are dropped.
    """
    segments = path.replace("\\", "/").split("/")
    return "/".join(
        sanitize(part) for part in segments if part.strip(" .") and not part.endswith(":")
    )


def _shorten(name: str) -> str:
    """Shorten a name to `MAX_NAME_BYTES`; its suffix is kept."""
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix.encode()) > 20:
        stem, suffix = name, ""
    tail = f".{suffix}" if suffix else ""
    room = MAX_NAME_BYTES - len(tail.encode())
    return stem.encode()[:room].decode("utf-8", "ignore") + tail


def check_relative_name(name: str) -> str:
    """Normalize a relative path that the user gave. Raises ConfigError if it leaves the folder."""
    path = PurePosixPath(name)
    parts = path.parts
    if path.is_absolute() or not parts or ".." in parts or "\0" in name or parts[0] == STATE_FOLDER:
        raise ConfigError(f"file name {name!r}: not below the download folder")
    if any(len(part.encode()) > 255 - 10 for part in parts):
        raise ConfigError(f"file name {name[:40]!r}…: too long")
    return "/".join(parts)


TEMPLATE_FIELDS: Final = ("name", "stem", "ext", "host", "path", "n", "date")


def compile_template(text: str) -> Callable[[str, str, int], str]:
    """Compile `-o '{host}/{name}'` to a function of (url, name, number). Raises ConfigError.

    Fields: name, stem, ext (with its dot), host, path (the URL's folders), n (the request's
    number), date.
    """
    for field in re.findall(r"\{([^{}]*)\}", text):
        if field.partition(":")[0] not in TEMPLATE_FIELDS:
            raise ConfigError(f"-o {text}: {{{field}}} is none of {', '.join(TEMPLATE_FIELDS)}")

    def expand(url: str, name: str, number: int) -> str:
        parts = urlsplit(url)
        stem, dot, suffix = name.rpartition(".")
        if not stem:
            stem, dot, suffix = name, "", ""
        folders = [sanitize(unquote(part)) for part in parts.path.split("/")[1:-1] if part]
        values = {
            "name": name, "stem": stem, "ext": dot + suffix, "host": sanitize(parts.netloc),
            "path": "/".join(folders) or ".", "n": number, "date": date.today().isoformat(),  # noqa: DTZ011
        }  # fmt: skip
        return check_relative_name(str(PurePosixPath(text.format(**values))))

    try:
        expand("https://example.com/a/b.c", "b.c", 1)
    except (ValueError, IndexError, KeyError) as error:
        raise ConfigError(f"-o {text}: {error}") from error
    return expand
