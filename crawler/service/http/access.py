"""Access control: tokens, stored as hashes, each with a role and limits."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from crawler.config.loader import SERVICE
from crawler.errors import ConfigError
from crawler.service.jobs.job import JobLimits
from crawler.service.jobs.job_store import JobStore
from crawler.service.jobs.store_tables import TokenRow
from crawler.service.settings import TOKEN_CHARS_MIN


class Role(StrEnum):
    """`read` sees everything but secrets, `admin` may also change things."""

    READ = "read"
    ADMIN = "admin"


class AccessToken(msgspec.Struct, frozen=True):
    """The sender of a request. The token itself is not stored, only its SHA-256."""

    name: str
    hash: bytes
    role: Role
    limits: JobLimits = JobLimits()
    created_at: float = 0.0


LOCAL: Final = AccessToken("local", b"", Role.ADMIN)
"""Sender of all requests to a service without tokens, which listens on loopback only."""

TOKEN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class AccessControl:
    """All tokens, in memory; those created over the API are also in the job store."""

    def __init__(self, store: JobStore, from_environment: list[AccessToken]) -> None:
        self._store = store
        self._environment_tokens = {token.name: token for token in from_environment}
        self._stored_tokens: dict[str, AccessToken] = {}

    async def load(self) -> None:
        """Read the stored tokens."""
        for row in await self._store.tokens.all():
            self._stored_tokens[row.name] = AccessToken(
                row.name, row.hash, Role(row.role), row.limits, row.created_at
            )

    @property
    def is_open(self) -> bool:
        """Whether there are no tokens: then every request is an admin's."""
        return not self._environment_tokens and not self._stored_tokens

    def all(self) -> list[AccessToken]:
        """Tokens from the environment, then those created over the API."""
        return [*self._environment_tokens.values(), *self._stored_tokens.values()]

    def authenticate(self, header: str) -> AccessToken | None:
        """The token of an Authorization header; None: it is unknown.

        All tokens are compared, each in constant time, so that timing reveals nothing.
        """
        if self.is_open:
            return LOCAL
        scheme, _, secret = header.partition(" ")
        digest = token_hash(secret.strip())
        found = None
        for token in self.all():
            if hmac.compare_digest(token.hash, digest):
                found = token
        return found if scheme.lower() == "bearer" else None

    def limits_of(self, owner: str) -> JobLimits:
        """Limits of a token by name; no limits for an unknown name."""
        token = self._environment_tokens.get(owner) or self._stored_tokens.get(owner)
        return token.limits if token is not None else JobLimits()

    async def create(self, name: str, role: Role, limits: JobLimits) -> str | None:
        """Create a token; returns its value, which is not stored. None: the name is in use."""
        if name in self._environment_tokens or name in self._stored_tokens or name == LOCAL.name:
            return None
        secret = secrets.token_urlsafe(32)
        token = AccessToken(name, token_hash(secret), role, limits, time.time())
        await self._store.tokens.insert(
            TokenRow(name, token.hash, role.value, limits, token.created_at)
        )
        self._stored_tokens[name] = token
        return secret

    async def delete(self, name: str) -> bool:
        """False when there is no stored token of that name."""
        if self._stored_tokens.pop(name, None) is None:
            return False
        await self._store.tokens.delete(name)
        return True

    def is_from_environment(self, name: str) -> bool:
        """Whether the token cannot be deleted over the API."""
        return name in self._environment_tokens

    def is_last_admin(self, name: str) -> bool:
        """Whether it is the only admin token: without it nothing could be changed any more."""
        admins = [token.name for token in self.all() if token.role is Role.ADMIN]
        return admins == [name]


def token_hash(secret: str) -> bytes:
    """SHA-256 of a token. Tokens are random, so that no salt is needed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def tokens_from_environment(environ: Mapping[str, str]) -> list[AccessToken]:
    """Tokens from CRAWLER_SERVICE_TOKEN and …_READ_TOKEN, or from the files that …_FILE names.

    Raises ConfigError for a token that is too short, or a file that cannot be read.
    """
    tokens = []
    for variable, name, role in (
        ("TOKEN", "admin", Role.ADMIN),
        ("READ_TOKEN", "reader", Role.READ),
    ):
        secret = environ.get(f"{SERVICE}{variable}", "")
        source = f"{SERVICE}{variable}"
        if path := environ.get(f"{SERVICE}{variable}_FILE", ""):
            source = f"{SERVICE}{variable}_FILE"
            try:
                secret = Path(path).read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"{source}: {path}: cannot be read") from error
        secret = secret.strip()
        if not secret:
            continue
        if len(secret) < TOKEN_CHARS_MIN or not secret.isprintable() or " " in secret:
            raise ConfigError(
                f"{source}: a token has at least {TOKEN_CHARS_MIN} characters and no spaces; "
                "make one with: openssl rand -base64 32"
            )
        tokens.append(AccessToken(name, token_hash(secret), role))
    return tokens


CALLERS_MAX: Final = 10_000
"""Callers in memory; above that all are forgotten, and start with a full bucket again."""


class RequestLimiter:
    """A token bucket per caller: `rate` requests per second, `burst` at once."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._callers: dict[str, tuple[float, float]] = {}

    def retry_after(self, caller: str, now: float) -> float:
        """Count a request at monotonic time `now`; seconds until it is allowed, 0: it is."""
        level, then = self._callers.get(caller, (self._burst, now))
        level = min(self._burst, level + (now - then) * self._rate)
        if level < 1.0:
            self._callers[caller] = (level, now)
            return (1.0 - level) / self._rate
        if len(self._callers) > CALLERS_MAX:
            self._callers.clear()
        self._callers[caller] = (level - 1.0, now)
        return 0.0
