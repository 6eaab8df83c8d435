"""Read DIR/warc: captures from the index, payloads from their records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from crawler.errors import ConfigError, SinkError
from crawler.output.warc.index import Capture, WarcIndex, place_of
from crawler.output.warc.record_format import opener
from crawler.output.warc.writer import INDEX, warc_files
from crawler.parse.decode import decompress

READ_BYTES: Final = 1 << 20
MAX_DECODED_BYTES: Final = 256 << 20
"""Limit of a decoded body. Responses that the crawl parsed are smaller by its own limits; this
stops decompression bombs among the others."""


class Payload(msgspec.Struct):
    """The content of a record: the response's headers, and its body in chunks."""

    headers: list[tuple[str, str]]
    chunks: Iterator[bytes]

    def header(self, name: str) -> str:
        """The value of a header by its lower-case name; repeated headers are joined, empty:
        missing.
        """
        return ", ".join(value for key, value in self.headers if key.lower() == name)

    def decoded(self) -> bytes:
        """The whole body without its Content-Encoding. Raises ParseError when it is too large."""
        raw = b"".join(self.chunks)
        encoding = self.header("content-encoding")
        return decompress(raw, encoding, limit=MAX_DECODED_BYTES, ratio=MAX_DECODED_BYTES)[0]

    def plain(self) -> Iterator[bytes]:
        """The same in chunks; a body without Content-Encoding is not held in memory."""
        if self.header("content-encoding").strip().lower() in {"", "identity", "none"}:
            yield from self.chunks
        else:
            yield self.decoded()


class WarcReader:
    """A crawl's archive, open for reading, also while the crawl runs. A context manager."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError when `folder` has no archive, SinkError when it is not readable."""
        self.folder = folder / "warc"
        if not (self.folder / INDEX).exists():
            raise ConfigError(f"{folder}: has no archive; crawl with --warc or --mirror")
        self.captures = WarcIndex(self.folder / INDEX, writable=False)
        prefix = str(self.captures.noted("prefix"))
        self.files = dict(warc_files(self.folder, prefix))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.captures.close()

    def name_of(self, capture: Capture) -> tuple[str, int]:
        """File name and offset of a capture's record."""
        number, offset = place_of(capture.position)
        return self._path(number).name, offset

    def payload(self, capture: Capture) -> Payload:
        """The response of a capture; that of a revisit is read where it was first stored. Raises
        SinkError.
        """
        number, offset = place_of(
            capture.position if capture.original is None else capture.original
        )
        path = self._path(number)
        chunks = _decompress(path, offset)
        buffer = b""
        for chunk in chunks:  # the WARC header, then the HTTP header
            buffer += chunk
            if buffer.count(b"\r\n\r\n") >= 2:
                break
        try:
            record_header, http_header, rest = buffer.split(b"\r\n\r\n", 2)
            length = _content_length(record_header) - len(http_header) - 4
        except ValueError as error:
            raise SinkError(
                f"{path}: no record at offset {offset}: the file was changed"
            ) from error
        headers = [
            (name, value.strip())
            for name, _, value in (
                line.partition(":") for line in http_header.decode("latin-1").split("\r\n")[1:]
            )
        ]
        return Payload(headers, _take(length, rest, chunks))

    def _path(self, number: int) -> Path:
        path = self.files.get(number)
        if path is None:
            raise SinkError(f"{self.folder}: file number {number} is missing")
        return path


def _content_length(header: bytes) -> int:
    for line in header.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError("no Content-Length")


def _take(length: int, chunk: bytes, more: Iterator[bytes]) -> Iterator[bytes]:
    """The first `length` bytes of `chunk` and what follows it."""
    while length > 0:
        yield chunk[:length]
        length -= len(chunk)
        if length > 0:
            chunk = next(more, b"")
            if not chunk:
                return


def _decompress(path: Path, offset: int) -> Iterator[bytes]:
    """The compressed member at `offset`, decompressed, in chunks. Raises SinkError when it is
    damaged.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            member: Any = opener(path.name)
            while chunk := file.read(READ_BYTES):
                try:
                    out = member.decompress(chunk)
                except Exception as error:  # each library has its own errors
                    raise SinkError(f"{path}: damaged record at {offset}: {error}") from error
                if out:
                    yield out
                if member.eof:
                    return
    except OSError as error:
        raise SinkError(f"{path}: {error.strerror}") from error
