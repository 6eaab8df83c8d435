"""The way through a proxy: HTTP(S) by aiohttp, SOCKS5 by aiohttp-socks. Its login stays here.

The proxy looks the names up, so a name's address cannot be judged on this side; an address written
in a URL is judged as ever.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from crawler.errors import ConfigError, TimedOut, Unreachable
from crawler.fetch.connector import Connector
from crawler.fetch.errors import word_of
from crawler.secrets import split_login

HTTP: Final = frozenset({"http", "https"})
SOCKS: Final = frozenset({"socks5", "socks5h"})


class Proxy:
    """One proxy for everything, or none. Raises ConfigError for a URL that names no proxy."""

    def __init__(self, given: str | None) -> None:
        self.url: str | None = None  # without its login; None: no proxy
        self.http: str | None = None  # what aiohttp is told; it takes the login out again
        if given is None:
            return
        self.url, login = split_login(given)
        try:
            parts = urlsplit(self.url)
            self._host, self._port = parts.hostname or "", parts.port or 1080
        except ValueError as error:
            raise ConfigError(f"fetch.proxy: {self.url!r}: {error}") from error
        if parts.scheme not in HTTP | SOCKS or not self._host:
            raise ConfigError(
                f"fetch.proxy: {self.url!r}: expected http://, https:// or socks5://HOST:PORT"
            )
        user, _, password = login.partition(":")
        self._socks = parts.scheme in SOCKS
        self._login = (user, password) if login else None
        if not self._socks:
            self.http = given

    def connector(self, settings: dict[str, Any]) -> aiohttp.TCPConnector | None:
        """What connects through a SOCKS proxy; None where a usual connector will do."""
        if self.url is None or not self._socks:
            return None
        try:
            import aiohttp_socks  # noqa: PLC0415 - an extra
        except ImportError:
            raise ConfigError("fetch.proxy: socks5 needs: pip install 'crawler[socks]'") from None
        import python_socks  # noqa: PLC0415 - what the extra stands on

        user, password = self._login or (None, None)
        kept = {key: value for key, value in settings.items() if key in {"tls", "max_exchange"}}

        class Socks(Connector, aiohttp_socks.ProxyConnector):
            """Names are looked up by the proxy; every exchange is judged as on a plain one."""

            async def _connect_via_proxy(self, *args: Any, **named: Any) -> Any:
                try:
                    return await super()._connect_via_proxy(*args, **named)
                except python_socks.ProxyTimeoutError as error:
                    raise TimedOut("connect") from error
                except (python_socks.ProxyConnectionError, python_socks.ProxyError) as error:
                    raise Unreachable(_refusal(error)) from error

        return Socks(
            host=self._host,
            port=self._port,
            proxy_type=aiohttp_socks.ProxyType.SOCKS5,
            username=user,
            password=password,
            rdns=True,
            limit=0,
            **kept,
        )


def _refusal(error: Exception) -> str:
    """Why a SOCKS proxy did not let us through: it is not there, or says no (RFC 1928 §6)."""
    cause = error.__cause__
    if isinstance(cause, OSError):
        return f"proxy {word_of(cause)}"
    return f"proxy: {error}".rstrip(": ")[:120]
