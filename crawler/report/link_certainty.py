"""Whether a failed link is broken, exists, or cannot be judged. Pure.

External hosts reject programs that they would serve to browsers (403, 999) or throttle them;
whether the page exists for a person is unknown then (lychee#1157, muffet#189).
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from crawler.policy.urls import path_of

Certainty: TypeAlias = Literal["broken", "unsure", "there"]

EXISTS: Final = frozenset({"too-large", "mime", "parse"})
"""First words of reasons of responses that arrived but were not parsed."""

UNSURE: Final = frozenset({"garbled", "forbidden", "robotsUnreachable"})
"""First words of reasons that say nothing about the page of an external host."""

REJECTED_STATUSES: Final = frozenset({401, 403, 406, 407, 429, 451, 503, 999})
"""Statuses with which external hosts reject the crawler rather than the page; 999 is LinkedIn's."""

TOO_MANY_REQUESTS: Final = 429
"""Also for the checked site's own hosts: the crawler was too fast, which says nothing about the
page."""

_EMAIL_PROTECTION: Final = "/cdn-cgi/l/email-protection"
"""Where Cloudflare's e-mail protection leads clients without scripts."""


def certainty(url: str, reason: str, status: int | None, *, own: bool) -> Certainty:
    """Judge a failed link. `own`: its host belongs to the checked site."""
    word, _, detail = reason.partition(":")
    if word in EXISTS:
        return "there"
    if status == TOO_MANY_REQUESTS or (status in REJECTED_STATUSES and not own):
        return "unsure"
    is_other_scheme = word == "redirect" and detail.startswith(
        "scheme"
    )  # such as mailto: or an app store's
    if (
        is_other_scheme
        or (word in UNSURE and not own)
        or path_of(url).startswith(_EMAIL_PROTECTION)
    ):
        return "unsure"
    return "broken"
