"""What a link that failed says: that it is broken, that it is there, or only that we do not know.

Pure. Hosts of others turn programs away that they let browsers in with (403, 999), and ask for
patience; that a person who clicks finds nothing there is not known (lychee#1157, muffet#189).
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from crawler.policy.urls import path_of

Certainty: TypeAlias = Literal["broken", "unsure", "there"]

THERE: Final = frozenset({"too-large", "mime", "parse"})
"""First words of reasons of answers that were not read, but came."""

UNSURE: Final = frozenset({"garbled", "forbidden", "robotsUnreachable"})

TURNED_AWAY: Final = frozenset({401, 403, 406, 407, 429, 451, 503, 999})
"""Statuses of others' hosts for us rather than for the page; 999 is LinkedIn's."""

PATIENCE: Final = 429
"""Of a host of our own: it was asked too fast, which says nothing of the page."""

_EMAIL: Final = "/cdn-cgi/l/email-protection"
"""Where Cloudflare hides mail addresses from whoever runs no script."""


def certainty(url: str, reason: str, status: int | None, *, own: bool) -> Certainty:
    """`own`: the host belongs to what is checked."""
    word, _, detail = reason.partition(":")
    if word in THERE:
        return "there"
    if status == PATIENCE or (status in TURNED_AWAY and not own):
        return "unsure"
    elsewhere = word == "redirect" and detail.startswith("scheme")  # to a shop's or a mail program
    if elsewhere or (word in UNSURE and not own) or path_of(url).startswith(_EMAIL):
        return "unsure"
    return "broken"
