"""aiohttp's parser, and behind it a lenient one for what it refuses (decision 0101).

Every byte goes to the strict parser, which alone reads ordinary answers. References to the bytes
are kept until the head is read, of a chunked body until its end (1 MiB at most). When the strict
parser refuses them, the lenient one reads the same bytes: no request is sent twice, and what is
read does not depend on how the answer was cut into packets. The connection is closed afterwards in
any case: where an answer ends is in doubt, and nothing of it may reach the next one.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from aiohttp.client_exceptions import ClientPayloadError
from aiohttp.hdrs import TRANSFER_ENCODING
from aiohttp.http import HttpProcessingError
from aiohttp.http_exceptions import BadHttpMessage, TransferEncodingError

from crawler.fetch.lenient_head import is_chunked
from crawler.fetch.lenient_reader import SLOP, Fed, LenientReader

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from aiohttp.client_proto import ResponseHandler

KEPT: Final = 1024 * 1024
"""Bytes of an answer that are kept for a second reading."""


class ResponseParser:
    """Stands in for aiohttp's parser, which it is given as `strict`, in its protocol.

    One for each exchange. `body`: whether the answer may have one (not to HEAD). `limit` is the
    stream's, in bytes. `first`: the connection served nobody before.
    """

    __slots__ = (
        "_body", "_first", "_kept", "_lenient", "_limit", "_loop", "_payload", "_protocol", "_size",
        "_strict",
    )  # fmt: skip

    def __init__(
        self,
        strict: Any,
        protocol: ResponseHandler,
        loop: AbstractEventLoop,
        limit: int,
        *,
        body: bool,
        first: bool,
    ) -> None:
        self._strict = strict
        self._protocol = protocol
        self._loop = loop
        self._limit = limit
        self._body = body
        self._first = first
        self._kept: list[bytes] | None = []  # None: what is refused now stays refused
        self._size = 0
        self._payload: Any = None  # of a chunked body under way
        self._lenient: LenientReader | None = None

    def feed_data(self, data: bytes) -> Fed:
        """Raises what the strict parser raises, when the lenient one is of its opinion."""
        if self._lenient is not None:
            return self._lenient.feed_data(data)
        if self._kept is not None:
            self._kept.append(data)
            self._size += len(data)
        try:
            fed: Fed = self._strict.feed_data(data)
        except (HttpProcessingError, ValueError, AssertionError) as error:
            return self._again(error)
        if fed[0]:
            head, payload = fed[0][-1]
            if head.code >= 200 or head.code == 101:
                if head.chunked:
                    self._payload = payload
                elif TRANSFER_ENCODING in head.headers and is_chunked(head.headers):
                    return self._again(BadHttpMessage("chunked is not the last coding"))
                else:
                    self._leave()
        if self._payload is not None and self._payload.is_eof():
            self._leave()
        elif self._size > KEPT:
            self._kept = None
        return fed

    def _leave(self) -> None:
        """Nothing is left that the lenient parser could help with: the strict one goes on alone."""
        self._kept = None
        strict: Any = self._strict
        self._protocol._parser = strict  # noqa: SLF001 - where it was taken from

    def feed_eof(self) -> Any:
        """Raises what aiohttp's parser raises for a body that is not whole."""
        if self._lenient is None and self._kept:  # within the head, or among chunks
            with suppress(BadHttpMessage):
                self._again(BadHttpMessage("the answer breaks off"))
        return (self._lenient or self._strict).feed_eof()

    def pause_reading(self) -> None:
        """The stream is full. What is at hand is read all the same: the transport is stopped."""
        if self._lenient is None:
            self._strict.pause_reading()

    def _again(self, error: Exception) -> Fed:
        """Read what came once more. Raises `error` when that does not help."""
        kept, self._kept = self._kept, None
        if kept is None:
            self._break_off()
            raise error
        lenient = LenientReader(
            self._protocol,
            self._loop,
            error,
            limit=self._limit,
            body=self._body,
            slop=SLOP if self._first else 0,
            payload=self._payload,
        )
        try:
            fed = lenient.feed_data(b"".join(kept))
        except type(error):
            self._break_off()
            raise
        self._protocol.force_close()
        self._lenient = lenient
        return fed

    def _break_off(self) -> None:
        """Tell the body's reader; aiohttp tells only who reads the next head."""
        if self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(ClientPayloadError(repr(TransferEncodingError(""))))
