"""Bytes of any encoding as UTF-8, piece by piece: what lists and expat are read from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final

import webencodings

_BOMS: Final = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16le"), (b"\xfe\xff", "utf-16be"))
_WITHOUT_BOM: Final = tuple(
    (start, name)
    for one in (b"<", b"h", b"H", b"{")  # XML (1.0, appendix F), an address, JSON (RFC 4627 §3)
    for start, name in ((one + b"\0", "utf-16le"), (b"\0" + one, "utf-16be"))
)
_DECLARED: Final = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*(["'])([^"'>]*)\1""")


def in_utf8(pieces: Iterable[bytes], charset: str, problems: list[str]) -> Iterator[bytes]:
    """The text without its byte order mark. `charset` is what HTTP says, "" for nothing.

    A byte order mark decides, then HTTP, then the XML declaration (RFC 7303 §3), else it is UTF-8.
    What is UTF-8 is passed on as it stands, right or wrong; elsewhere what cannot be decoded is
    replaced and counted.
    """
    pieces = iter(pieces)
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= 256:  # an XML declaration is within them
            break
    encoding = _encoding(head, charset)
    bom = next((bom for bom, _ in _BOMS if head.startswith(bom)), b"")
    pieces = chain([head[len(bom) :]], pieces)
    if encoding.name == "utf-8":
        yield from pieces
        return
    decoder = encoding.codec_info.incrementaldecoder("replace")
    replaced = 0
    try:
        for text in chain(map(decoder.decode, pieces), (decoder.decode(b"", True) for _ in "x")):
            replaced += text.count("\ufffd")
            yield text.encode("utf-8", "replace")
    finally:
        if replaced:
            problems.append(f"{replaced} characters are not {encoding.name}")


def _encoding(head: bytes, charset: str) -> Any:
    for start, name in (*_BOMS, *_WITHOUT_BOM):
        if head.startswith(start):
            return webencodings.lookup(name)
    if (encoding := webencodings.lookup(charset)) is not None:
        return encoding
    declared = _DECLARED.match(head)
    label = declared[2].decode("ascii", "replace") if declared else ""
    encoding = webencodings.lookup(label)
    # Whose declaration can be read is not UTF-16, whatever it declares.
    if encoding is None or encoding.name.startswith("utf-16"):
        return webencodings.UTF8
    return encoding
