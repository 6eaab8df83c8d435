"""Durations, sizes and numbers as people write and read them. Pure."""

from __future__ import annotations

import math
import re
from typing import Final

DURATIONS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

SIZES: Final = {
    "": 1, "b": 1, "k": 1000, "kb": 1000, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9,
    "t": 10**12, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
"""Decimal as disks and networks count; the `i` makes it binary (IEC 80000-13)."""

_PLAIN: Final = re.compile(r"[0-9]+(\.[0-9]+)?")
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)\s*")
_SIZE: Final = re.compile(r"([0-9]+)(?:\.([0-9]+))?\s*([a-z]*)")


def unicode(text: str) -> str:
    """Text that every encoder takes: `?` for each byte of a file name that is no UTF-8."""
    return text.encode("utf-8", "replace").decode()


def seconds(text: str) -> float:
    """`90`, `1.5s`, `500ms`, `1h30m` → seconds. Raises ValueError."""
    plain = text.strip().lower()
    if _PLAIN.fullmatch(plain):
        return _finite(float(plain), text)
    total, place = 0.0, 0
    seen: list[str] = []
    while place < len(plain):
        part = _DURATION.match(plain, place)
        if part is None or part[2] in seen:
            break
        total += float(part[1]) * DURATIONS[part[2]]
        seen.append(part[2])
        place = part.end()
    if not seen or place < len(plain):
        raise ValueError(f"{text!r} is not a duration such as 90, 500ms or 1h30m")
    return _finite(total, text)


def size(text: str) -> int:
    """`500k`, `10MiB`, `1.5GB` → whole bytes. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None or match[3] not in SIZES:
        raise ValueError(f"{text!r} is not a size such as 500k, 10MiB or 1.5GB")
    whole, fraction, unit = match.groups()
    # Whole numbers throughout: a float would be off by bytes from 9 PB on, and `1.1k` by one.
    number = int(whole + (fraction or "")) * SIZES[unit]
    return number // int("1" + "0" * len(fraction or ""))


def _finite(number: float, text: str) -> float:
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is longer than can be counted")
    return number


def duration(seconds: float) -> str:
    """3725.2 → 1h02m05s."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours}h{minutes:02}m{rest:02}s"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def amount(number: float) -> str:
    """12345 → 12 345, with a narrow space."""
    return f"{number:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def counted(number: float, one: str, many: str = "") -> str:
    """1, "file" → 1 file; 2 → 2 files. `many` where an s at the end does not make it."""
    return f"{amount(number)} {one if number == 1 else many or f'{one}s'}"


def in_bytes(number: float) -> str:
    """Bytes with a decimal prefix, as disks and networks count."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(number) < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
