"""Check each response against the bytes on disk.

A response must be the requested range of the version that was begun; then its bytes are added. A
response of another version starts the file over.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from crawler.downloads import checksums, file_names, file_response
from crawler.downloads.content_coding import codings_to_decode
from crawler.downloads.download_context import DownloadContext
from crawler.downloads.file_response import BadRange, Fields, FileResponse
from crawler.downloads.partial_file import PartialFile
from crawler.downloads.segment import Segment
from crawler.errors import FileMismatch, ProtocolError, TooLarge


class ResponseValidator:
    """Implements `segment.SegmentTarget` for one file; `written` is called after each write.

    `accepts_ranges`: the server supports range requests. `server_digests` are the checksums that
    the server sent, `wire` is the number of bytes received.
    """

    def __init__(
        self, partial: PartialFile, context: DownloadContext, *, written: Callable[[], None]
    ) -> None:
        self.changed = False
        self.max_bytes = context.settings.max_filesize or sys.maxsize
        self.buffer_bytes = context.buffer_bytes
        self.accepts_ranges = True
        self.wire = 0
        self.server_digests: list[tuple[str, str]] = []
        self._partial = partial
        self._context = context
        self._written = written

    async def on_headers(self, segment: Segment, status: int, fields: Fields) -> bool:
        """Whether the response carries bytes of the file; sets the segment's position and end.
        Raises FetchError for a response that does not fit.
        """
        if status >= 300:
            return False
        if status not in {200, 206}:
            raise ProtocolError(f"status {status} does not carry a file")
        partial = self._partial
        headers = file_response.header_map(fields)
        coding = codings_to_decode(headers.get("content-encoding", ""), segment.url)
        if status == 206 and coding != partial.coding:
            raise ProtocolError(
                f"content coding of a part ({coding or 'none'}) differs from the file's"
            )
        response = file_response.parse_response(status, headers)
        if response.is_page and not self._context.settings.accept_html:
            file_response.require_type(
                response, partial.request.name or file_names.from_url(partial.request.url)
            )
        if response.size is not None and response.size > self.max_bytes:
            raise TooLarge(f"{response.size} bytes announced, {self.max_bytes} allowed")
        size_known = not coding and None not in {response.size, partial.request.size}
        if size_known and response.size != partial.request.size:
            raise FileMismatch(f"{response.size} bytes announced, {partial.request.size} expected")
        if status == 206 and not self._is_whole_file(segment, response):
            self._check_part(segment, response)
        else:
            await self._check_whole(segment, response)
            partial.coding = coding
        if segment.source == partial.source:
            has_digest = not coding and ("repr-digest" in headers or "digest" in headers)
            self.server_digests = checksums.server_digests(fields) if has_digest else []
        if response.modified is not None:
            partial.modified = response.modified
        if not partial.name:
            partial.claim(
                partial.preferred_name(headers.get("content-disposition", ""), segment.url)
            )
        return True

    def _wants_whole_file(self, segment: Segment) -> bool:
        """Whether the request had no Range."""
        return segment.position == 0 and segment.primary and not self._partial.size

    def _is_whole_file(self, segment: Segment, response: FileResponse) -> bool:
        """Whether a 206 is the whole file, which was requested: some servers always send 206."""
        whole = response.start == 0 and response.end == response.size is not None
        return whole and self._wants_whole_file(segment)

    def _check_part(self, segment: Segment, response: FileResponse) -> None:
        """Accept a 206. Raises BadRange for another range, FileMismatch for another version."""
        partial = self._partial
        if response.start != segment.position or self._wants_whole_file(segment):
            raise BadRange(f"range from {response.start}, requested from {segment.position}")
        same_source = segment.source == partial.source
        differs = partial.size is not None and response.size not in {None, partial.size}
        if same_source and partial.validator.startswith('"') and response.etag:
            differs = differs or response.etag != partial.validator
        if differs and not same_source:
            raise ProtocolError("a mirror has a different file")
        if differs:
            self.changed = True
            raise FileMismatch("changed during the download")
        partial.size = partial.size if response.size is None else response.size
        if same_source and not partial.validator:
            partial.validator = response.validator
        segment.requested_end = response.end
        segment.end = response.end if segment.end is None else min(segment.end, response.end or 0)

    async def _check_whole(self, segment: Segment, response: FileResponse) -> None:
        """Accept a 200: requested, or sent because ranges are ignored or the file has changed."""
        partial = self._partial
        if not segment.primary:
            same_source = segment.source == partial.source
            self.accepts_ranges = self.accepts_ranges and not same_source
            version = (response.validator, response.size)
            if same_source and version != (partial.validator, partial.size):
                self.changed = True
                raise FileMismatch("changed during the download")
            raise ProtocolError("the whole file in response to a range request")
        if segment.position or partial.spans.total:
            await self.restart()
        partial.size, partial.validator = response.size, response.validator
        self.accepts_ranges = response.accepts_ranges
        segment.position = 0
        segment.end = segment.requested_end = response.size

    async def write(self, chunks: list[bytes], offset: int) -> None:
        """Write the bytes of a segment."""
        await self._partial.write(chunks, offset)
        self._written()

    def on_bytes(self, segment: Segment, number: int) -> float:
        """Count received bytes; returns the seconds to wait for the host's rate limit."""
        self.wire += number
        return self._context.on_bytes(number, segment.url)

    async def restart(self) -> None:
        """Discard what is on disk and what is known of the file's version."""
        self.changed = False
        self.server_digests = []
        await self._partial.restart()
