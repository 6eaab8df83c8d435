"""Which bytes of a file are there: a set of half-open spans. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable


class ByteRanges:
    """Sorted, disjoint, not touching; grows by `add`, which joins what meets."""

    def __init__(self, spans: Iterable[tuple[int, int]] = ()) -> None:
        self._spans: list[tuple[int, int]] = []
        for start, end in spans:
            self.add(start, end)

    def add(self, start: int, end: int) -> None:
        """The bytes from `start` up to, not including, `end` are there too."""
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
        """What is missing of a file of this size."""
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
        """Nothing is there."""
        return not self._spans

    @property
    def total(self) -> int:
        """How many bytes are there."""
        return sum(end - start for start, end in self._spans) if self._spans else 0

    def tuple(self) -> tuple[tuple[int, int], ...]:
        return tuple(self._spans)

    def __repr__(self) -> str:
        return f"<Spans {self._spans}>"
