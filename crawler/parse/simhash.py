"""A page's visible text as 64 bits in which near texts are near: Charikar's simhash, ours.

What is hashed are pairs of neighbouring words, with every digit read as 0: a counter, a date or a
price alone does not make a page new. Only `KEPT` pairs count, a sample that near texts share: first
those that begin with a frequent letter, smallest hash first, then with one of four others; where
they are too few, in short texts, and in other scripts than Latin, the smallest of all. No package
on PyPI is both kept and fast enough (docs/decisions/0021, 0063); how near: `policy/trap_rules.py`.
"""

from __future__ import annotations

import re
from itertools import islice
from struct import pack
from typing import Final
from zlib import crc32

MOST: Final = 8_192
"""Characters that are looked at; a longer text is known by its beginning."""

KEPT: Final = 64
"""Pairs that count, at most 127: more make it slower, fewer make one word weigh too much."""

_FOLD: Final = bytes.maketrans(b"123456789", b"000000000")
_FIRST: Final = (re.compile(rb" t[^ ]* [^ ]+").findall, re.compile(rb" [saio][^ ]* [^ ]+").findall)
_SPREAD: Final = 0x9E3779B97F4A7C15F39CC0605CEDC835  # 2¹²⁸/φ: makes 64 even bits of 32
_MASK: Final = (1 << 64) - 1
_LOWEST: Final = int.from_bytes(b"\1" * 8 * KEPT, "big")  # of each byte of all rows
_ONES: Final = _LOWEST & _MASK


def simhash(text: str) -> int | None:
    """64 bits; None for a text without a word, which is near to nothing."""
    start = text[:MOST]
    raw = start.encode("utf-8", "replace").translate(_FOLD)
    # Where another script is read, an English menu must not speak for the whole page.
    latin = len(raw) - len(start) <= len(start) >> 4
    raw = b" " + raw.strip()
    if b"  " in raw:  # never in what the reader has run together
        raw = b" " + b" ".join(raw.split())
    kept: list[int] = []
    for pairs_in in _FIRST if latin else ():
        kept += sorted(map(crc32, set(pairs_in(raw))))[: KEPT - len(kept)]
        if len(kept) == KEPT:
            break
    else:
        words = raw.split()
        if not words:
            return None
        # The second word's sum goes on from the first one's: a pair's own, another one backwards.
        sums = list(map(crc32, words))
        pairs = set(map(crc32, islice(words, 1, None), sums)) or sums
        kept += sorted(pairs)[: KEPT - len(kept)]
    return _majority([pair * _SPREAD >> 48 & _MASK for pair in kept])


def _majority(rows: list[int]) -> int:
    """Each bit as it is in more than half of the rows.

    Eight bits of a row at a time, one in each byte: the remainder of all rows, written as one
    number, by 2⁶⁴ - 1 is their sum, and no byte of it runs over.
    """
    every = int.from_bytes(pack(f">{len(rows)}Q", *rows), "big")
    more = _ONES * (127 - (len(rows) >> 1))  # lifts what is more than half to 128
    bits = 0
    for at in range(8):
        sums = (every >> at & _LOWEST) % _MASK
        bits |= (sums + more >> 7 & _ONES) << at
    return bits
