"""The Link header (RFC 8288), read as its appendix B.2 does: what is odd spoils only itself.

A quote that is never closed, or closes in the middle of a word (`rel="next, </b>; rel="prev"`), is
none: its value ends where one without quotes would. Single quotes around a value are taken off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_TARGET: Final = re.compile(r"[\s,]*<([^>]*)>")
_PARAMETER: Final = re.compile(
    r"\s*;\s*([^\s=;,\"<>]*)\s*(?:=\s*(?:\"((?:[^\"\\]|\\.)*+)\"(?=\s*(?:[;,]|\Z))|\"?([^;,\"]*)))?"
)
_ESCAPE: Final = re.compile(r"\\(.)")
_BEYOND_ASCII: Final = re.compile(r"[\x80-\xff]")


def read_link_header(value: str) -> Iterator[dict[str, str | None]]:
    """Each link as the attributes that a `<link>` element would have; the first of a name counts.
    `value` is Latin-1, as bytes are told; those of a target beyond ASCII are percent-encoded.

    A link with an `anchor` speaks of another page (§3.2) and is left out.
    """
    at = 0
    while True:  # as many as a head has room for
        target = _TARGET.match(value, at)
        if target is None:
            return
        at = target.end()
        attributes: dict[str, str | None] = {
            "href": _BEYOND_ASCII.sub(lambda byte: f"%{ord(byte[0]):02X}", target[1].strip())
        }
        while parameter := _PARAMETER.match(value, at):
            at = parameter.end()
            name, quoted, plain = parameter[1].lower(), parameter[2], parameter[3]
            said = _ESCAPE.sub(r"\1", quoted) if quoted is not None else _bare(plain or "")
            if name and name != "href":
                attributes.setdefault(name, said)
        if "anchor" not in attributes:
            yield attributes
        comma = value.find(",", at)  # whatever else stands there
        if comma < 0:
            return
        at = comma


def _bare(value: str) -> str:
    value = value.rstrip()
    quoted = len(value) > 1 and value[0] == value[-1] == "'"
    return value[1:-1] if quoted else value
