"""Checksums: the notations of people and servers, and verification of a file against them.

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

DIGEST_HEX_DIGITS: Final = {
    "md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128,
    "blake2b": 128, "blake2s": 64, "crc32c": 8,
}  # fmt: skip
"""Supported algorithms, with the number of hexadecimal digits of a digest."""

_ALGORITHM_BY_DIGITS: Final = {32: "md5", 40: "sha1", 56: "sha224", 64: "sha256", 96: "sha384",
                     128: "sha512"}  # fmt: skip

STRONGEST_FIRST: Final = ("sha512", "sha384", "sha256", "blake2b", "blake2s", "sha224", "sha1",
                          "md5", "crc32c")  # fmt: skip

READ_BYTES: Final = 1024 * 1024
"""Bytes per read of a file to hash."""

_GNU_LINE: Final = re.compile(r"\\?([0-9A-Fa-f]{8,128}) [ *](.+)")
_BSD_LINE: Final = re.compile(r"([A-Za-z0-9-]+) \((.+)\) = ([0-9A-Fa-f]+)")


class Checksum(Protocol):
    """The part of the `hashlib` interface that is used."""

    def update(self, data: Any, /) -> object: ...
    def hexdigest(self) -> str: ...


def parse_checksum(text: str) -> tuple[str, str]:
    """`(algorithm, digest)` of `sha256:hex`, `sha-256=hex`, or a bare digest whose length
    determines the algorithm. Raises ValueError.
    """
    match = re.fullmatch(r"(?:([A-Za-z0-9-]+)[:=])?([0-9A-Fa-f]+)", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not ALGORITHM:HEX")
    digest = match[2].lower()
    name = normalize_algorithm(match[1]) if match[1] else _ALGORITHM_BY_DIGITS.get(len(digest))
    if name is None:
        raise ValueError(f"{text!r}: the algorithm is none of {', '.join(DIGEST_HEX_DIGITS)}")
    if len(digest) != DIGEST_HEX_DIGITS[name]:
        raise ValueError(
            f"{text!r}: {name} has {DIGEST_HEX_DIGITS[name]} digits, not {len(digest)}"
        )
    return name, digest


def normalize_algorithm(name: str) -> str | None:
    """The `hashlib` name of an algorithm written as, e.g., `SHA-256`; None: not supported."""
    plain = name.lower().replace("-", "").replace("_", "")
    plain = {"sha": "sha1", "blake2": "blake2b", "blake2b512": "blake2b"}.get(plain, plain)
    return plain if plain in DIGEST_HEX_DIGITS else None


def parse_sums_file(text: str, name: str) -> dict[str, list[tuple[str, str]]]:
    """Digests by file name, from the text of a SHA256SUMS file. `name` is the file's own name, for
    messages and for the algorithm where a digest's length is ambiguous. Raises ConfigError.
    """
    plain_name = name.lower().replace("-", "")
    file_kind = next((known for known in DIGEST_HEX_DIGITS if known in plain_name), None)
    found: dict[str, list[tuple[str, str]]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith(("#", ";")):
            continue
        gnu, bsd = _GNU_LINE.fullmatch(line), _BSD_LINE.fullmatch(line)
        if bsd is not None:
            kind, file, digest = normalize_algorithm(bsd[1]), bsd[2], bsd[3]
        elif gnu is not None:
            kind = file_kind or _ALGORITHM_BY_DIGITS.get(len(gnu[1]))
            file, digest = gnu[2], gnu[1]
        else:
            raise ConfigError(f"{name}:{number}: not a line of checksums")
        if kind is None or len(digest) != DIGEST_HEX_DIGITS[kind]:
            raise ConfigError(f"{name}:{number}: not a digest of {kind or 'a known algorithm'}")
        found.setdefault(file.removeprefix("./"), []).append((kind, digest.lower()))
    return found


def server_digests(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """`(algorithm, digest)` pairs that the server sent for the whole representation, from
    Repr-Digest and Digest. Unreadable values and unknown algorithms are ignored (RFC 9530 §3).
    """
    found = []
    for name, value in headers:
        if name.lower() not in {"repr-digest", "digest"}:
            continue
        for item in value.split(","):
            key, _, coded = item.strip().partition("=")
            kind = normalize_algorithm(key)
            if kind is None:
                continue
            try:
                digest = base64.b64decode(coded.strip(": "), validate=True).hex()
            except (binascii.Error, ValueError):
                continue
            if len(digest) == DIGEST_HEX_DIGITS[kind]:
                found.append((kind, digest))
    return found


def new_hashers(names: Iterable[str]) -> dict[str, Checksum]:
    """A new hash object for each algorithm. Raises ConfigError when crc32c is wanted but not
    installed.
    """
    return {name: _new_hasher(name) for name in names}


def _new_hasher(name: str) -> Checksum:
    if name != "crc32c":
        return hashlib.new(name, usedforsecurity=False)
    try:
        import crc32c  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigError("crc32c needs the package crc32c: pip install crawler[crc32c]") from error
    made: Checksum = crc32c.CRC32CHash()
    return made


def file_digests(path: Path, names: Iterable[str]) -> dict[str, str]:
    """Digests of a file by algorithm. Blocking; hashing releases the interpreter's lock."""
    hashers = new_hashers(names)
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(READ_BYTES)
        view = memoryview(buffer)
        while count := file.readinto(buffer):
            for hasher in hashers.values():
                hasher.update(view[:count])
    return {name: hasher.hexdigest() for name, hasher in hashers.items()}


def chunk_digests(chunks: Sequence[bytes], names: Iterable[str]) -> dict[str, str]:
    """Digests of bytes in memory by algorithm."""
    hashers = new_hashers(names)
    for hasher in hashers.values():
        for chunk in chunks:
            hasher.update(chunk)
    return {name: hasher.hexdigest() for name, hasher in hashers.items()}


def find_mismatch(wanted: Iterable[tuple[str, str]], have: Mapping[str, str]) -> str:
    """The first digest of `wanted` that differs from `have`, as a message; empty: all are equal."""
    for name, digest in wanted:
        if have[name] != digest:
            return f"{name} is {have[name]}, not {digest}"
    return ""


def strongest_digest(have: Mapping[str, str]) -> str:
    """`algorithm:hex` of the strongest algorithm in `have`; empty: `have` is empty."""
    return next((f"{name}:{have[name]}" for name in STRONGEST_FIRST if name in have), "")
