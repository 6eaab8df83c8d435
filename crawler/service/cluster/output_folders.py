"""The folders in which workers write their output of a job, and lines of the files in them.

All functions block.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from crawler.config.workdir import WORKER
from crawler.errors import FrontierError, SinkError
from crawler.export.merge_crawls import PAGES


def output_folders(outputs: Path, job: str) -> dict[str, Path]:
    """Worker name → its folder for the job, below `outputs`."""
    found = {}
    for path in sorted(outputs.glob(f"*/{job}/{WORKER}")):
        try:
            identity = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
            found[identity["worker"]] = path.parent
        except (OSError, msgspec.DecodeError, KeyError):
            continue  # it is being written; the next call finds it
    return found


def delete_outputs(outputs: Path, job: str) -> None:
    """Delete the workers' folders of a job."""
    for folder in output_folders(outputs, job).values():
        shutil.rmtree(folder, ignore_errors=True)


def read_lines(path: Path, position: int, size: int) -> bytes:
    """Complete lines from byte `position` on: at most `size` bytes, or one longer line."""
    try:
        with path.open("rb") as file:
            file.seek(position)
            text = file.read(size)
            end = text.rfind(b"\n") + 1
            if not end and len(text) == size:
                text += file.readline()
                end = len(text) if text.endswith(b"\n") else 0
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise SinkError(f"{path}: {error.strerror}") from error
    return text[:end]


@contextmanager
def line_reader() -> Iterator[Callable[[str, int, int], bytes]]:
    """Yields a function that reads a line; each file is opened once. It raises FrontierError."""
    opened: dict[str, Any] = {}

    def read_line(share: str, position: int, length: int) -> bytes:
        try:
            if share not in opened:
                opened[share] = Path(share, PAGES).open("rb")  # noqa: SIM115 - closed below
            opened[share].seek(position)
            line: bytes = opened[share].read(length)
        except OSError as error:
            raise FrontierError(
                f"{share}: a worker's folder is missing: {error.strerror}"
            ) from error
        if len(line) != length or not line.endswith(b"\n"):
            raise FrontierError(f"{share}/{PAGES}: the file was changed after it was indexed")
        return line

    try:
        yield read_line
    finally:
        for file in opened.values():
            file.close()
