"""What is too large for the crawl's memory leaves a parse process as a file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import NamedTemporaryFile

from crawler.errors import SPOOL, ParseError


def spooled(folder: Path, suffix: str, pieces: Iterable[bytes]) -> Path:
    """Write the pieces to a new file, which is the caller's then; broken off, none is left.

    Raises ParseError(SPOOL) when it cannot be written, or the pieces cannot be read.
    """
    path: Path | None = None
    try:
        with NamedTemporaryFile(dir=folder, suffix=suffix, delete=False) as file:
            path = Path(file.name)
            for piece in pieces:
                file.write(piece)
    except BaseException as error:
        if path is not None:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ParseError(SPOOL, error.strerror or str(error)) from error
        raise
    return path
