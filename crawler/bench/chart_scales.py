"""Scales of the charts: values to pixels, round tick marks, labels without overlap. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, Literal

Scale = Literal["linear", "log", "steps"]
"""`steps`: the values stand side by side at equal distances."""

ZERO_BELOW: Final = 1e-12
"""Smaller figures count as zero."""


def to_pixels(
    begin: float, end: float, values: Sequence[float], scale: Scale
) -> Callable[[float], float]:
    """The function from a value to its pixel."""
    if scale == "steps":
        places = {value: at for at, value in enumerate(values)}
        return lambda value: begin + (end - begin) * (places[value] + 0.5) / len(values)
    bend: Callable[[float], float] = math.log10 if scale == "log" else float
    low, high = bend(min(values)), bend(max(values))
    span = high - low if high - low > ZERO_BELOW else 1.0
    return lambda value: begin + (end - begin) * (bend(value) - low) / span


def ticks(low: float, high: float, *, log: bool) -> list[float]:
    """Round numbers from below `low` to above `high`: 1, 2, 5 times powers of ten."""
    if log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        steps = (1, 2, 5) if last - first <= 2 else (1,)
        marks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
        below = [mark for mark in marks if mark <= low] or marks[:1]
        above = [mark for mark in marks if mark >= high] or marks[-1:]
        return [mark for mark in marks if below[-1] <= mark <= above[0]]
    span = high - low if high - low > ZERO_BELOW else max(abs(high), 1.0)
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(power * one for one in (1, 2, 5, 10) if span / (power * one) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(at * step, 12) for at in range(first, max(last, first + 1) + 1)]


def spread_out(wanted: Sequence[float], gap: float, top: float, bottom: float) -> list[float]:
    """Positions near the wanted ones, `gap` apart, between `top` and `bottom` if they fit."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    gap = min(gap, (bottom - top) / max(len(wanted) - 1, 1))
    places = list(wanted)
    least = top
    for at in order:
        places[at] = least = max(wanted[at], least)
        least += gap
    most = bottom
    for at in reversed(order):
        places[at] = most = min(places[at], most)
        most -= gap
    return places
