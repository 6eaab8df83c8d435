"""aiohttp, driven for many plain exchanges with the same origins (decision 0065).

Two requests of a crawl to one origin differ in their target alone, so the rest of them is made
once: aiohttp's request with its fields and its place in the pool. What is left of an exchange is a
connection, a head written, a head parsed. Connector, parser, stream and writer are aiohttp's; its
session is asked where it has more to do: for a proxy that speaks HTTP.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Protocol

import aiohttp
import yarl
from aiohttp.http import HttpProcessingError, StreamWriter
from multidict import CIMultiDict

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ConnectionKey, RequestInfo
    from aiohttp.connector import Connection
    from aiohttp.http import HttpVersion, RawResponseMessage
    from multidict import CIMultiDictProxy

    from crawler.fetch.connector import Connector

KEPT: Final = 4096
"""Requests kept ready: origins, mostly."""

LINE: Final = 8190
FIELD: Final = 32 * 1024
FIELDS: Final = 512
"""Bytes of a status line, bytes of a header field and number of fields that a head may have."""


class ClientRequest(aiohttp.ClientRequest):
    """What is said to an origin, whatever is asked of it: good for any number of exchanges."""

    extra: Mapping[str, str]
    """Fields beyond those that everyone is sent."""

    @cached_property
    def connection_key(self) -> ConnectionKey:
        """Which of the pool's connections will do."""
        return super().connection_key


class ResponseLike(Protocol):
    """What is used of an answer: aiohttp's own has it too."""

    status: int
    reason: str | None
    version: HttpVersion | None
    content: aiohttp.StreamReader

    @property
    def headers(self) -> CIMultiDictProxy[str]: ...
    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]: ...
    @property
    def content_length(self) -> int | None: ...
    @property
    def request_info(self) -> RequestInfo: ...
    def close(self) -> None: ...
    def release(self) -> Any: ...


class ClientResponse:
    """Implements `ResponseLike`. Its connection goes back to the pool with the body's last byte."""

    __slots__ = (
        "_connection", "_request", "content", "headers", "raw_headers", "reason", "status",
        "version",
    )  # fmt: skip

    def __init__(
        self,
        request: ClientRequest,
        connection: Connection,
        head: RawResponseMessage,
        content: aiohttp.StreamReader,
    ) -> None:
        self.status = head.code
        self.reason: str | None = head.reason
        self.version: HttpVersion | None = head.version
        self.headers = head.headers
        self.raw_headers = head.raw_headers
        self.content = content
        self._request = request
        self._connection = connection
        content.on_eof(connection.release)

    @property
    def content_length(self) -> int | None:
        """As announced; None: it was not."""
        length = self.headers.get("Content-Length")
        return None if length is None else int(length)

    @property
    def request_info(self) -> RequestInfo:
        """Whose `headers` are those that were sent."""
        return self._request.request_info

    def close(self) -> None:
        """Close the connection, if the answer still has it."""
        self._connection.close()

    def release(self) -> None:
        """Give the connection back; the pool closes it when the body was not read to its end."""
        self._connection.release()


class HttpClient:
    """The open session and what is kept ready. `headers` everyone is sent; `always` too, whatever
    an origin is sent otherwise.

    `direct`: exchanges need nothing of the session.
    """

    def __init__(
        self,
        connector: Connector | aiohttp.TCPConnector,
        *,
        headers: Mapping[str, str],
        always: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
        proxy: str | None,
    ) -> None:
        self._connector = connector
        self._headers = CIMultiDict(headers)
        self._always = always
        self._timeout = timeout
        self._proxy = proxy
        self._direct = proxy is None
        self._kept: dict[tuple[str, str, bool], ClientRequest] = {}
        self._loop = asyncio.get_running_loop()
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),  # ours is above it
            headers=headers,
            max_line_size=LINE,
            max_field_size=FIELD,
            max_headers=FIELDS,
            requote_redirect_url=False,
            timeout=timeout,
        )

    async def close(self) -> None:
        await self._session.close()

    def request(
        self,
        method: str,
        home: str,
        origins: Mapping[str, str],
        own: Mapping[str, str],
        tls: ssl.SSLContext | None,
    ) -> ClientRequest:
        """A request to an origin, without its target. `tls` None: what holds for everyone.

        `origins` are the fields that this origin is always sent, `own` those of one exchange.
        Raises ValueError when `home` is no origin.
        """
        key = method, home, tls is not None
        if not own and (kept := self._kept.get(key)) is not None:
            return kept
        extra = {**origins, **self._always, **own}
        headers = self._headers.copy()
        headers.update(extra)
        request = ClientRequest(
            method,
            yarl.URL(f"{home}/", encoded=True),
            headers=headers,
            loop=self._loop,
            ssl=True if tls is None else tls,
        )
        request.extra = extra
        if not own:
            if len(self._kept) >= KEPT:
                self._kept.clear()
            self._kept[key] = request
        return request

    async def ask(self, request: ClientRequest, url: str, *, buffer: int) -> ResponseLike:
        """Send a request for `url`, of its origin, and wait for the head of the answer.

        `buffer` is in bytes: the sender is stopped at twice as many. Raises what aiohttp raises.
        """
        if not self._direct:
            return await self._session.request(
                request.method,
                _with_target(url),
                allow_redirects=False,
                headers=request.extra or None,
                ssl=request.ssl,
                proxy=self._proxy,
                read_bufsize=buffer,
            )
        try:
            return await self._ask(request, url, buffer)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
            # As the session does (RFC 9110 §9.2.2): a kept connection may close at any time.
            return await self._ask(request, url, buffer)

    async def _ask(self, request: ClientRequest, url: str, buffer: int) -> ClientResponse:
        connection = await self._connector.connect(request, [], self._timeout)
        protocol = connection.protocol
        assert protocol is not None
        try:
            protocol.set_response_params(
                skip_payload=request.method == "HEAD",
                read_until_eof=True,
                auto_decompress=False,
                read_timeout=self._timeout.sock_read,
                read_bufsize=buffer,
                max_line_size=LINE,
                max_field_size=FIELD,
                max_headers=FIELDS,
            )
            writer = StreamWriter(protocol, self._loop)
            line = f"{request.method} {target_of(url)} HTTP/1.1"
            await writer.write_headers(line, request.headers)
            writer.set_eof()  # nothing follows: it is sent
            protocol.start_timeout()
            head, content = await protocol.read()
        except HttpProcessingError as error:
            connection.close()
            raise aiohttp.ClientResponseError(
                request.request_info,
                (),
                status=error.code,
                message=error.message,
                headers=error.headers,
            ) from error
        except BaseException:
            connection.close()
            raise
        return ClientResponse(request, connection, head, content)


def target_of(url: str) -> str:
    """What a request line says of a canonical URL: path and query, as they are (RFC 9112 §3.2.1).

    An empty query is one, too: `/p?` is not `/p` (RFC 3986 §6.2.3).
    """
    rest = url.partition("#")[0].split("/", 3)
    return f"/{rest[3]}" if len(rest) > 3 else "/"


def _with_target(url: str) -> yarl.URL:
    """A canonical URL for aiohttp's session; yarl drops an empty query, so it goes as path."""
    plain = yarl.URL(url, encoded=True).with_fragment(None)
    target = target_of(url)
    return plain.with_path(target, encoded=True) if target.find("?") == len(target) - 1 else plain
