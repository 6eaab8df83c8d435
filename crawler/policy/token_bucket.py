"""Bytes a second, held as an average. Pure: time is an argument."""

from __future__ import annotations

GUESS = 32 * 1024
"""Bytes that the first answers are taken to have, until some have come: a page's median on the
wire is about 30 KB (HTTP Archive 2024)."""

SMOOTHING = 0.2


class TokenBucket:
    """A debt in seconds: `due` is when what was taken is paid for at `rate` bytes a second.

    Who must not wait with a connection in hand reserves the bytes that an answer is likely to have
    and corrects that when they have come; who reads, takes what came.
    """

    __slots__ = ("due", "mean", "rate")

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.due = 0.0  # monotonic seconds
        self.mean = float(GUESS)  # bytes of an answer, of late

    def take(self, number: float, now: float) -> float:
        """Take `number` bytes; seconds until they are paid for. Idle time is not saved up."""
        self.due = max(self.due, now) + number / self.rate
        return self.due - now

    def reserve(self, now: float) -> float:
        """Take what an answer has on average; how much that is."""
        self.take(self.mean, now)
        return self.mean

    def correct(self, reserved: float, number: int | None) -> None:
        """`number` bytes came where `reserved` were taken; None: nothing was asked for."""
        self.due += ((number or 0) - reserved) / self.rate
        if number:
            self.mean += SMOOTHING * (number - self.mean)

    def __repr__(self) -> str:
        return f"<Meter {self.rate:g} B/s, paid at {self.due:.3f}>"
