"""A file that came coded, though it was asked for as it is: its content codings are undone.

What a server calls a coding and is none (`utf-8`, `none`, `aws-chunked`) changed nothing, and what
is packed by its name (`.gz`) is the file. Blocking.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from crawler.errors import CrawlerError, ParseError, ProtocolError, SinkError, TooLarge, Truncated
from crawler.utils.no_symlinks import open_new

Undo = Callable[[bytes | Path, str, list[str]], Iterator[bytes]]
"""Gives the bytes in pieces, and notes what is wrong with them in the list."""

KNOWN: Final = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd"})

_PACKED: Final = (".gz", ".tgz", ".svgz", ".gzip", ".z", ".br", ".zst", ".bz2", ".xz")
"""Names of files that are compressed themselves: some servers call that an encoding."""


def codings(value: str, url: str) -> str:
    """Those of a Content-Encoding that have to be undone to get the file; empty: none."""
    if not value or urlsplit(url).path.lower().endswith(_PACKED):
        return ""
    names = (name.strip().lower() for name in value.split(","))
    return ", ".join(name for name in names if name in KNOWN)


def undone(source: bytes | Path, coded: str, undo: Undo, target: Path, most: int) -> int:
    """Write what was coded in `source` to `target`, `most` bytes at most; how many they are.

    Raises TooLarge, Truncated, ProtocolError, SinkError; nothing is left then.
    """
    problems: list[str] = []
    try:
        with open_new(target, 0o644) as file:
            for piece in undo(source, coded, problems):
                file.write(piece)
                if file.tell() > most:
                    raise TooLarge(f"more than {most} bytes")
            _demand_whole(problems)
            return file.tell()
    except (CrawlerError, OSError) as error:
        with contextlib.suppress(OSError):
            target.unlink()
        if isinstance(error, ParseError):
            raise ProtocolError(error.detail) from error
        if isinstance(error, OSError):
            raise SinkError(f"{error.filename or target}: {error.strerror}") from error
        raise


def _demand_whole(problems: list[str]) -> None:
    for problem in problems:
        if problem.endswith("breaks off"):
            raise Truncated(problem)
        if not problem.endswith("but is not"):  # that it was not coded at all is no harm
            raise ProtocolError(problem)
