"""A browsable copy on disk, made from the archive: the last good response of every URL as a file.

Each pass reads the whole archive, because only then it is known which links have a target in the
mirror. A pass may be repeated and killed at any time: a file is written under a temporary name and
renamed, and only when its bytes differ. An error response (500, 404) is in the archive but changes
nothing here; after a 304 the copy stays as it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from crawler.errors import FatalError, ParseError
from crawler.export.mirror_index import MirrorIndex, PreviousMirror
from crawler.export.mirror_pages import PageRewriter, quote_path
from crawler.export.warc_reader import WarcReader
from crawler.output.warc.index import Capture
from crawler.parse.reader import HTML
from crawler.policy.urls import Urls
from crawler.utils.no_symlinks import make_folders, open_new

MIRROR: Final = "mirror"
"""Name of the mirror's folder in the crawl's folder."""

INDEX_FILE: Final = "mirror.db"
"""What was written, so that the next pass knows what to leave and what to remove."""

CSS: Final = "text/css"


class MirrorResult(msgspec.Struct, frozen=True):
    """What a pass did. `start` is the page to open; `problems` are pages that were not written."""

    files: int
    written: int
    removed: int
    start: Path
    problems: tuple[str, ...] = ()

    def sentence(self) -> str:
        """The result for the user."""
        return (
            f"{self.files} files, {self.written} written, {self.removed} removed; open {self.start}"
        )


def write_mirror(archive: WarcReader, folder: Path, urls: Urls) -> MirrorResult:
    """Bring `folder` up to date with the archive. Raises FatalError when it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        index_path = folder / INDEX_FILE
        temporary = folder / f".{INDEX_FILE}.part"
        temporary.unlink(missing_ok=True)
        with closing(sqlite3.connect(temporary, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous = OFF")  # a broken one is made again
            db.execute("PRAGMA journal_mode = OFF")
            index = MirrorIndex(db, archive, urls)
            db.execute("BEGIN")
            with closing(PreviousMirror(index_path)) as previous:
                result = _MirrorPass(archive, folder, urls, index, previous).run()
            db.execute("COMMIT")
        temporary.replace(index_path)
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        where = getattr(error, "filename", None) or folder
        raise FatalError(f"{where}: {reason}") from error
    return result


class _MirrorPass:
    """One pass over an archive."""

    def __init__(
        self,
        archive: WarcReader,
        folder: Path,
        urls: Urls,
        index: MirrorIndex,
        previous: PreviousMirror,
    ) -> None:
        self._archive = archive
        self._folder = folder
        self._index = index
        self._previous = previous
        self._pages = PageRewriter(archive, urls, index.path_of)
        self._written = 0

    def run(self) -> MirrorResult:
        """Write, replace and remove files."""
        self._index.record_captures()
        start = self._index.assign_paths()
        files, problems = 0, []
        for capture, path in self._index.copies():
            files += 1
            try:
                self._write_copy(capture, path)
            except ParseError as error:
                problems.append(f"{capture.url}: {error}")
        removed = self._remove_stale()
        if start is not None:
            self._write_page("index.html", _redirect_page(start))
        return MirrorResult(
            files, self._written, removed, self._folder / (start or ""), tuple(problems)
        )

    def _write_copy(self, capture: Capture, path: str) -> None:
        if capture.mime in HTML:
            self._write_page(path, self._pages.html(capture, path))
        elif capture.mime == CSS:
            self._write_page(path, self._pages.css(capture, path))
        elif (
            self._previous.position(path) != capture.position or not (self._folder / path).exists()
        ):
            target = make_folders(self._folder, path)
            self._write(target, self._archive.payload(capture).plain())

    def _write_page(self, path: str, data: bytes) -> None:
        """Write a page, unless it exists with these bytes."""
        target = make_folders(self._folder, path)
        unchanged = target.is_file() and target.stat().st_size == len(data)
        if not unchanged or target.read_bytes() != data:
            self._write(target, [data])

    def _write(self, target: Path, chunks: Iterable[bytes]) -> None:
        """Write a file under a temporary name and rename it."""
        temporary = target.with_name(f".{target.name}.part")
        with open_new(temporary) as file:
            for chunk in chunks:
                file.write(chunk)
        temporary.replace(target)
        self._written += 1

    def _remove_stale(self) -> int:
        """Remove files of an earlier pass that have another name now, and empty folders."""
        removed = 0
        for path in self._previous.paths():
            if self._index.has_path(path):
                continue
            target = self._folder / path
            if target.is_file():
                target.unlink()
                removed += 1
            for parent in target.parents:
                if parent == self._folder or not parent.is_dir() or any(parent.iterdir()):
                    break
                parent.rmdir()
        return removed


def _redirect_page(start: str) -> bytes:
    """The page in the mirror's root, which leads to the first page."""
    target = quote_path(start)
    return (
        "<!doctype html>\n<meta charset=utf-8>\n"
        f'<meta http-equiv=refresh content="0; url={target}">\n'
        f'<title>Mirror</title>\n<a href="{target}">{target}</a>\n'
    ).encode()
