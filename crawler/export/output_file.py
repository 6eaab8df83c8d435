"""Where an export goes: a file that appears when it is whole, or stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from crawler.errors import FatalError


@contextmanager
def output(path: Path) -> Iterator[BinaryIO]:
    """`-` is stdout. What fails leaves nothing, and an older file as it was. Raises FatalError."""
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
        with suppress(OSError):  # where nothing can be made there is nothing to remove
            temporary.unlink()
        if not isinstance(error, OSError):
            raise
        where = path if error.filename in {None, str(temporary)} else error.filename
        raise FatalError(f"{where}: {error.strerror}") from error


class TextOutput:
    """Text onto an output, UTF-8; a lone surrogate becomes a question mark."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw

    def write(self, text: str) -> int:
        return self._raw.write(text.encode("utf-8", "replace"))
