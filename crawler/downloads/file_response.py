"""Interpret the headers of a response for a file: range, length, validators, type. Pure.

Fields and rules of RFC 9110: ranges §14, validators §8.8, preconditions §13.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote

import msgspec

from crawler.errors import FileMismatch, ProtocolError
from crawler.utils.dates import http_date

Fields = tuple[tuple[str, str], ...]
Headers = Mapping[str, str]

_STRONG_ETAG: Final = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')

_CONTENT_RANGE: Final = re.compile(
    r"bytes\s+([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)", re.IGNORECASE
)
_UNSATISFIED_RANGE: Final = re.compile(r"bytes\s+\*/([0-9]{1,19})", re.IGNORECASE)


class BadRange(ProtocolError):
    """A 206 response that is not the requested range; the whole file is requested instead."""


class FileResponse(msgspec.Struct, frozen=True):
    """The headers of a 200 or 206. For a whole body of unknown length `start` is 0 and `size`
    None.
    """

    status: int
    start: int
    end: int | None  # exclusive; of this response
    size: int | None  # of the whole file, in bytes
    etag: str  # strong ones only
    validator: str  # for If-Range; empty: none
    modified: float | None  # Unix time
    accepts_ranges: bool  # the server supports range requests
    mime: str

    @property
    def is_page(self) -> bool:
        """Whether it is an HTML page."""
        return self.mime in {"text/html", "application/xhtml+xml"}


def header_map(fields: Fields) -> Headers:
    """Headers by lower-case name; of repeated headers, the first."""
    return {key.lower(): value for key, value in reversed(fields)}


def parse_response(status: int, headers: Headers) -> FileResponse:
    """Parse the headers of a 200 or 206. Raises BadRange for an invalid Content-Range."""
    etag = headers.get("etag", "").strip()
    strong = etag if _STRONG_ETAG.fullmatch(etag) else ""
    modified = _parse_date(headers.get("last-modified", ""))
    sent_at = _parse_date(headers.get("date", ""))
    date = ""
    # §8.8.2.2: a date is strong when it is clearly older than the response.
    if modified is not None and sent_at is not None and sent_at - modified >= 1:
        date = headers["last-modified"].strip()
    mime = headers.get("content-type", "").partition(";")[0].strip().lower()
    start, end, size = 0, None, _content_length(headers)
    if status == 206:
        if mime == "multipart/byteranges":
            raise BadRange("several ranges in response to a request for one")
        match = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
        if match is None:
            raise BadRange("206 without a usable Content-Range")
        start, end = int(match[1]), int(match[2]) + 1
        length, size = size, None if match[3] == "*" else int(match[3])
        if end <= start or (size is not None and end > size):
            raise BadRange(f"invalid Content-Range {match[0]!r}")
        if length is not None and length != end - start:
            raise BadRange(f"Content-Range of {end - start} bytes, Content-Length {length}")
    elif size is not None:
        end = size
    accepts_ranges = status == 206 or "bytes" in headers.get("accept-ranges", "").lower()
    return FileResponse(
        status, start, end, size, strong, strong or date, modified, accepts_ranges, mime
    )


def size_from_416(headers: Headers) -> int | None:
    """The file's size from the Content-Range of a 416; None: not stated."""
    match = _UNSATISFIED_RANGE.fullmatch(headers.get("content-range", "").strip())
    return int(match[1]) if match else None


def guess_type(name: str) -> tuple[str | None, str | None]:
    """MIME type and compression (`gzip`) that a file name or URL path stands for; None where the
    suffix is unknown.
    """
    # As a URL with an empty host: Python 3.13 takes what follows `//` for the host.
    path = quote(name.removeprefix("/"), safe="/+", errors="replace")
    return mimetypes.guess_type(f"file:///{path}", strict=False)


def require_type(response: FileResponse, name: str) -> None:
    """Raises FileMismatch for an HTML page where a file of another type was expected, such as a
    login or error page.
    """
    if not response.is_page:
        return
    expected, packed = guess_type(name)
    if packed is None and (expected is None or expected.startswith("text/") or "xml" in expected):
        return
    raise FileMismatch(f"{response.mime} where {packed or expected} was expected")


def _content_length(headers: Headers) -> int | None:
    text = headers.get("content-length", "").strip()
    if headers.get("transfer-encoding"):
        return None  # RFC 9112 §6.3: it overrides Content-Length
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


@lru_cache(64)  # responses within a minute have sixty dates
def _parse_date(date: str) -> float | None:
    return http_date(date)
