"""The file as its segments see it: what an answer means for the bytes that are there.

Is it the part that was asked for, of the version that was begun? Only then does it go on the same
sheet; a version that is another starts a new one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from crawler.downloads import checksums, file_names
from crawler.downloads import file_response as answers
from crawler.downloads.content_coding import codings
from crawler.downloads.download_context import DownloadContext
from crawler.downloads.file_response import BadRange, Fields, FileResponse
from crawler.downloads.partial_file import PartialFile
from crawler.downloads.segment import Segment
from crawler.errors import FileMismatch, ProtocolError, TooLarge


class ResponseValidator:
    """Implements `segment.Sheet` for one transfer; `written` is called after each write.

    `ranges`: the server gives parts. `announced` are the server's own checksums, `wire` the bytes
    that came.
    """

    def __init__(
        self, copy: PartialFile, desk: DownloadContext, *, written: Callable[[], None]
    ) -> None:
        self.changed = False
        self.most = desk.rules.max_filesize or sys.maxsize
        self.buffer = desk.buffer
        self.ranges = True
        self.wire = 0
        self.announced: list[tuple[str, str]] = []
        self._copy = copy
        self._desk = desk
        self._written = written

    async def greet(self, segment: Segment, status: int, fields: Fields) -> bool:
        if status >= 300:
            return False
        if status not in {200, 206}:
            raise ProtocolError(f"status {status} has no file")
        copy = self._copy
        head = answers.named(fields)
        coded = codings(head.get("content-encoding", ""), segment.url)
        if status == 206 and coded != copy.coded:
            raise ProtocolError(f"a part is coded ({coded or 'not'}) as the file is not")
        answer = answers.read(status, head)
        if answer.is_page and not self._desk.rules.accept_html:
            answers.demand_type(answer, copy.order.name or file_names.from_url(copy.order.url))
        if answer.size is not None and answer.size > self.most:
            raise TooLarge(f"{answer.size} bytes announced, {self.most} allowed")
        known = not coded and None not in {answer.size, copy.order.size}
        if known and answer.size != copy.order.size:
            raise FileMismatch(f"{answer.size} bytes announced, {copy.order.size} expected")
        if status == 206 and not self._is_all(segment, answer):
            self._fit(segment, answer)
        else:
            await self._whole(segment, answer)
            copy.coded = coded
        if segment.source == copy.source:
            told = not coded and ("repr-digest" in head or "digest" in head)
            self.announced = checksums.announced(fields) if told else []
        if answer.modified is not None:
            copy.modified = answer.modified
        if not copy.name:
            copy.claim(copy.wished(head.get("content-disposition", ""), segment.url))
        return True

    def _asks_for_all(self, segment: Segment) -> bool:
        """No range was asked for."""
        return segment.at == 0 and segment.first and not self._copy.size

    def _is_all(self, segment: Segment, answer: FileResponse) -> bool:
        """A part that is the whole, where that was asked for: some servers know no other answer."""
        whole = answer.start == 0 and answer.end == answer.size is not None
        return whole and self._asks_for_all(segment)

    def _fit(self, segment: Segment, answer: FileResponse) -> None:
        """A part: is it the one that was asked for, of the file that was begun?"""
        copy = self._copy
        if answer.start != segment.at or self._asks_for_all(segment):
            raise BadRange(f"bytes from {answer.start} where {segment.at} was asked for")
        ours = segment.source == copy.source
        other = copy.size is not None and answer.size not in {None, copy.size}
        if ours and copy.validator.startswith('"') and answer.etag:
            other = other or answer.etag != copy.validator
        if other and not ours:
            raise ProtocolError("a mirror has another file")
        if other:
            self.changed = True
            raise FileMismatch("changed while it was fetched")
        copy.size = copy.size if answer.size is None else answer.size
        if ours and not copy.validator:
            copy.validator = answer.validator
        segment.asked = answer.end
        segment.end = answer.end if segment.end is None else min(segment.end, answer.end or 0)

    async def _whole(self, segment: Segment, answer: FileResponse) -> None:
        """All of it: as wished, or because ranges are ignored, or because the file is another."""
        copy = self._copy
        if not segment.first:
            ours = segment.source == copy.source
            self.ranges = self.ranges and not ours
            if ours and (answer.validator, answer.size) != (copy.validator, copy.size):
                self.changed = True
                raise FileMismatch("changed while it was fetched")
            raise ProtocolError("the whole file where a range was asked for")
        if segment.at or copy.spans.total:
            await self.start_over()
        copy.size, copy.validator = answer.size, answer.validator
        self.ranges = answer.ranges
        segment.at = 0
        segment.end = segment.asked = answer.size

    async def write(self, chunks: list[bytes], at: int) -> None:
        await self._copy.write(chunks, at)
        self._written()

    def came(self, segment: Segment, number: int) -> float:
        self.wire += number
        return self._desk.came(number, segment.url)

    async def start_over(self) -> None:
        self.changed = False
        self.announced = []
        await self._copy.start_over()
