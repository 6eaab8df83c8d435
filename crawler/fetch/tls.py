"""Whom we trust, and to whom we show a certificate of our own."""

from __future__ import annotations

import logging
import ssl

from crawler.config import FetchConfig
from crawler.errors import ConfigError

log = logging.getLogger(__name__)


class TlsContexts:
    """One context for everyone; one that shows our certificate, for the seeds' origins."""

    def __init__(self, rules: FetchConfig) -> None:
        self._rules = rules
        self.everyone: ssl.SSLContext
        self.own: ssl.SSLContext | None = None  # None: we have no certificate to show

    def open(self) -> None:
        """Read the files. Raises ConfigError that names the one that is unfit."""
        self.everyone = self._context()
        if self._rules.insecure:
            log.warning("TLS is not verified: whoever is on the way can read and change what comes")
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
