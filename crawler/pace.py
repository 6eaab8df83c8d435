"""A host's pace: what each answer teaches about how many requests at once it can take. Pure.

Additive increase, multiplicative decrease (Chiu and Jain 1989), with latency as the early sign, as
in TCP Vegas (Brakmo 1994): while answers come nearly as fast as the fastest seen, one more request
at a time is tried; when they slow down, fewer; when the host says 429 or 503, breaks or times out,
half as many, at most once a round trip.
"""

from __future__ import annotations

import msgspec

NEAR = 1.5
FAR = 2.0
SLACK = 0.02
"""Seconds. Answers within NEAR × base + SLACK are unhurried, beyond FAR × base + SLACK late."""

SMOOTHING = 0.2
"""Weight of one answer in the running mean; five answers back, half is forgotten."""

DRIFT = 1.002
"""The fastest answer is forgotten slowly, so that a host that got slower for good can settle."""


class Lesson(msgspec.Struct, frozen=True, gc=False):
    """What one exchange showed. `seconds` is None when no answer came; `strained`: 429, 503,
    a broken connection, a timeout; `rest`: seconds the host asked to be left alone.
    """

    seconds: float | None = None
    strained: bool = False
    rest: float = 0.0


class Pace(msgspec.Struct, frozen=True, gc=False):
    """How wide a host may be asked now. `width` is a real number; its whole part counts."""

    width: float
    limit: float
    base: float | None = None  # seconds of an unhurried answer
    smooth: float = 0.0  # running mean of late
    eager: bool = True  # no sign of strain yet: grow by doubling
    cut_at: float = float("-inf")  # when the width was last reduced

    def learn(self, lesson: Lesson, now: float) -> Pace:
        """The pace after an exchange that ended at `now` (monotonic seconds)."""
        if lesson.strained:
            return self.cut(0.5, now)
        if lesson.seconds is None:
            return self
        smooth = lesson.seconds
        if self.base is not None:
            smooth = self.smooth + SMOOTHING * (lesson.seconds - self.smooth)
        base = smooth if self.base is None else min(self.base * DRIFT, smooth)
        seen = msgspec.structs.replace(self, base=base, smooth=smooth)
        if smooth > FAR * base + SLACK:
            return seen.cut(0.9, now)
        if smooth <= NEAR * base + SLACK:
            more = 1.0 if self.eager else 1.0 / self.width
            return msgspec.structs.replace(seen, width=min(self.limit, self.width + more))
        return msgspec.structs.replace(seen, eager=False)

    def cut(self, share: float, now: float) -> Pace:
        """Narrower, unless answers to the wider pace are still on the way."""
        if now - self.cut_at < self.smooth:
            return self
        width = max(1.0, self.width * share)
        return msgspec.structs.replace(self, width=width, eager=False, cut_at=now)
