"""What an answer says of the file: place, length and identity, or that it is not the file. Pure.

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
Head = Mapping[str, str]

_STRONG: Final = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')

_RANGE: Final = re.compile(r"bytes\s+([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)", re.IGNORECASE)
_WHOLE: Final = re.compile(r"bytes\s+\*/([0-9]{1,19})", re.IGNORECASE)


class BadRange(ProtocolError):
    """A 206 that is not the part that was asked for: the whole file is asked for instead."""


class FileResponse(msgspec.Struct, frozen=True):
    """A head. `start` 0 and `size` None for a whole body of unknown length."""

    status: int
    start: int
    end: int | None  # as the server will send it
    size: int | None  # of the whole file
    etag: str  # strong ones only
    validator: str  # what If-Range may say; empty: nothing
    modified: float | None  # Unix time
    ranges: bool  # the server says that it can be asked for parts
    mime: str

    @property
    def is_page(self) -> bool:
        return self.mime in {"text/html", "application/xhtml+xml"}


def named(fields: Fields) -> Head:
    """A head's fields by lower-case name; of several that are called the same, the first."""
    return {key.lower(): value for key, value in reversed(fields)}


def read(status: int, head: Head) -> FileResponse:
    """A 200 or 206. Raises BadRange for a range that cannot be made sense of."""
    etag = head.get("etag", "").strip()
    strong = etag if _STRONG.fullmatch(etag) else ""
    modified = _seconds(head.get("last-modified", ""))
    sent = _seconds(head.get("date", ""))
    date = ""
    # §8.8.2.2: a date is strong when it is clearly older than the answer.
    if modified is not None and sent is not None and sent - modified >= 1:
        date = head["last-modified"].strip()
    mime = head.get("content-type", "").partition(";")[0].strip().lower()
    start, end, size = 0, None, _length(head)
    if status == 206:
        if mime == "multipart/byteranges":
            raise BadRange("several ranges where one was asked for")
        match = _RANGE.fullmatch(head.get("content-range", "").strip())
        if match is None:
            raise BadRange("206 without a usable Content-Range")
        start, end = int(match[1]), int(match[2]) + 1
        length, size = size, None if match[3] == "*" else int(match[3])
        if end <= start or (size is not None and end > size):
            raise BadRange(f"Content-Range {match[0]!r} is no range")
        if length is not None and length != end - start:
            raise BadRange(f"Content-Range of {end - start} bytes, Content-Length {length}")
    elif size is not None:
        end = size
    ranges = status == 206 or "bytes" in head.get("accept-ranges", "").lower()
    return FileResponse(status, start, end, size, strong, strong or date, modified, ranges, mime)


def whole_size(head: Head) -> int | None:
    """What a 416 says of the file's length; None: nothing."""
    match = _WHOLE.fullmatch(head.get("content-range", "").strip())
    return int(match[1]) if match else None


def type_of_name(name: str) -> tuple[str | None, str | None]:
    """The MIME type that a file's name or a URL's path stands for, and how it is packed (`gzip`);
    None where the ending says nothing.
    """
    # As a URL with an empty host: Python 3.13 takes what follows `//` for the host.
    path = quote(name.removeprefix("/"), safe="/+", errors="replace")
    return mimetypes.guess_type(f"file:///{path}", strict=False)


def demand_type(answer: FileResponse, name: str) -> None:
    """Raises FileMismatch for a page where a file of another type was expected: a login, an
    error.
    """
    if not answer.is_page:
        return
    expected, packed = type_of_name(name)
    if packed is None and (expected is None or expected.startswith("text/") or "xml" in expected):
        return
    raise FileMismatch(f"{answer.mime} where {packed or expected} was expected")


def _length(head: Head) -> int | None:
    text = head.get("content-length", "").strip()
    if head.get("transfer-encoding"):
        return None  # RFC 9112 §6.3: it rules
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


@lru_cache(64)  # of ten thousand answers in a minute, sixty differ
def _seconds(date: str) -> float | None:
    return http_date(date)
