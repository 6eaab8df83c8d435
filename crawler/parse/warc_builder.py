"""An exchange as WARC records, hashed and compressed where CPU is cheap: in a parse process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from crawler.output.warc.record_format import (
    FIELDS,
    REQUEST,
    RESPONSE,
    Compression,
    Digest,
    DigestName,
    digest_of,
    header,
    metadata_block,
    new_id,
    pack,
    pack_stream,
    pieces_of,
    record,
    request_head,
    response_head,
    warc_date,
)
from crawler.parse.temp_files import spooled
from crawler.records import Page, WarcRecord

END: Final = b"\r\n\r\n"


class WarcBuilder(msgspec.Struct, frozen=True):
    """Makes the records of one exchange; pickled into each parse process.

    Bodies that lie in a file are compressed into another one in `spool`, never into memory.
    """

    compression: Compression
    digest: DigestName
    spool: Path

    def keep(self, page: Page) -> WarcRecord:
        """Raises OSError when the body is gone, ParseError(SPOOL) when a file cannot be written."""
        head = response_head(page)
        payload = Digest(self.digest)
        block = Digest(self.digest)
        block.update(head)
        size = 0
        for piece in pieces_of(page.body) if isinstance(page.body, Path) else (page.body,):
            size += len(piece)
            payload.update(piece)
            block.update(piece)
        name = new_id()
        fields = [
            ("WARC-Type", "response"),
            *self._about(page, name),
            ("WARC-Payload-Digest", str(payload)),
            ("WARC-Block-Digest", str(block)),
            *([("WARC-Truncated", page.truncated)] if page.truncated else ()),
            ("Content-Type", RESPONSE),
        ]
        start = header(fields, len(head) + size) + head
        response: bytes | Path
        if isinstance(page.body, Path):
            response = self._spooled(start, page.body)
        else:
            response = pack(start + page.body + END, self.compression)
        return WarcRecord(response, self._aside(page, name), head, name, str(payload), size)

    def _spooled(self, start: bytes, body: Path) -> Path:
        def pieces() -> Iterator[bytes]:
            yield start
            yield from pieces_of(body)
            yield END

        return spooled(self.spool, ".record", pack_stream(pieces(), self.compression))

    def _aside(self, page: Page, response: str) -> bytes:
        """The request, where its headers are known, and how the crawl came here."""
        records = b""
        blocks = [("metadata", FIELDS, metadata_block(page.link, page))]
        if page.sent:
            blocks.insert(0, ("request", REQUEST, request_head(page)))
        for kind, content_type, block in blocks:
            fields = (
                ("WARC-Type", kind),
                *self._about(page, new_id()),
                ("WARC-Concurrent-To", response),
                ("WARC-Block-Digest", digest_of(self.digest, block)),
                ("Content-Type", content_type),
            )
            records += pack(record(fields, block), self.compression)
        return records

    @staticmethod
    def _about(page: Page, name: str) -> list[tuple[str, str]]:
        fields = [
            ("WARC-Record-ID", name),
            ("WARC-Date", warc_date(page.fetched_at)),
            ("WARC-Target-URI", page.link.url),
        ]
        if page.ip is not None:
            fields.append(("WARC-IP-Address", page.ip))
        return fields
