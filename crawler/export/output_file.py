"""The target of an export: a file that appears only when complete, or stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from crawler.errors import FatalError


@contextmanager
def open_output(path: Path) -> Iterator[BinaryIO]:
    """A file to write to; `-` is stdout. On an error nothing is left and an older file is
    unchanged. Raises FatalError.
    """
    if str(path) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):  # nothing was created
            temporary.unlink()
        if not isinstance(error, OSError):
            raise
        where = path if error.filename in {None, str(temporary)} else error.filename
        raise FatalError(f"{where}: {error.strerror}") from error


class TextOutput:
    """Writes text as UTF-8; a lone surrogate becomes a question mark."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw

    def write(self, text: str) -> int:
        """Write the text; returns the number of bytes."""
        return self._raw.write(text.encode("utf-8", "replace"))
