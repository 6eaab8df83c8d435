"""The set of byte ranges of a file that are present, as half-open spans. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable


class ByteRanges:
    """Sorted, disjoint, non-adjacent spans `(start, end)`; `end` is exclusive."""

    def __init__(self, spans: Iterable[tuple[int, int]] = ()) -> None:
        self._spans: list[tuple[int, int]] = []
        for start, end in spans:
            self.add(start, end)

    def add(self, start: int, end: int) -> None:
        """Add the bytes from `start` up to `end` (exclusive); spans that touch are merged."""
        if start >= end:
            return
        first = bisect_left(self._spans, start, key=lambda span: span[1])
        last = first
        while last < len(self._spans) and self._spans[last][0] <= end:
            start = min(start, self._spans[last][0])
            end = max(end, self._spans[last][1])
            last += 1
        self._spans[first:last] = [(start, end)]

    def gaps(self, size: int) -> list[tuple[int, int]]:
        """The spans that are missing in a file of `size` bytes."""
        missing, at = [], 0
        for start, end in self._spans:
            if at < start:
                missing.append((at, min(start, size)))
            at = max(at, end)
            if at >= size:
                return missing
        if at < size:
            missing.append((at, size))
        return missing

    @property
    def empty(self) -> bool:
        """Whether no byte is present."""
        return not self._spans

    @property
    def total(self) -> int:
        """The number of bytes present."""
        return sum(end - start for start, end in self._spans) if self._spans else 0

    def as_tuple(self) -> tuple[tuple[int, int], ...]:
        """The spans, in order."""
        return tuple(self._spans)

    def __repr__(self) -> str:
        return f"<ByteRanges {self._spans}>"
