"""Whom we trust, what we speak with old servers, and to whom we show a certificate of our own."""

from __future__ import annotations

import logging
import ssl
from functools import cached_property
from typing import Final

from crawler.config.model import FetchConfig
from crawler.errors import ConfigError

log = logging.getLogger(__name__)

CIPHERS: Final = "DEFAULT:!aDSS:!PSK:!SRP:@SECLEVEL=2"
"""OpenSSL's own list, as curl and wget offer it. Python's leaves out the exchange of keys by RSA,
which browsers still know and a few servers know alone."""

OLD_CIPHERS: Final = "ALL:!aNULL:!eNULL:!PSK:!SRP:@SECLEVEL=0"
"""… with keys, hashes and protocols (TLS 1.0 and 1.1) that are too weak by now."""

OP_LEGACY_SERVER_CONNECT: Final = 0x4
"""Renegotiation without RFC 5746; Python names it from 3.12 on."""


class TlsContexts:
    """One context for everyone; one that shows our certificate, for the seeds' origins."""

    def __init__(self, rules: FetchConfig) -> None:
        self._rules = rules
        self.own: ssl.SSLContext | None = None  # None: we have no certificate to show

    @cached_property
    def everyone(self) -> ssl.SSLContext:
        """Made when it is first asked for: reading the system's authorities costs 20 ms."""
        return self._context()

    def open(self) -> None:
        """Read the files, and warn where little is verified. Raises ConfigError as `read` does."""
        self.read()
        if self._rules.insecure:
            log.warning("TLS is not verified: whoever is on the way can read and change what comes")
        elif self._rules.tls_legacy:
            log.warning("TLS may be as weak as old servers have it: it can be broken on the way")

    def read(self) -> None:
        """Read the files. Raises ConfigError that names the one, or the setting, that is unfit."""
        rules = self._rules
        if rules.ca_certificate is not None or rules.ciphers is not None:
            _ = self.everyone
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
        context.set_alpn_protocols(["http/1.1"])
        if rules.tls_legacy:
            context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            context.options |= OP_LEGACY_SERVER_CONNECT
        try:
            context.set_ciphers(rules.ciphers or (OLD_CIPHERS if rules.tls_legacy else CIPHERS))
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(f"fetch.ciphers: {rules.ciphers!r}: {_reason(error)}") from error
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
        if reason := getattr(error, "reason", None):  # Python's own errors have none
            return str(reason).replace("_", " ")
        return "no such cipher" if "cipher" in str(error) else "not a usable PEM file"
    return getattr(error, "strerror", None) or str(error)
