"""Queries in the encoding of their page: `?w=é` on a page in windows-1252 asks for `?w=%E9`.

WHATWG URL, "percent-encode after encoding"; the encoders are the Encoding standard's, their tables
the inverse of the decoders that turbohtml brings, made when the first query needs one (25 ms).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final

import turbohtml.detect  # noqa: F401 - registers the decoders

Table = Mapping[int, bytes]

_PLAIN: Final = frozenset(range(0x21, 0x7F)) - frozenset(b"\"#<>'")
"""Bytes that stay as they are: all but the special-query percent-encode set."""

_YEN: Final = {0xA5: b"\x5c", 0x203E: b"\x7e"}
_TAIL: Final = 0x80


def encoded_query(href: str, charset: str) -> str:
    """The reference with its query in ASCII, if it has one that is not; fragment and path stay."""
    if href.isascii() or "?" not in href:
        return href
    rest, mark, fragment = href.partition("#")
    path, question, query = rest.partition("?")
    if query.isascii():
        return href
    query = query.translate(_DROPPED)
    return f"{path}{question}{percent_encoded(query, charset)}{mark}{fragment}"


_DROPPED: Final = dict.fromkeys(map(ord, "\t\n\r"))
"""What a parser of URLs takes out before anything else."""


def percent_encoded(text: str, charset: str) -> str:
    """The text as bytes of an encoding, percent-encoded as a query; what the encoding does not have
    as a numeric character reference (`%26%23NNN%3B`).
    """
    if charset == "iso-2022-jp":
        pieces = _iso_2022_jp(text)
    else:
        encode = _encoder(charset)
        pieces = (encode(ord(one)) or ord(one) for one in text)
    return "".join(
        f"%26%23{piece}%3B" if isinstance(piece, int) else _percent(piece) for piece in pieces
    )


def _percent(data: bytes) -> str:
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in data)


@lru_cache(64)
def _encoder(charset: str) -> Callable[[int], bytes | None]:
    """From a code point to its bytes; None: it has none."""
    table = _table(charset)
    if charset != "gb18030":
        return lambda point: bytes((point,)) if point < _TAIL else table.get(point)

    def gb18030(point: int) -> bytes | None:
        if point < _TAIL:
            return bytes((point,))
        if point == 0xE5E5 or 0xD800 <= point <= 0xDFFF:
            return None
        if point == 0xE7C7:
            return b"\x81\x35\xf4\x37"
        return table.get(point) or chr(point).encode("gb18030")

    return gb18030


@lru_cache(64)
def _table(charset: str) -> Table:
    if charset in {"gbk", "gb18030"}:
        table = _pairs(charset, range(0x81, 0xFF), (*range(0x40, 0x7F), *range(0x80, 0xFF)))
        table.pop(0xE5E5, None)
        return table if charset == "gb18030" else {**table, 0x20AC: b"\x80"}
    if charset == "big5":
        trails = (*range(0x40, 0x7F), *range(0xA1, 0xFF))
        table = _pairs(charset, range(0xA1, 0xFF), trails)
        last = _pairs(charset, range(0xFE, 0xA0, -1), trails[::-1])
        return {**table, **{point: last[point] for point in map(ord, "═╞╡╪十卅")}}
    if charset == "euc-kr":
        return _pairs(charset, range(0x81, 0xFF), range(0x41, 0xFF))
    if charset == "euc-jp":
        table = _pairs(charset, range(0xA1, 0xFF), range(0xA1, 0xFF))
        kana = {0xFEC0 + byte: bytes((0x8E, byte)) for byte in range(0xA1, 0xE0)}
        return {**table, **kana, **_YEN, 0x2212: table[0xFF0D]}
    if charset == "shift_jis":
        # Two rows are elsewhere once more (NEC's selection), ten are for private use.
        leads = (*range(0x81, 0xA0), *range(0xE0, 0xED), 0xEF, *range(0xFA, 0xFD))
        table = _pairs(charset, leads, (*range(0x40, 0x7F), *range(0x80, 0xFD)))
        kana = {0xFEC0 + byte: bytes((byte,)) for byte in range(0xA1, 0xE0)}
        return {**table, **kana, **_YEN, 0x80: b"\x80", 0x2212: table[0xFF0D]}
    return _inverse(charset, (bytes((byte,)) for byte in range(_TAIL, 0x100)))


def _pairs(charset: str, leads: Iterable[int], trails: Iterable[int]) -> dict[int, bytes]:
    trails = tuple(trails)
    return _inverse(charset, (bytes((lead, trail)) for lead in leads for trail in trails))


def _inverse(charset: str, codes: Iterable[bytes]) -> dict[int, bytes]:
    """From code points to the first of the codes that stands for them."""
    table: dict[int, bytes] = {}
    for code in codes:
        text = code.decode(f"whatwg-{charset}")
        if len(text) == 1 and text != "\N{REPLACEMENT CHARACTER}" and text >= "\x80":
            table.setdefault(ord(text), code)
    return table


_ESCAPES: Final = {"ascii": b"\x1b(B", "roman": b"\x1b(J", "jis": b"\x1b$B"}


def _iso_2022_jp(text: str) -> Iterable[bytes | int]:
    """Bytes, and the code points that have none; a text begins and ends in ASCII."""
    table = _table("euc-jp")
    state = "ascii"
    for one in text:
        point = ord(_wide(one))
        if point in {0x0E, 0x0F, 0x1B} and state != "jis":
            yield 0xFFFD
            continue
        if point in _YEN:
            wanted, code = "roman", _YEN[point]
        elif point < _TAIL:
            stays = state == "roman" and point not in b"\x5c\x7e"
            wanted, code = "roman" if stays else "ascii", bytes((point,))
        else:
            pair = table.get(point, b"")
            wanted, code = "jis", bytes(byte & 0x7F for byte in pair)
            if not pair:
                if state == "jis":
                    state = "ascii"
                    yield _ESCAPES[state]
                yield point
                continue
        if wanted != state:
            state = wanted
            yield _ESCAPES[state]
        yield code
    if state != "ascii":
        yield _ESCAPES["ascii"]


def _wide(one: str) -> str:
    """Half-width katakana as the others."""
    if not "\uff61" <= one <= "\uff9f":
        return one
    return {"\uff9e": "\u309b", "\uff9f": "\u309c"}.get(one) or unicodedata.normalize("NFKC", one)
