"""aiohttp's connector with what a hostile server makes necessary on one connection.

    bytes without end                 are counted on the wire: a parser can swallow any number of
                                      them (chunk extensions, trailers) without giving one out
an answer that nobody asked for   a kept connection that has one waiting is closed, never used:
                                  it would be taken for the answer to the next request
a flood of 1xx                    ends after a few (RFC 9110 §15.2 lets a server send any number)
time                              the trip learns when its connection was ready
a lease that ended                is noticed at the last moment: next, the request is written
"""

from __future__ import annotations

import functools
import sys
import time
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import DEFAULT_CHUNK_SIZE

from crawler.errors import FetchError, LeaseLost, ProtocolError, TooLarge
from crawler.fetch.parser import ResponseParser
from crawler.fetch.resolver import TRIP

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import ClientRequest, ClientTimeout
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

MAX_INTERIM: Final = 16
"""Answers of status 1xx before the real one; honest servers send one or two (100, 103)."""


class _GuardedProtocol(ResponseHandler):
    """One connection's protocol; counts interim answers since the last request."""

    first = True  # the exchange under way is its connection's first
    interim = 0
    received = 0
    limit = sys.maxsize

    def set_response_params(
        self,
        *,
        skip_payload: bool = False,
        read_bufsize: int = DEFAULT_CHUNK_SIZE,
        **others: Any,
    ) -> None:
        """What the next answer is read with."""
        super().set_response_params(skip_payload=skip_payload, read_bufsize=read_bufsize, **others)
        strict: Any = self._parser
        parser: Any = ResponseParser(
            strict, self, self._loop, read_bufsize, body=not skip_payload, first=self.first
        )
        self._parser = parser

    def data_received(self, data: bytes) -> None:
        """Bytes from the wire. What a parser swallows (chunk extensions, trailers) counts too."""
        self.received += len(data)
        if self.received > self.limit:
            self._end(TooLarge(f"more than {self.limit} bytes on the wire"))
        else:
            super().data_received(data)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """A parsed head. Raises nothing: the reader is given the error."""
        if 100 <= data[0].code < 200 and data[0].code != 101:
            self.interim += 1
            if self.interim > MAX_INTERIM:
                self._end(ProtocolError(f"more than {MAX_INTERIM} interim answers"))
            return  # nobody waits for it: `Expect: 100-continue` is never sent
        super().feed_data(data, size)

    def connection_lost(self, exc: BaseException | None) -> None:
        """A body that goes on to the connection's end is not whole when the connection breaks."""
        payload = self._payload
        broke = isinstance(exc, ConnectionError) and payload is not None and not payload.is_eof()
        if payload is not None and broke and payload.exception() is None:
            payload.set_exception(aiohttp.ClientPayloadError("the connection broke"))
        super().connection_lost(exc)

    def _end(self, error: FetchError) -> None:
        payload, transport = self._payload, self.transport
        self.set_exception(error)
        if payload is not None and payload.exception() is None:
            payload.set_exception(error)
        if transport is not None:
            transport.abort()


class Connector(aiohttp.TCPConnector):
    """A TCPConnector whose connections are fit for one more exchange when they are handed out."""

    def __init__(
        self, *, max_exchange: int, tls: Callable[[], SSLContext], **settings: Any
    ) -> None:
        """`max_exchange`: bytes of one answer, with all around its body, where no trip says. `tls`
        is asked for the context of who has none of its own, sites and proxies.
        """
        super().__init__(**settings)
        self._max_exchange = max_exchange
        self._tls = tls
        self._factory: functools.partial[Any] = functools.partial(_GuardedProtocol, loop=self._loop)

    def _get_ssl_context(self, req: ClientRequest) -> SSLContext | None:
        if not req.is_ssl():
            return None
        return req.ssl if isinstance(req.ssl, SSLContext) else self._tls()

    def _update_proxy_auth_header_and_build_proxy_req(self, req: ClientRequest) -> ClientRequest:
        asked = super()._update_proxy_auth_header_and_build_proxy_req(req)
        asked._ssl = True  # noqa: SLF001 - or a proxy is shown the certificate that is for the site
        return asked

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109
    ) -> Connection:  # the signature is aiohttp's
        """Raises ProtocolError when the server speaks before it is asked, LeaseLost when it may
        not be.
        """
        trip = TRIP.get()
        while True:  # kept connections are finite, a new one ends it
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            kept = trip is not None and trip.connecting is None
            unfit = protocol is not None and protocol.should_close
            if not (unfit or (kept and trip is not None and trip.fresh)):
                break
            connection.close()
            if not kept:
                raise ProtocolError("an answer that nobody asked for")
        if isinstance(protocol, _GuardedProtocol):
            protocol.first = not kept
            protocol.interim = protocol.received = 0
            protocol.limit = trip.most if trip is not None else self._max_exchange
        if trip is not None:
            if trip.owned is not None and not trip.owned():
                connection.release()  # as good as before
                raise LeaseLost
            trip.connected(time.monotonic())
        return connection
