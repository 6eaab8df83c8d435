"""The way through proxies: HTTP(S) by aiohttp, SOCKS5 by aiohttp-socks. Their logins stay here.

The proxy looks the names up, so a name's address cannot be judged on this side; an address written
in a URL is judged as ever.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from crawler.config.model import FetchConfig
from crawler.config.proxy_env import VARIABLES, goes_without
from crawler.config.redaction import split_login
from crawler.errors import ConfigError, FetchError, TimedOut, Unreachable, Unresolved
from crawler.fetch.connector import Connector
from crawler.fetch.error_map import word_of

HTTP: Final = frozenset({"http", "https"})
SOCKS: Final = frozenset({"socks5", "socks5h"})


class Proxy:
    """One proxy. Raises ConfigError, which names `key`, for a URL that names none."""

    def __init__(self, given: str, key: str = "fetch.proxy") -> None:
        self.url, login = split_login(given)  # without its login
        self.http: str | None = None  # what aiohttp is told; it takes the login out again
        try:
            parts = urlsplit(self.url)
            self._host, self._port = parts.hostname or "", parts.port or 1080
        except ValueError as error:
            raise ConfigError(f"{key}: {self.url!r}: {error}") from error
        if parts.scheme not in HTTP | SOCKS or not self._host:
            raise ConfigError(
                f"{key}: {self.url!r}: expected http://, https:// or socks5://HOST:PORT"
            )
        user, _, password = login.partition(":")
        self._socks = parts.scheme in SOCKS
        self._login = (user, password) if login else None
        if not self._socks:
            self.http = given

    def connector(self, settings: dict[str, Any]) -> aiohttp.TCPConnector | None:
        """What connects through a SOCKS proxy; None where a usual connector will do."""
        if not self._socks:
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


class Proxies:
    """Which origin is reached through which proxy. Raises ConfigError as `Proxy` does."""

    def __init__(self, rules: FetchConfig) -> None:
        self._without = rules.no_proxy
        if rules.proxy is not None:
            self._by_scheme = {"all": Proxy(rules.proxy)}
        else:
            if odd := rules.scheme_proxies.keys() - VARIABLES.keys():
                raise ConfigError(f"fetch.scheme_proxies: {min(odd)!r} is none of http, https, all")
            self._by_scheme = {
                scheme: Proxy(given, f"fetch.scheme_proxies ({scheme}_proxy)")
                for scheme, given in rules.scheme_proxies.items()
            }
        self.of = lru_cache(4096)(self._of)

    @property
    def all(self) -> list[Proxy]:
        return list(self._by_scheme.values())

    def _of(self, origin: str) -> Proxy | None:
        """None: it is reached without."""
        parts = urlsplit(origin)
        proxy = self._by_scheme.get(parts.scheme) or self._by_scheme.get("all")
        if proxy is None or not self._without:
            return proxy
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return None if goes_without(parts.hostname or "", port, self._without) else proxy


def as_proxys(error: FetchError | None, url: str) -> FetchError | None:
    """What went wrong before an answer came, as the proxy's where nobody else can have done it.

    It looks the names up, so a name that we could not look up is its own. A `http` URL is asked
    for on the connection to it; through a tunnel the site may be the one that hung up.
    """
    if isinstance(error, Unresolved):
        return Unreachable(f"proxy dns: {error.detail}")
    named = error is None or error.detail.startswith("proxy")
    if type(error) is Unreachable and not named and url.startswith("http://"):
        return Unreachable(f"proxy {error.detail}")
    return error


def _refusal(error: Exception) -> str:
    """Why a SOCKS proxy did not let us through: it is not there, or says no (RFC 1928 §6)."""
    cause = error.__cause__
    if isinstance(cause, OSError):
        return f"proxy {word_of(cause)}"
    return f"proxy: {error}".rstrip(": ")[:120]
