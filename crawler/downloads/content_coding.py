"""Decode a file that was sent with a content coding although `identity` was requested. Blocking.

Values that are not content codings (`utf-8`, `none`, `aws-chunked`) are ignored. A file that is
compressed itself by its name (`.gz`) is kept as it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from crawler.errors import CrawlerError, ParseError, ProtocolError, SinkError, TooLarge, Truncated
from crawler.utils.no_symlinks import open_new

Decoder = Callable[[bytes | Path, str, list[str]], Iterator[bytes]]
"""Yields the decoded bytes of a body (arguments: body, codings, problems); appends what is wrong
with it to `problems`."""

CONTENT_CODINGS: Final = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd"})

_COMPRESSED_SUFFIXES: Final = (".gz", ".tgz", ".svgz", ".gzip", ".z", ".br", ".zst", ".bz2", ".xz")
"""Suffixes of files that are compressed themselves; some servers send their compression as
Content-Encoding."""


def codings_to_decode(value: str, url: str) -> str:
    """The codings of a Content-Encoding value that must be decoded to get the file at `url`,
    comma-separated; empty: none.
    """
    if not value or urlsplit(url).path.lower().endswith(_COMPRESSED_SUFFIXES):
        return ""
    names = (name.strip().lower() for name in value.split(","))
    return ", ".join(name for name in names if name in CONTENT_CODINGS)


def decode_to_file(
    source: bytes | Path, codings: str, decode: Decoder, target: Path, max_bytes: int
) -> int:
    """Decode `source` into the new file `target`; returns the number of bytes, at most `max_bytes`.

    Raises TooLarge, Truncated, ProtocolError or SinkError; `target` is removed then.
    """
    problems: list[str] = []
    try:
        with open_new(target, 0o644) as file:
            for piece in decode(source, codings, problems):
                file.write(piece)
                if file.tell() > max_bytes:
                    raise TooLarge(f"more than {max_bytes} bytes")
            _raise_for_problem(problems)
            return file.tell()
    except (CrawlerError, OSError) as error:
        with contextlib.suppress(OSError):
            target.unlink()
        if isinstance(error, ParseError):
            raise ProtocolError(error.detail) from error
        if isinstance(error, OSError):
            raise SinkError(f"{error.filename or target}: {error.strerror}") from error
        raise


def _raise_for_problem(problems: list[str]) -> None:
    for problem in problems:
        if problem.endswith("breaks off"):
            raise Truncated(problem)
        if not problem.endswith("but is not"):  # not coded at all: the bytes are the file
            raise ProtocolError(problem)
