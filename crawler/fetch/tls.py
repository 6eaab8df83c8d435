"""Whom we trust, and to whom we show a certificate of our own."""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import Iterator
from typing import Final

from crawler.config import FetchConfig
from crawler.errors import ConfigError

log = logging.getLogger(__name__)


_LATER: Final[set[ssl.SSLContext]] = set()
"""Contexts that know no authority yet, and so trust nobody."""


@contextlib.contextmanager
def authorities_later() -> Iterator[None]:
    """What is imported in the block makes its contexts without reading the system's authorities.

    aiohttp reads them twice on import, 17 ms of CPU each, and a crawl needs them once or never.
    `with_authorities` makes up for it; a context that it never sees refuses every server. For a
    process that is ours alone: in another, somebody else may use aiohttp's own contexts.
    """
    ssl.SSLContext.set_default_verify_paths = _put_off  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del ssl.SSLContext.set_default_verify_paths  # what it inherits shows again


def with_authorities(context: ssl.SSLContext | None) -> None:
    """See that a context which is about to be used knows whom to trust."""
    if context in _LATER:
        _LATER.discard(context)
        context.set_default_verify_paths()


def _put_off(context: ssl.SSLContext) -> None:
    _LATER.add(context)


class TlsContexts:
    """One context for everyone; one that shows our certificate, for the seeds' origins."""

    def __init__(self, rules: FetchConfig) -> None:
        self._rules = rules
        self.everyone: ssl.SSLContext | bool = True  # True: aiohttp's own, which is strict
        self.own: ssl.SSLContext | None = None  # None: we have no certificate to show

    def open(self) -> None:
        """Read the files, and warn where nothing is verified. Raises ConfigError as `read` does."""
        self.read()
        if self._rules.insecure:
            log.warning("TLS is not verified: whoever is on the way can read and change what comes")

    def read(self) -> None:
        """Read the files. Raises ConfigError that names the one that is unfit."""
        if self._rules.insecure or self._rules.ca_certificate is not None:
            self.everyone = self._context()  # reading the system's authorities again costs 15 ms
        rules = self._rules
        if rules.certificate is None:
            if rules.private_key is not None:
                raise ConfigError("fetch.private_key needs fetch.certificate")
            return
        self.own = self._context()
        try:
            # An encrypted key asks nobody: a crawl at night has no terminal.
            self.own.load_cert_chain(rules.certificate, rules.private_key, password=_nobody)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise ConfigError(
                f"fetch.certificate: {rules.certificate}: {_reason(error)}"
            ) from error

    def _context(self) -> ssl.SSLContext:
        rules = self._rules
        context = ssl.create_default_context()
        if rules.ca_certificate is not None:
            try:
                context.load_verify_locations(rules.ca_certificate)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(
                    f"fetch.ca_certificate: {rules.ca_certificate}: {_reason(error)}"
                ) from error
        if rules.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _nobody() -> str:
    raise ValueError("the private key is encrypted; give one that is not")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return "not a usable PEM file" if not error.reason else error.reason.replace("_", " ")
    return getattr(error, "strerror", None) or str(error)
