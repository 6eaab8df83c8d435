"""A reader for HTTP/1.1 answers that aiohttp's parser refuses and that curl or browsers read.

It has the interface of that parser, and the stream that it fills is aiohttp's too, so that limits,
timeouts and errors are the same ones; a head may have 256 KiB. What is read and what is not, with
curl's and Chromium's verdicts, is in docs/http.md.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from aiohttp.client_exceptions import ClientPayloadError
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import ContentLengthError, TransferEncodingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from multidict import CIMultiDictProxy

from crawler.fetch.lenient_head import (
    MAX_LENGTH,
    REDIRECTS,
    HeadRefused,
    LenientHead,
    is_chunked,
    read_head,
)

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from aiohttp.client_proto import ResponseHandler

HEAD: Final = 256 * 1024
"""Bytes of all heads of one answer, as in Chromium (curl: 300 KiB)."""

SIZE_LINE: Final = 16 * 1024
"""Bytes of a chunk's size line, or of a trailer, as in Chromium."""

SLOP: Final = 4
"""Bytes before `HTTP` that are skipped, as in Chromium; none on a connection that served before,
where they are what was left of another answer.
"""

_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]++)(?![xX])")
_END: Final = re.compile(rb"\n\r*\n")

Fed = tuple[Any, bool, bytes]
"""What aiohttp's protocol expects of `feed_data`: messages with their bodies, upgraded, rest."""

_NOTHING: Final[Fed] = ((), False, b"")


class _Broken(Exception):
    """No chunk where one should be."""


class LenientReader:
    """Reads one answer as curl and Chromium do. `error` is raised for what they refuse, too.

    `payload` is the stream of a chunked body of which the strict parser has read a part.
    """

    def __init__(
        self,
        protocol: ResponseHandler,
        loop: AbstractEventLoop,
        error: Exception,
        *,
        limit: int,
        body: bool,
        slop: int,
        payload: Any = None,
    ) -> None:
        self._protocol = protocol
        self._loop = loop
        self._error = error
        self._limit = limit
        self._body = body
        self._slop = slop
        self._payload = payload
        self._skip = payload.total_bytes if payload is not None else 0
        self._buffer = bytearray()
        self._heads = 0  # bytes of them
        self._seen = 0  # where to go on looking for a head's end
        self._read: Any = self._read_head
        self._left = 0  # bytes of the body, or of the chunk
        self._messages: list[tuple[Any, Any]] = []

    def feed_data(self, data: bytes) -> Fed:
        """Raises the strict parser's error for a head that is none."""
        self._buffer += data
        try:
            while self._read is not None and self._buffer and self._read():
                pass
        except HeadRefused:
            raise self._error from None
        except _Broken:
            self._break()
        if self._read is None:
            self._buffer.clear()  # beyond the answer's end
        if not self._messages:
            return _NOTHING
        messages, self._messages = self._messages, []
        return messages, False, b""

    def feed_eof(self) -> None:
        """Raises ContentLengthError or TransferEncodingError for a body that is not whole."""
        if self._read is None:
            return
        if self._read == self._read_head:
            with suppress(HeadRefused):
                self._end_in_head()
        elif self._read == self._read_to_end:
            self._finish()
        elif self._read == self._read_length:
            raise ContentLengthError(f"{self._left} bytes are missing")
        else:
            raise TransferEncodingError("the last chunk is missing")

    # ── the head ─────────────────────────────────────────────────────────────────────────────

    def _read_head(self) -> bool:
        """Take a whole head from the buffer, if one is there."""
        start = self._start()
        end = _END.search(self._buffer, max(start, self._seen))
        if (end.end() if end else len(self._buffer)) + self._heads > HEAD:
            raise HeadRefused
        if end is None:
            self._seen = max(0, self._buffer.rfind(b"\n"))
            return False
        lines = bytes(self._buffer[start : end.start()]).split(b"\n")
        del self._buffer[: end.end()]
        self._heads += end.end()
        self._seen = 0
        self._deliver(read_head(lines))
        return True

    def _start(self) -> int:
        """Where the status line begins, or may begin."""
        first = bytes(self._buffer[: self._slop + 4]).upper()
        for at in range(self._slop + 1):
            if b"HTTP".startswith(first[at : at + 4]):
                return at
        raise HeadRefused

    def _end_in_head(self) -> None:
        """A redirect is one as soon as it says where to; any other answer is not whole."""
        lines = bytes(self._buffer[self._start() :]).split(b"\n")[:-1]  # the last one is not whole
        head = read_head(lines) if lines else None
        if head is None or head.code not in REDIRECTS or "Location" not in head.headers:
            return
        self._deliver(head)
        self._finish()
        for message in self._messages:
            self._protocol.feed_data(message)

    def _deliver(self, head: LenientHead) -> None:
        """Hand out a head and begin with what follows it."""
        bare = head.code < 200 or head.code in {204, 304} or not self._body
        chunked = not bare and is_chunked(head.headers)
        length = None if bare or chunked else head.length()
        if head.code < 200 and head.code != 101:  # an interim answer: the next head follows
            self._messages.append((self._message(head, chunked=False), EMPTY_PAYLOAD))
            return
        if self._payload is None:
            if length is not None:  # as it is understood
                head.headers["Content-Length"] = str(length)
            else:
                head.headers.popall("Content-Length", None)
            empty = bare or length == 0
            self._payload = EMPTY_PAYLOAD if empty else self._stream()
            self._messages.append((self._message(head, chunked=chunked), self._payload))
        elif not chunked:
            raise HeadRefused  # it is not what the strict parser has begun with
        if chunked:
            self._read = self._read_size
        elif bare or length == 0:
            self._read = None
        elif length is None:
            self._read = self._read_to_end
        else:
            self._left = length
            self._read = self._read_length

    def _stream(self) -> StreamReader:
        return StreamReader(self._protocol, self._limit, loop=self._loop)

    @staticmethod
    def _message(head: LenientHead, *, chunked: bool) -> Any:
        """A head in aiohttp's form; its connection is closed afterwards."""
        headers = CIMultiDictProxy(head.headers)
        return RawResponseMessage(
            head.version, head.code, head.reason, headers, head.fields, True, None, False, chunked
        )

    # ── the body ─────────────────────────────────────────────────────────────────────────────

    def _finish(self) -> None:
        self._read = None
        if self._payload is not EMPTY_PAYLOAD:
            self._payload.feed_eof()

    def _take(self, count: int) -> None:
        """Hand out bytes from the buffer, but those that the strict parser has handed out."""
        skip = min(self._skip, count)
        self._skip -= skip
        if piece := bytes(self._buffer[skip:count]):
            self._payload.feed_data(piece)
        del self._buffer[:count]

    def _read_to_end(self) -> bool:
        self._take(len(self._buffer))
        return False

    def _read_length(self) -> bool:
        count = min(self._left, len(self._buffer))
        self._left -= count
        self._take(count)
        if not self._left:
            self._finish()
        return True

    def _line(self) -> bytes | None:
        """A whole line of the chunks' frame; None: not yet. Raises _Broken for an endless one."""
        at = self._buffer.find(b"\n")
        if (at if at >= 0 else len(self._buffer)) > SIZE_LINE:
            raise _Broken
        if at < 0:
            return None
        line = bytes(self._buffer[:at]).rstrip(b"\r")
        del self._buffer[: at + 1]
        return line

    def _read_size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        size = _CHUNK.match(line)
        if size is None or (left := int(size[1], 16)) > MAX_LENGTH:
            raise _Broken
        self._left = left
        self._read = self._read_chunk if left else self._read_trailer
        return True

    def _read_chunk(self) -> bool:
        count = min(self._left, len(self._buffer))
        self._left -= count
        self._take(count)
        if not self._left:
            self._read = self._read_chunk_end
        return True

    def _read_chunk_end(self) -> bool:
        end = bytes(self._buffer[:2])
        if end == b"\r":
            return False
        if end != b"\r\n" and end[:1] != b"\n":
            raise _Broken
        del self._buffer[: end.index(b"\n") + 1]
        self._read = self._read_size
        return True

    def _read_trailer(self) -> bool:
        line = self._line()
        if line == b"":
            self._finish()
        return line is not None

    def _break(self) -> None:
        """What follows is no chunk: the body is what came before it."""
        self._read = None
        error = TransferEncodingError("no chunk where one should be")
        self._payload.set_exception(ClientPayloadError(repr(error)))
