"""A page's visible text as 64 bits in which near texts are near: Charikar's simhash, ours.

What is hashed are pairs of neighbouring words, with every digit read as 0: a counter, a date or a
price alone does not make a page new. Of a long text only the `KEPT` pairs with the smallest hashes
count, a sample that near texts share. No package on PyPI is both kept and fast enough
(docs/decisions/0021); how near is near: `crawler/traps.py`.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from operator import sub
from typing import Final
from zlib import crc32

MOST: Final = 8_192
"""Characters that are looked at; a longer text is known by its beginning."""

KEPT: Final = 64
"""Pairs that count: more make it slower in proportion, fewer make one word weigh too much."""

_FOLD: Final = bytes.maketrans(b"123456789", b"000000000")
_SPREAD: Final = 0x9E3779B97F4A7C15F39CC0605CEDC835  # 2¹²⁸/φ: makes 64 even bits of 32
_MASK: Final = (1 << 64) - 1
_ZEROS: Final = int.from_bytes(("0" * 64).encode("utf-16-le"), "little")


def simhash(text: str) -> int | None:
    """64 bits; None for a text without a word, which is near to nothing."""
    words = text[:MOST].encode("utf-8", "replace").translate(_FOLD).split()
    if not words:
        return None
    weights = _sample(list(map(crc32, words)))
    # Every bit is a digit of 16 bits in one large number: one addition sums all 64 of them.
    total = heavy = 0
    for pair, times in weights.items():
        weight = times.bit_length()  # what a page repeats a hundred times is not a hundred things
        digits = f"{pair * _SPREAD >> 48 & _MASK:064b}".encode("utf-16-le")
        total += weight * (int.from_bytes(digits, "little") - _ZEROS)
        heavy += weight
    sums = memoryview(total.to_bytes(128, "little")).cast("H")
    return int("".join(["1" if 2 * ones > heavy else "0" for ones in sums]), 2)


def _sample(words: list[int]) -> dict[int, int]:
    """How often each of the `KEPT` smallest pairs occurs; all of them when there are fewer.

    A pair is the difference of its words' hashes: cheap, evenly spread, and another one backwards.
    """
    pairs = list(map(sub, words, islice(words, 1, None))) or words
    if len(pairs) > 4 * KEPT:
        # Looking at the lowest part of them is as good, and quicker.
        limit = (KEPT << 32) // len(pairs)
        low = Counter([pair for pair in pairs if -limit < pair < limit])
        if len(low) >= KEPT:
            return {pair: low[pair] for pair in sorted(low, key=abs)[:KEPT]}
    every = Counter(pairs)
    return {pair: every[pair] for pair in sorted(every, key=abs)[:KEPT]}
