"""Checksums: how people and servers write them, and how a file is held against them.

sha256:ab12…   --checksum, JSONL (`sha-256=ab12…` as aria2 has it, too)
ab12…  name    SHA256SUMS and the like, from coreutils or BSD
sha-256=:…:    Repr-Digest (RFC 9530); `Digest: SHA-256=…` (RFC 3230)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from crawler.errors import ConfigError

LENGTHS: Final = {
    "md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128,
    "blake2b": 128, "blake2s": 64, "crc32c": 8,
}  # fmt: skip
"""Algorithms and the hexadecimal digits of their digests."""

_BY_LENGTH: Final = {32: "md5", 40: "sha1", 56: "sha224", 64: "sha256", 96: "sha384",
                     128: "sha512"}  # fmt: skip

STRONGEST: Final = ("sha512", "sha384", "sha256", "blake2b", "blake2s", "sha224", "sha1", "md5",
                    "crc32c")  # fmt: skip

PIECE: Final = 1024 * 1024

_GNU: Final = re.compile(r"\\?([0-9A-Fa-f]{8,128}) [ *](.+)")
_BSD: Final = re.compile(r"([A-Za-z0-9-]+) \((.+)\) = ([0-9A-Fa-f]+)")


class Checksum(Protocol):
    """What is asked of a hash."""

    def update(self, data: Any, /) -> object: ...
    def hexdigest(self) -> str: ...


def checksum(text: str) -> tuple[str, str]:
    """`sha256:hex`, `sha-256=hex` or a bare digest whose length tells. Raises ValueError."""
    match = re.fullmatch(r"(?:([A-Za-z0-9-]+)[:=])?([0-9A-Fa-f]+)", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not ALGORITHM:HEX")
    digest = match[2].lower()
    name = algorithm(match[1]) if match[1] else _BY_LENGTH.get(len(digest))
    if name is None:
        raise ValueError(f"{text!r}: of {', '.join(LENGTHS)}, none is meant")
    if len(digest) != LENGTHS[name]:
        raise ValueError(f"{text!r}: {name} has {LENGTHS[name]} digits, not {len(digest)}")
    return name, digest


def algorithm(name: str) -> str | None:
    """Our name for what others call `SHA-256`; None: not one of ours."""
    plain = name.lower().replace("-", "").replace("_", "")
    plain = {"sha": "sha1", "blake2": "blake2b", "blake2b512": "blake2b"}.get(plain, plain)
    return plain if plain in LENGTHS else None


def sums(text: str, name: str) -> dict[str, list[tuple[str, str]]]:
    """Digests by file name, from the text of a SHA256SUMS file. `name` is the file's, for messages
    and, where a digest's length leaves it open, for its algorithm. Raises ConfigError.
    """
    kind = next((known for known in LENGTHS if known in name.lower().replace("-", "")), None)
    found: dict[str, list[tuple[str, str]]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith(("#", ";")):
            continue
        gnu, bsd = _GNU.fullmatch(line), _BSD.fullmatch(line)
        if bsd is not None:
            which, file, digest = algorithm(bsd[1]), bsd[2], bsd[3]
        elif gnu is not None:
            which, file, digest = kind or _BY_LENGTH.get(len(gnu[1])), gnu[2], gnu[1]
        else:
            raise ConfigError(f"{name}:{number}: not a line of checksums")
        if which is None or len(digest) != LENGTHS[which]:
            raise ConfigError(f"{name}:{number}: not a digest of {which or 'a known algorithm'}")
        found.setdefault(file.removeprefix("./"), []).append((which, digest.lower()))
    return found


def announced(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """What the server says of the whole representation: Repr-Digest and Digest. What cannot be read
    is no check (RFC 9530 §3: unknown algorithms are ignored).
    """
    found = []
    for name, value in headers:
        if name.lower() not in {"repr-digest", "digest"}:
            continue
        for one in value.split(","):
            key, _, coded = one.strip().partition("=")
            which = algorithm(key)
            if which is None:
                continue
            try:
                digest = base64.b64decode(coded.strip(": "), validate=True).hex()
            except (binascii.Error, ValueError):
                continue
            if len(digest) == LENGTHS[which]:
                found.append((which, digest))
    return found


def hashes(names: Iterable[str]) -> dict[str, Checksum]:
    """A fresh hash for each algorithm. Raises ConfigError when crc32c is wanted and not there."""
    return {name: _new(name) for name in names}


def _new(name: str) -> Checksum:
    if name != "crc32c":
        return hashlib.new(name, usedforsecurity=False)
    try:
        import crc32c  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError("crc32c needs the package crc32c: pip install crawler[crc32c]") from error
    made: Checksum = crc32c.CRC32CHash()
    return made


def digests_of(path: Path, names: Iterable[str]) -> dict[str, str]:
    """Digests of a file by algorithm. Blocking; hashing lets other threads run meanwhile."""
    running = hashes(names)
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(PIECE)
        view = memoryview(buffer)
        while count := file.readinto(buffer):
            for one in running.values():
                one.update(view[:count])
    return {name: one.hexdigest() for name, one in running.items()}


def digests(chunks: Sequence[bytes], names: Iterable[str]) -> dict[str, str]:
    """… of what is in memory."""
    running = hashes(names)
    for one in running.values():
        for chunk in chunks:
            one.update(chunk)
    return {name: one.hexdigest() for name, one in running.items()}


def wrong(wanted: Iterable[tuple[str, str]], have: Mapping[str, str]) -> str:
    """The first that does not fit, as `sha256: wanted …, got …`; empty: all fit."""
    for name, digest in wanted:
        if have[name] != digest:
            return f"{name} is {have[name]}, not {digest}"
    return ""


def strongest(have: Mapping[str, str]) -> str:
    """`algorithm:hex` of the best there is; empty: there is none."""
    return next((f"{name}:{have[name]}" for name in STRONGEST if name in have), "")
