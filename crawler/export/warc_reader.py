"""DIR/warc read back: captures from the index, payloads straight from their records."""

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

STEP: Final = 1 << 20
MOST_DECODED: Final = 256 << 20
"""Bytes; what the crawl read was smaller by its own limits, this stops the bombs among the rest."""


class Payload(msgspec.Struct):
    """What a record of the archive holds: the answer's headers, and its body in pieces."""

    headers: list[tuple[str, str]]
    pieces: Iterator[bytes]

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key.lower() == name)

    def decoded(self) -> bytes:
        """The whole body without its Content-Encoding. Raises ParseError when it is too large."""
        raw = b"".join(self.pieces)
        encoding = self.header("content-encoding")
        return decompress(raw, encoding, limit=MOST_DECODED, ratio=MOST_DECODED)[0]

    def plain(self) -> Iterator[bytes]:
        """The same in pieces; a body that was sent as it is needs little memory."""
        if self.header("content-encoding").strip().lower() in {"", "identity", "none"}:
            yield from self.pieces
        else:
            yield self.decoded()


class WarcReader:
    """A crawl's archive, open for reading, also while the crawl goes on. A context manager."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError when `folder` holds no archive, SinkError when it is not readable."""
        self.folder = folder / "warc"
        if not (self.folder / INDEX).exists():
            raise ConfigError(f"{folder}: holds no archive; crawl with --warc or --mirror")
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
        """What the capture's answer carried; a revisit's is read where it was first stored."""
        number, offset = place_of(
            capture.position if capture.original is None else capture.original
        )
        path = self._path(number)
        pieces = _unpacked(path, offset)
        head = b""
        for piece in pieces:  # the record's header, then the answer's
            head += piece
            if head.count(b"\r\n\r\n") >= 2:
                break
        try:
            about, answer, rest = head.split(b"\r\n\r\n", 2)
            length = _content_length(about) - len(answer) - 4
        except ValueError as error:
            raise SinkError(f"{path}: no record at {offset}: it was changed") from error
        headers = [
            (name, value.strip())
            for name, _, value in (
                line.partition(":") for line in answer.decode("latin-1").split("\r\n")[1:]
            )
        ]
        return Payload(headers, _first(length, rest, pieces))

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


def _first(length: int, piece: bytes, more: Iterator[bytes]) -> Iterator[bytes]:
    """The first `length` bytes of what comes."""
    while length > 0:
        yield piece[:length]
        length -= len(piece)
        if length > 0:
            piece = next(more, b"")
            if not piece:
                return


def _unpacked(path: Path, offset: int) -> Iterator[bytes]:
    """The member that begins at `offset`, in pieces. Raises SinkError when it is damaged."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            member: Any = opener(path.name)
            while piece := file.read(STEP):
                try:
                    out = member.decompress(piece)
                except Exception as error:  # each library has its own
                    raise SinkError(f"{path}: damaged record at {offset}: {error}") from error
                if out:
                    yield out
                if member.eof:
                    return
    except OSError as error:
        raise SinkError(f"{path}: {error.strerror}") from error
