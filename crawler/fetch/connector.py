"""aiohttp's connector with what a hostile server makes necessary on one connection.

an answer that nobody asked for   a kept connection that has one waiting is closed, never used:
                                  it would be taken for the answer to the next request
a flood of 1xx                    ends after a few (RFC 9110 §15.2 lets a server send any number)
time                              the trip learns when its connection was ready
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

from crawler.errors import Garbled
from crawler.fetch.resolver import TRIP

if TYPE_CHECKING:
    from aiohttp import ClientRequest, ClientTimeout
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

MAX_INTERIM: Final = 16
"""Answers of status 1xx before the real one; honest servers send one or two (100, 103)."""

MAX_STALE: Final = 64
"""Kept connections closed in a row, each with an answer waiting that nobody asked for."""


class _Conversation(ResponseHandler):
    """One connection's protocol; counts interim answers since the last request."""

    interim = 0

    def feed_data(self, data: Any, size: int = 0) -> None:
        """A parsed head. Raises nothing: the reader is given the error."""
        if 100 <= data[0].code < 200 and data[0].code != 101:
            self.interim += 1
            if self.interim > MAX_INTERIM:
                self.set_exception(Garbled(f"more than {MAX_INTERIM} interim answers"))
                if self.transport is not None:
                    self.transport.abort()
            return  # nobody waits for it: `Expect: 100-continue` is never sent
        super().feed_data(data, size)


class Connector(aiohttp.TCPConnector):
    """A TCPConnector whose connections are fit for one more exchange when they are handed out."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._factory: functools.partial[Any] = functools.partial(_Conversation, loop=self._loop)

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109
    ) -> Connection:  # the signature is aiohttp's
        """Raises Garbled when the server speaks before it is asked."""
        for _ in range(MAX_STALE):
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if protocol is None or not protocol.should_close:
                break
            connection.close()
        else:
            raise Garbled("an answer that nobody asked for")
        if isinstance(protocol, _Conversation):
            protocol.interim = 0
        if (trip := TRIP.get()) is not None:
            trip.connected(time.monotonic())
        return connection
