"""Format numbers for people, and make untrusted text safe for a terminal. Pure."""

from __future__ import annotations

import unicodedata

from crawler.utils.units import amount, counted, duration
from crawler.utils.units import in_bytes as size

__all__ = ["amount", "counted", "duration", "harmless", "plain", "share", "size"]


def share(part: float) -> str:
    return f"{part:.0%}"


def harmless(text: str) -> str:
    """Text without what a terminal would act on: controls, escapes, bidi marks, line separators."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if unicodedata.category(char)[0] not in "CZ" or char == " " else " " for char in text
    )


def plain(text: str, most: int = 200) -> str:
    """A stranger's text on one line, harmless, spaces run together, cut to a length."""
    kept = " ".join(harmless(text[: most * 4]).split())
    return kept if len(kept) <= most else f"{kept[: most - 1]}…"
