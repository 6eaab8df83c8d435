"""DIR/warc: every exchange of the crawl as WARC 1.1, each record a member of its own.

The records come compressed from the parse processes; here they are put one behind the other, in a
thread. A payload that the archive already holds becomes a revisit record. A mark is the number of
the file being written and its length; on opening, what stands behind the mark is cut off, younger
files are removed, and the index forgets the same captures: kill the crawl at any instant, and the
archive is one that was never disturbed.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Final, Self

from crawler.errors import SinkError, SinkLost
from crawler.output.warc.index import Capture, WarcIndex, place_of, position_of
from crawler.output.warc.record_format import (
    FIELDS,
    IDENTICAL,
    NOT_MODIFIED,
    RESPONSE,
    SUFFIX,
    Compression,
    DigestName,
    digest_of,
    micros,
    new_id,
    pack,
    pieces_of,
    record,
    warc_date,
)
from crawler.records import CrawlResult, Page, WarcRecord
from crawler.utils.file_identity import trouble

INDEX: Final = "index.db"


class WarcWriter:
    """Implements `protocols.Sink`. `about` are the fields of each file's warcinfo record."""

    name = "warc"

    def __init__(
        self,
        folder: Path,
        *,
        about: Mapping[str, str],
        max_file: int,
        compression: Compression = "gzip",
        digest: DigestName = "sha256",
        revisit: bool = True,
        durable: str = "process",
        finished: Callable[[Path], None] | None = None,
    ) -> None:
        """`finished` is told of each file that is complete and committed."""
        self._folder = folder
        self._about = about
        self._max_file = max_file
        self._compression = compression
        self._digest = digest
        self._revisit = revisit
        self._durable = durable
        self._finished = finished
        self._complete: list[Path] = []  # but not yet committed
        self._index: WarcIndex
        self._prefix = ""
        self._file: FileIO | None = None
        self._number = 0
        self._length = 0
        self._counted = True  # the length is that of the file: no append has failed

    async def __aenter__(self) -> Self:
        """Raises SinkError when the folder or its index cannot be used."""
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as error:
            raise _sink_error(error, self._folder) from error
        self._index = WarcIndex(self._folder / INDEX, writable=True, durable=self._durable)
        prefix = self._index.noted("prefix")
        if prefix is None:
            # The time makes the names unique wherever archives of several crawls meet.
            prefix = f"crawl-{time.strftime('%Y%m%d%H%M%S', time.gmtime())}"
            with self._index.transaction():
                self._index.note("prefix", prefix)
        self._prefix = str(prefix)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and self._counted:
                self._look()
                self._index.look()
        finally:
            self._close()
            self._index.close()

    async def append(self, visits: Sequence[CrawlResult]) -> int:
        # Whoever appends again has committed what came before.
        complete, self._complete = self._complete, []
        if self._finished is not None:
            for path in complete:
                self._finished(path)
        self._counted = False
        try:
            await asyncio.to_thread(self._append, visits)
        except OSError as error:
            raise _sink_error(error, self._folder) from error
        self._counted = True
        return position_of(self._number, self._length)

    async def cut(self, mark: int) -> None:
        self._number, self._length = place_of(mark)
        committed = self._index.noted("mark") or 0
        if int(committed) < mark:
            raise SinkError(f"{self._folder / INDEX}: older than the crawl's last commit")
        try:
            for number, path in self._files():
                if number > self._number:
                    path.unlink()
            if self._number:
                self._reopen()
        except OSError as error:
            raise _sink_error(error, self._folder) from error
        with self._index.transaction():
            self._index.forget(mark)
            self._index.note("mark", mark)

    # ── in a thread ──────────────────────────────────────────────────────────────────────────

    def _append(self, visits: Sequence[CrawlResult]) -> None:
        self._look()  # a file that was cut would get a hole, and its length back
        with self._index.transaction():
            waiting: list[bytes] = []
            for visit, page, kept in _exchanges(visits):
                if self._file is None or self._length >= self._max_file:
                    self._write(waiting)
                    self._next_file()
                position = position_of(self._number, self._length)
                response, original = self._response(page, kept)
                if isinstance(response, Path):
                    self._write(waiting)
                    length = self._copy(response)
                else:
                    length = len(response)
                    waiting.append(response)
                    self._length += length
                waiting.append(kept.aside)
                self._length += len(kept.aside)
                self._index.add(_capture(visit, page, kept, position, length, original))
                if isinstance(kept.response, Path):
                    kept.response.unlink(missing_ok=True)
            self._write(waiting)
            self._look()
            self._index.note("mark", position_of(self._number, self._length))
            if self._durable == "power" and self._file is not None:
                os.fsync(self._file.fileno())

    def _response(self, page: Page, kept: WarcRecord) -> tuple[bytes | Path, int | None]:
        """What to write: the response record, or a revisit record and the position it points to."""
        profile, url = IDENTICAL, page.link.url
        if page.status == 304:
            original = self._index.latest_of(url)
            profile = NOT_MODIFIED
        elif self._revisit and kept.bytes_payload and not page.truncated:
            original = self._index.with_payload(kept.digest)
        else:
            original = None
        if original is None:
            return kept.response, None
        digest = original.digest if page.status == 304 else kept.digest
        fields = [
            ("WARC-Type", "revisit"),
            ("WARC-Record-ID", kept.record),
            ("WARC-Date", warc_date(page.fetched_at)),
            ("WARC-Target-URI", url),
            *([("WARC-IP-Address", page.ip)] if page.ip else ()),
            ("WARC-Profile", profile),
            ("WARC-Refers-To-Target-URI", original.url),
            ("WARC-Refers-To-Date", warc_date(original.at / 1e6)),
            ("WARC-Payload-Digest", digest),
            ("WARC-Block-Digest", digest_of(self._digest, kept.head)),
            ("Content-Type", RESPONSE),
        ]
        source = original.position if original.original is None else original.original
        return pack(record(fields, kept.head), self._compression), source

    def _write(self, waiting: list[bytes]) -> None:
        """Put out what waits; its length is already counted."""
        if not waiting:
            return
        assert self._file is not None
        rest = memoryview(b"".join(waiting))
        waiting.clear()
        while rest:  # a raw write may be short, as on a disk that is just filling up
            rest = rest[self._file.write(rest) :]

    def _copy(self, path: Path) -> int:
        length = path.stat().st_size
        for piece in pieces_of(path):
            self._write([piece])
        self._length += length
        return length

    # ── files ────────────────────────────────────────────────────────────────────────────────

    def _next_file(self) -> None:
        """Begin the next file with its warcinfo record."""
        if self._file is not None:
            self._look()
            self._complete.append(Path(str(self._file.name)))
        self._close()
        self._number += 1
        path = self._folder / f"{self._prefix}-{self._number:05}{SUFFIX[self._compression]}"
        self._file = FileIO(path, "wb")
        block = "".join(f"{name}: {value}\r\n" for name, value in self._about.items()).encode()
        fields = [
            ("WARC-Type", "warcinfo"),
            ("WARC-Record-ID", new_id()),
            ("WARC-Date", warc_date(time.time())),
            ("WARC-Filename", path.name),
            ("WARC-Block-Digest", digest_of(self._digest, block)),
            ("Content-Type", FIELDS),
        ]
        first = pack(record(fields, block), self._compression)
        self._length = len(first)
        self._write([first])
        if self._durable == "power":
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _reopen(self) -> None:
        """Open the file of the mark, cut back to it."""
        path = next((path for number, path in self._files() if number == self._number), None)
        size = path.stat().st_size if path else 0
        if path is None or size < self._length:
            where = path or self._folder / f"{self._prefix}-{self._number:05}"
            raise SinkError(
                f"{where}: {size} bytes, but {self._length} were committed: it was changed"
            )
        if not path.name.endswith(SUFFIX[self._compression]):  # the setting changed
            os.truncate(path, self._length)
            return
        self._file = FileIO(path, "rb+")
        self._file.truncate(self._length)
        self._file.seek(self._length)

    def _files(self) -> Iterator[tuple[int, Path]]:
        yield from warc_files(self._folder, self._prefix)

    def _look(self) -> None:
        """Raises SinkError when the file being written is not at its path any more."""
        if self._file is None:
            return
        path = Path(str(self._file.name))
        try:
            wrong = trouble(path, self._file.fileno(), self._length)
        except OSError as error:
            raise _sink_error(error, self._folder) from error
        if wrong:
            raise SinkLost(f"{path}: {wrong}")

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def warc_files(folder: Path, prefix: str) -> list[tuple[int, Path]]:
    """The archive's files by number."""
    found = []
    for path in folder.iterdir():
        number = path.name.partition(".warc")[0].removeprefix(f"{prefix}-")
        if path.name.startswith(f"{prefix}-") and number.isdigit():
            found.append((int(number), path))
    return sorted(found)


def _exchanges(visits: Sequence[CrawlResult]) -> Iterator[tuple[CrawlResult, Page, WarcRecord]]:
    """All that was made ready for the archive, in the order in which it came."""
    for visit in visits:
        for page, kept in (*visit.trail, (visit.page, visit.archived)):
            if page is not None and kept is not None:
                yield visit, page, kept


def _capture(
    visit: CrawlResult,
    page: Page,
    kept: WarcRecord,
    position: int,
    length: int,
    original: int | None,
) -> Capture:
    extract = visit.extract if page is visit.page else None
    mime = extract.mime if extract else page.header("content-type").partition(";")[0]
    return Capture(
        position=position,
        length=length,
        url=page.link.url,
        at=micros(page.fetched_at),
        status=page.status,
        mime=mime.strip().lower(),
        charset=extract.charset if extract else "",
        digest=kept.digest,
        target=page.location,
        title=extract.title if extract else "",
        original=original,
    )


def _sink_error(error: OSError, folder: Path) -> SinkError:
    return SinkError(f"{error.filename or folder}: {error.strerror}")
