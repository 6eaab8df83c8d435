"""WARC 1.1 records as bytes (ISO 28500:2017). Pure, but for ids from the system's randomness.

Writing a record is 30 lines, and a library's writer needs 1.9 ms a page for it where this needs
0.2 (100 kB of HTML, see docs/decisions/0035): so records are made here and the libraries
(warcio, fastwarc) check them in the tests. What is kept of an exchange, where it is not the bytes
as they were on the wire: docs/decisions/0036.
"""

from __future__ import annotations

import base64
import hashlib
import os
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from crawler.records import CrawlUrl, Page

Compression: TypeAlias = Literal["gzip", "zstd", "none"]
DigestName: TypeAlias = Literal["sha256", "sha1"]
Fields: TypeAlias = Iterable[tuple[str, str]]

SUFFIX: Final = {"gzip": ".warc.gz", "zstd": ".warc.zst", "none": ".warc"}

IDENTICAL: Final = "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
NOT_MODIFIED: Final = "http://netpreserve.org/warc/1.1/revisit/server-not-modified"

RESPONSE: Final = "application/http; msgtype=response"
REQUEST: Final = "application/http; msgtype=request"
FIELDS: Final = "application/warc-fields"

STEP: Final = 1 << 20
"""Bytes of a spooled body in memory at a time."""

GZIP_LEVEL: Final = 2
"""ISA-L's: 0.10 ms and 16.8 % for 97 kB of HTML; its 3: 0.21 ms and 16.0 %."""

ZLIB_LEVEL: Final = 4
"""Where ISA-L is not installed: 0.55 ms and 14.9 %; its 6: 0.96 ms and 13.9 %."""

ZSTD_LEVEL: Final = 3

_RENAMED: Final = frozenset({"transfer-encoding"})
"""Headers that no longer describe the block, because the chunks' framing is gone."""


def new_id() -> str:
    """A WARC-Record-ID."""
    return f"<urn:uuid:{uuid.UUID(bytes=os.urandom(16), version=4)}>"


def micros(moment: float) -> int:
    """Unix seconds as whole microseconds, rounded as `warc_date` does."""
    return round(moment * 1e6)


def warc_date(moment: float) -> str:
    """Unix seconds as a WARC-Date with microseconds (WARC 1.1 allows them)."""
    seconds, rest = divmod(micros(moment), 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).strftime(f"%Y-%m-%dT%H:%M:%S.{rest:06}Z")


def header(fields: Fields, length: int) -> bytes:
    """A record's header, with the empty line that ends it."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return f"WARC/1.1\r\n{lines}Content-Length: {length}\r\n\r\n".encode()


def record(fields: Fields, block: bytes) -> bytes:
    """A whole record, not yet compressed."""
    return header(fields, len(block)) + block + b"\r\n\r\n"


def response_head(page: Page) -> bytes:
    """Status line and headers as received, but for `Transfer-Encoding`, which is renamed."""
    status = f"HTTP/{page.http_version} {page.status} {page.phrase}".rstrip() + "\r\n"
    lines = "".join(
        f"X-Archive-Orig-{name}: {value}\r\n"
        if name.lower() in _RENAMED
        else f"{name}: {value}\r\n"
        for name, value in page.headers
    )
    return status.encode("utf-8", "surrogateescape") + lines.encode("latin-1") + b"\r\n"


def request_head(page: Page) -> bytes:
    """Our request, line and headers in the order in which they were sent."""
    path = "/" + page.link.url.split("/", 3)[3].partition("#")[0]
    lines = "".join(f"{name}: {value}\r\n" for name, value in page.sent)
    return f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode("utf-8", "surrogateescape")


def metadata_block(link: CrawlUrl, page: Page) -> bytes:
    """How the crawl came here, in the names that Heritrix gave these fields."""
    fields = [("hopsFromSeed", str(link.depth)), ("fetchTimeMs", f"{page.timings.total:.0f}")]
    if link.via is not None:
        fields.insert(0, ("via", link.via))
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode()


class Digest:
    """A digest in WARC's form: sha1 in base32 as everybody writes it, sha256 in hexadecimal."""

    def __init__(self, name: DigestName) -> None:
        self._name = name
        self._hash = hashlib.new(name, usedforsecurity=False)

    def update(self, data: bytes) -> None:
        self._hash.update(data)

    def copy(self) -> Digest:
        other = Digest(self._name)
        other._hash = self._hash.copy()
        return other

    def __str__(self) -> str:
        if self._name == "sha1":
            return f"sha1:{base64.b32encode(self._hash.digest()).decode()}"
        return f"{self._name}:{self._hash.hexdigest()}"


def digest_of(name: DigestName, *parts: bytes) -> str:
    digest = Digest(name)
    for part in parts:
        digest.update(part)
    return str(digest)


def pack(data: bytes, compression: Compression) -> bytes:
    """One record as one member (gzip) or frame (zstd) of its own."""
    squeezer = _squeezer(compression)
    return bytes(squeezer.compress(data) + squeezer.flush())


def pack_stream(pieces: Iterable[bytes], compression: Compression) -> Iterator[bytes]:
    """The same in pieces, for what does not fit in memory."""
    squeezer = _squeezer(compression)
    for piece in pieces:
        if out := squeezer.compress(piece):
            yield out
    yield squeezer.flush()


def pieces_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(STEP):
            yield piece


class _Plain:
    """Compresses nothing."""

    @staticmethod
    def compress(data: bytes) -> bytes:
        return data

    @staticmethod
    def flush() -> bytes:
        return b""


def _squeezer(compression: Compression) -> Any:
    return _SQUEEZERS[compression]()


def _zstd() -> Any:
    from backports import zstd  # noqa: PLC0415 - only who asked for zstd

    return zstd.ZstdCompressor(level=ZSTD_LEVEL)


def _gzip() -> Any:
    try:
        from isal import isal_zlib  # noqa: PLC0415 - an extra; a tenth of zlib's CPU
    except ImportError:
        return zlib.compressobj(ZLIB_LEVEL, zlib.DEFLATED, 31)
    return isal_zlib.compressobj(GZIP_LEVEL, isal_zlib.DEFLATED, 31)


_SQUEEZERS: Final[dict[str, Callable[[], Any]]] = {"gzip": _gzip, "zstd": _zstd, "none": _Plain}


class _AsItIs:
    """Reads what is not compressed; never ends by itself."""

    eof = False

    @staticmethod
    def decompress(data: bytes) -> bytes:
        return data


def opener(name: str) -> Any:
    """What unpacks one member of a file of this name: `decompress(data)`, `eof`."""
    if name.endswith(".gz"):
        return zlib.decompressobj(31)
    if name.endswith(".zst"):
        from backports import zstd  # noqa: PLC0415 - only who asked for zstd

        return zstd.ZstdDecompressor()
    return _AsItIs()
