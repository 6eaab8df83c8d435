"""Access control: tokens, hashed at rest, with roles and limits of their own."""

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
from crawler.service.settings import LEAST_TOKEN


class Role(StrEnum):
    """`read` sees everything that is no secret, `admin` also changes."""

    READ = "read"
    ADMIN = "admin"


class AccessToken(msgspec.Struct, frozen=True):
    """Who a request comes from. The token itself is not kept, only its SHA-256."""

    name: str
    hash: bytes
    role: Role
    limits: JobLimits = JobLimits()
    created_at: float = 0.0


LOCAL: Final = AccessToken("local", b"", Role.ADMIN)
"""Whoever can reach a service without tokens, which listens on loopback only."""

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class AccessControl:
    """All tokens, in memory; those made over the API are kept in the register."""

    def __init__(self, register: JobStore, given: list[AccessToken]) -> None:
        self._register = register
        self._given = {token.name: token for token in given}
        self._made: dict[str, AccessToken] = {}

    async def load(self) -> None:
        rows = await self._register.rows("SELECT name, hash, role, limits, created_at FROM token")
        for name, digest, role, limits, created in rows:
            self._made[name] = AccessToken(
                name, digest, Role(role), msgspec.json.decode(limits, type=JobLimits), created
            )

    @property
    def open(self) -> bool:
        """There are no tokens: who reaches us is an admin."""
        return not self._given and not self._made

    def all(self) -> list[AccessToken]:
        return [*self._given.values(), *self._made.values()]

    def who(self, header: str) -> AccessToken | None:
        """The token of an Authorization header; None: none of ours.

        All are compared, each in constant time, so the time tells nothing of how near a guess was.
        """
        if self.open:
            return LOCAL
        scheme, _, secret = header.partition(" ")
        digest = digest_of(secret.strip())
        found = None
        for token in self.all():
            if hmac.compare_digest(token.hash, digest):
                found = token
        return found if scheme.lower() == "bearer" else None

    def limits_of(self, owner: str) -> JobLimits:
        token = self._given.get(owner) or self._made.get(owner)
        return token.limits if token is not None else JobLimits()

    async def make(self, name: str, role: Role, limits: JobLimits) -> str | None:
        """A new token, told this once; None: the name is taken."""
        if name in self._given or name in self._made or name == LOCAL.name:
            return None
        secret = secrets.token_urlsafe(32)
        token = AccessToken(name, digest_of(secret), role, limits, time.time())
        await self._register.write(
            "INSERT INTO token VALUES (?, ?, ?, ?, ?)",
            name, token.hash, role.value, msgspec.json.encode(limits).decode(), token.created_at,
        )  # fmt: skip
        self._made[name] = token
        return secret

    async def drop(self, name: str) -> bool:
        """Whether there was one to drop; those given from outside cannot be."""
        if self._made.pop(name, None) is None:
            return False
        await self._register.write("DELETE FROM token WHERE name = ?", name)
        return True

    def is_given(self, name: str) -> bool:
        return name in self._given

    def is_last_admin(self, name: str) -> bool:
        """Whether nobody could change anything any more without it."""
        admins = [token.name for token in self.all() if token.role is Role.ADMIN]
        return admins == [name]


def digest_of(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def given_tokens(environ: Mapping[str, str]) -> list[AccessToken]:
    """Tokens from CRAWLER_SERVICE_TOKEN, …_READ_TOKEN and the files that …_FILE name.

    Raises ConfigError for one that is too short to be a secret, or a file that cannot be read.
    """
    tokens = []
    for variable, name, role in (
        ("TOKEN", "admin", Role.ADMIN),
        ("READ_TOKEN", "reader", Role.READ),
    ):
        secret = environ.get(f"{SERVICE}{variable}", "")
        place = f"{SERVICE}{variable}"
        if path := environ.get(f"{SERVICE}{variable}_FILE", ""):
            place = f"{SERVICE}{variable}_FILE"
            try:
                secret = Path(path).read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"{place}: {path}: cannot be read") from error
        secret = secret.strip()
        if not secret:
            continue
        if len(secret) < LEAST_TOKEN or not secret.isprintable() or " " in secret:
            raise ConfigError(
                f"{place}: a token has at least {LEAST_TOKEN} characters and no spaces; "
                "make one with: openssl rand -base64 32"
            )
        tokens.append(AccessToken(name, digest_of(secret), role))
    return tokens


class RequestLimiter:
    """Requests of callers: `rate` a second each, `burst` at once (a token bucket)."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._callers: dict[str, tuple[float, float]] = {}

    def wait(self, caller: str, now: float) -> float:
        """Count a request; seconds that it comes too early, 0 when it may pass."""
        level, then = self._callers.get(caller, (self._burst, now))
        level = min(self._burst, level + (now - then) * self._rate)
        if level < 1.0:
            self._callers[caller] = (level, now)
            return (1.0 - level) / self._rate
        if len(self._callers) > 10_000:
            self._callers.clear()
        self._callers[caller] = (level - 1.0, now)
        return 0.0
