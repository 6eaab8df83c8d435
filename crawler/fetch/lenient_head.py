"""A head of HTTP/1.1 as curl and browsers read it, when a strict parser refuses it. Pure.

What they read and what not, line by line: docs/http.md.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp.http import HttpVersion10, HttpVersion11
from multidict import CIMultiDict

if TYPE_CHECKING:
    from aiohttp.http import HttpVersion
    from multidict import MultiMapping

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
"""Statuses whose Location is followed (Fetch §2.2.3)."""

MAX_LENGTH: Final = 2**63 - 1

_STATUS: Final = re.compile(
    rb"HTTP(?=[/ \t]|$)(?:/([0-9]+)(?:\.([0-9]+))?)?[^ \t]*(?:[ \t]+([0-9]*)(.*))?", re.IGNORECASE
)
_LENGTH: Final = re.compile(r"\+?([0-9]+)")


class HeadRefused(Exception):
    """Neither curl nor a browser makes sense of it, or they see a danger in it."""


class LenientHead(msgspec.Struct, frozen=True):
    """`headers` are for looking things up, `fields` as they were sent."""

    version: HttpVersion
    code: int
    reason: str
    headers: CIMultiDict[str]
    fields: tuple[tuple[bytes, bytes], ...]

    def length(self) -> int | None:
        """Bytes of the body; None: it ends with the connection. Raises Refused for several."""
        lengths: set[int | None] = set()
        for value in ",".join(self.headers.getall("Content-Length", ())).split(","):
            number = _LENGTH.match(value.strip())
            lengths.add(int(number[1][:30]) if number else None)
        if len(lengths) > 1:
            raise HeadRefused
        length = lengths.pop()
        return None if length is None or length > MAX_LENGTH else length


def is_chunked(headers: MultiMapping[str]) -> bool:
    """Whether a body comes in chunks, which then is all that counts (RFC 9112 §6.3)."""
    codings = ",".join(headers.getall("Transfer-Encoding", ())).lower().split(",")
    return "chunked" in [coding.strip() for coding in codings]


def read_head(lines: list[bytes]) -> LenientHead:
    """A status line and fields, each without its line feed. Raises Refused."""
    status = _STATUS.match(lines[0].rstrip(b"\r"))
    if status is None or len(code := status[3] or b"200") != 3:  # none: browsers take it for 200
        raise HeadRefused
    parts: list[tuple[bytes, list[bytes]]] = []  # of the fields; several where they are folded
    for line in lines[1:]:
        if b"\0" in line:
            raise HeadRefused
        plain = line.rstrip(b"\r").replace(b"\r", b" ")  # RFC 9112 §2.2
        name, colon, value = plain.partition(b":")
        if plain[:1] in {b" ", b"\t"} and parts:  # folded (§5.2)
            parts[-1][1].append(plain.strip(b" \t"))
        elif colon and (name := name.strip(b" \t")):
            parts.append((name, [value.strip(b" \t")]))
    fields = [(name, b" ".join(some).strip()) for name, some in parts]
    headers: CIMultiDict[str] = CIMultiDict(
        [
            (name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
            for name, value in fields
        ]
    )
    version = int((status[1] or b"1")[:9]), int((status[2] or b"0")[:9])
    return LenientHead(
        HttpVersion11 if version >= (1, 1) else HttpVersion10,
        int(code),
        (status[4] or b"").strip().decode("utf-8", "surrogateescape"),
        headers,
        tuple(fields),
    )
