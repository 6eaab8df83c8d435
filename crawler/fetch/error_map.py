"""The border: what aiohttp, asyncio, ssl and the operating system raise, as our FetchErrors."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from typing import Final

import aiohttp

from crawler.errors import (
    FetchError,
    Forbidden,
    Insecure,
    ProtocolError,
    TimedOut,
    Truncated,
    Unreachable,
    Unresolved,
)

IMAGES: Final[tuple[tuple[type[BaseException], type[FetchError]], ...]] = (
    # most derived first: the first that fits is taken
    (aiohttp.ClientConnectorDNSError, Unresolved),
    (aiohttp.ClientConnectorCertificateError, Insecure),
    (aiohttp.ClientConnectorSSLError, Insecure),
    (aiohttp.ClientSSLError, Insecure),
    (aiohttp.ServerFingerprintMismatch, Insecure),
    (aiohttp.ConnectionTimeoutError, TimedOut),
    (aiohttp.SocketTimeoutError, TimedOut),
    (aiohttp.ServerTimeoutError, TimedOut),
    (aiohttp.ClientPayloadError, Truncated),
    (aiohttp.ServerDisconnectedError, Unreachable),
    (aiohttp.ClientProxyConnectionError, Unreachable),
    (aiohttp.ClientHttpProxyError, Unreachable),
    (aiohttp.ClientConnectorError, Unreachable),
    (aiohttp.ClientOSError, Unreachable),
    (aiohttp.ClientConnectionError, Unreachable),
    (aiohttp.InvalidURL, ProtocolError),
    (aiohttp.NonHttpUrlClientError, Forbidden),
    (aiohttp.ClientResponseError, ProtocolError),
    (aiohttp.ClientError, ProtocolError),
    (ssl.SSLError, Insecure),
    (socket.gaierror, Unresolved),
    (TimeoutError, TimedOut),
    (ConnectionError, Unreachable),
    (OSError, Unreachable),
    # aiohttp hands some malformed answers on as what its parsers raise
    (aiohttp.http_exceptions.HttpProcessingError, ProtocolError),
    (ValueError, ProtocolError),
    (AssertionError, ProtocolError),
)

_QUOTE: Final = re.compile(r" (?:b['\"]|bytearray\()")
"""Where a parser's message begins to quote the server."""

_NAMELESS: Final = {
    ConnectionResetError: errno.ECONNRESET,
    ConnectionAbortedError: errno.ECONNABORTED,
    ConnectionRefusedError: errno.ECONNREFUSED,
    BrokenPipeError: errno.EPIPE,
}

_ERRNO: Final = re.compile(r"\[Errno (\d+)\]")

_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


def as_fetch_error(error: BaseException, phase: str) -> FetchError | None:
    """Our image of a foreign error; None: it has none, it is a bug (or the disk's) and propagates.

    `phase` (dns, connect, first-byte, idle, total) is what a timeout is named after.
    """
    if isinstance(error, FetchError):
        return error
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return None
    cause: BaseException | None = error
    while cause is not None:  # ours may come wrapped: the resolver's and the guard's
        if isinstance(cause, FetchError):
            return cause
        cause = cause.__cause__
    for foreign, image in IMAGES:
        if isinstance(error, foreign):
            return image(_detail(error, image, phase))
    return None


def _detail(error: BaseException, image: type[FetchError], phase: str) -> str:
    if image is TimedOut:
        return "connect" if isinstance(error, aiohttp.ConnectionTimeoutError) else phase
    if image is Insecure:
        inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
        reason = str(getattr(inner, "reason", None) or "").replace("_", " ").lower()
        return _line(getattr(inner, "verify_message", "") or reason or inner)
    if isinstance(error, aiohttp.ClientPayloadError):
        return _cut(error)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _line(f"proxy answers {error.status} {error.message}")
    if isinstance(error, aiohttp.ClientResponseError):
        return _line(_QUOTE.split(" ".join(error.message.split()), maxsplit=1)[0].rstrip(": "))
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "server disconnected"
    if isinstance(error, OSError):
        proxy = "proxy " if isinstance(error, aiohttp.ClientProxyConnectionError) else ""
        return f"{proxy}{word_of(error)}"
    return _line(error)


def word_of(error: OSError) -> str:
    """The system's short word (`connrefused`, `hostunreach`), else the first line of the text."""
    if isinstance(error, socket.gaierror):
        return "dns"
    if error.errno and error.errno > 0:
        return _word(error.errno)
    inner = getattr(error, "os_error", error)
    if inner.__class__ in _NAMELESS:  # asyncio's own, of a connection that ended in its handshake
        return _word(_NAMELESS[inner.__class__])
    # Several addresses failed, each in its way: the text alone has the numbers.
    several = dict.fromkeys(_word(int(one)) for one in _ERRNO.findall(str(error)))
    return ", ".join(several) or _line(error)


def _word(number: int) -> str:
    return errno.errorcode.get(number, str(number)).lower().removeprefix("e")


def _cut(error: aiohttp.ClientPayloadError) -> str:
    """Why a body is not whole; aiohttp has it in the text alone."""
    for name, detail in (
        ("ContentLengthError", "shorter than its Content-Length"),
        ("TransferEncodingError", "chunks break off"),
    ):
        if name in str(error):
            return detail
    return _line(error)


def _line(text: object) -> str:
    """The first line of a foreign message, printable and short; it can quote the server."""
    first = (str(text).strip().splitlines() or [type(text).__name__])[0]
    return "".join(char if char.isprintable() else "?" for char in first)[:120]
