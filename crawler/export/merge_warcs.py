"""One archive out of those of several workers: their files under new numbers, and one index.

A file that is complete is the same file under another name (a hard link, where the file system has
them); the last of each worker is copied up to its last capture, so that who goes on with either
folder disturbs neither. Nothing is unpacked. Captures of a URL that was visited twice are both
kept, as in any archive: whoever replays it takes the one for the time that is asked for.
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
PIECE: Final = 1 << 20


class MergedWarcs(msgspec.Struct, frozen=True):
    """What came together. `mark`: where one that goes on with the archive appends; 0: none."""

    files: int = 0
    captures: int = 0
    mark: int = 0


def has_archive(folder: Path) -> bool:
    return (folder / WARC / INDEX).exists()


def collect(folder: Path, sources: Sequence[Path]) -> MergedWarcs:
    """Make `folder` the archive of all `sources` that have one. Raises OSError, SinkError."""
    folder.mkdir()
    files = captures = mark = 0
    with closing(WarcIndex(folder / INDEX, writable=True)) as index, index.transaction():
        for source in sources:
            with WarcReader(source) as archive:
                if not files:  # the first one's name is that of all
                    prefix = str(archive.captures.noted("prefix"))
                    index.note("prefix", prefix)
                end = int(archive.captures.noted("mark") or 0)
                last, length = place_of(end)
                numbers: dict[int, int] = {}
                for number, path in archive.files.items():
                    if number > last:
                        continue  # begun by one that was killed, and nothing is in it
                    files += 1
                    numbers[number] = files
                    ending = path.name.partition(".warc")[2]
                    target = folder / f"{prefix}-{files:05}.warc{ending}"
                    if number < last:
                        _same(path, target)
                        mark = position_of(files, target.stat().st_size)
                    else:
                        _copied(path, target, length)
                        mark = position_of(files, length)
                for capture in archive.captures.every():
                    if capture.position < end:
                        index.add(_moved(capture, numbers, source))
                        captures += 1
        index.note("mark", mark)
    return MergedWarcs(files, captures, mark)


def _moved(capture: Capture, numbers: dict[int, int], source: Path) -> Capture:
    """The capture, where it lies now."""

    def place(position: int) -> int:
        number, offset = place_of(position)
        if number not in numbers:
            raise SinkError(f"{source / WARC}: file {number} of the archive is gone")
        return position_of(numbers[number], offset)

    original = None if capture.original is None else place(capture.original)
    return msgspec.structs.replace(capture, position=place(capture.position), original=original)


def _same(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(path, target)


def _copied(path: Path, target: Path, length: int) -> None:
    with path.open("rb") as source, target.open("wb") as file:
        left = length
        while left and (piece := source.read(min(PIECE, left))):
            file.write(piece)
            left -= len(piece)
        if left:
            raise SinkError(f"{path}: is {left} bytes shorter than its index says")
        file.flush()
        os.fsync(file.fileno())
