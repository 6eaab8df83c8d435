"""Merge the archives of several workers: their WARC files under new numbers, and one index.

A complete file gets another name (a hard link, where the file system supports it); the last file of
each worker is copied up to its last capture, so that continuing either crawl does not affect the
other. Nothing is decompressed. Two captures of one URL are both kept, as in any archive: replay
software picks one by time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from crawler.errors import SinkError
from crawler.export.warc_reader import WarcReader
from crawler.output.warc.index import Capture, WarcIndex, place_of, position_of
from crawler.output.warc.writer import INDEX

WARC: Final = "warc"
COPY_CHUNK_BYTES: Final = 1 << 20


class MergedWarcs(msgspec.Struct, frozen=True):
    """The result. `mark`: the position at which a crawl that continues the archive appends; 0:
    none.
    """

    files: int = 0
    captures: int = 0
    mark: int = 0


def has_archive(folder: Path) -> bool:
    """Whether the folder contains an archive."""
    return (folder / WARC / INDEX).exists()


def merge_archives(folder: Path, sources: Sequence[Path]) -> MergedWarcs:
    """Make `folder` the archive of all `sources`, each of which has one. Raises OSError,
    SinkError.
    """
    folder.mkdir()
    files = captures = mark = 0
    with closing(WarcIndex(folder / INDEX, writable=True)) as index, index.transaction():
        for source in sources:
            with WarcReader(source) as archive:
                if not files:  # the first archive's prefix is used for all
                    prefix = str(archive.captures.noted("prefix"))
                    index.note("prefix", prefix)
                end = int(archive.captures.noted("mark") or 0)
                last, length = place_of(end)
                numbers: dict[int, int] = {}
                for number, path in archive.files.items():
                    if number > last:
                        continue  # begun by a killed process, without a capture
                    files += 1
                    numbers[number] = files
                    ending = path.name.partition(".warc")[2]
                    target = folder / f"{prefix}-{files:05}.warc{ending}"
                    if number < last:
                        _link_or_copy(path, target)
                        mark = position_of(files, target.stat().st_size)
                    else:
                        _copy_prefix(path, target, length)
                        mark = position_of(files, length)
                for capture in archive.captures.every():
                    if capture.position < end:
                        index.add(_relocated(capture, numbers, source))
                        captures += 1
        index.note("mark", mark)
    return MergedWarcs(files, captures, mark)


def _relocated(capture: Capture, numbers: dict[int, int], source: Path) -> Capture:
    """The capture at its position in the merged archive."""

    def new_position(position: int) -> int:
        number, offset = place_of(position)
        if number not in numbers:
            raise SinkError(f"{source / WARC}: file {number} of the archive is gone")
        return position_of(numbers[number], offset)

    original = None if capture.original is None else new_position(capture.original)
    return msgspec.structs.replace(
        capture, position=new_position(capture.position), original=original
    )


def _link_or_copy(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except OSError:  # another file system, or no hard links
        shutil.copyfile(path, target)


def _copy_prefix(path: Path, target: Path, length: int) -> None:
    with path.open("rb") as source, target.open("wb") as file:
        remaining = length
        while remaining and (chunk := source.read(min(COPY_CHUNK_BYTES, remaining))):
            file.write(chunk)
            remaining -= len(chunk)
        if remaining:
            raise SinkError(f"{path}: is {remaining} bytes shorter than its index says")
        file.flush()
        os.fsync(file.fileno())
