"""What a page says to robots: X-Robots-Tag headers and `<meta name=robots>`. Pure.

No standard: Google's and Bing's documentation, which agree. Directives that name an agent speak to
that agent alone, on top of those for everybody; none of them can take back what another forbids.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

MAX_DIRECTIVES: Final = 20

_VALUED: Final = frozenset(
    {"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"}
)
_AGENT: Final = re.compile(r"[A-Za-z_-]+")

NO_FOLLOW: Final = frozenset({"nofollow", "none"})
NO_INDEX: Final = frozenset({"noindex", "none"})

REL: Final = frozenset({"nofollow", "ugc", "sponsored"})
"""Values of a link's `rel` by which its author does not stand for it."""


def directives(
    headers: Iterable[str], metas: Iterable[tuple[str, str]], agent: str
) -> tuple[str, ...]:
    """All that holds for `agent`, lower-case, each once, in order.

    `headers` are the values of X-Robots-Tag, one a header line; `metas` pairs of name and content.
    A directive's value stays with it (`max-snippet:20`); an `unavailable_after` is kept with its
    date and has no effect.
    """
    agent = agent.lower()
    found: dict[str, None] = {}
    for value in headers:
        for name, directive in _header(value):
            if name in {"", "*", agent}:
                found[directive] = None
    for name, content in metas:
        if name in {"robots", agent}:
            for part in content.lower().split(","):
                # Spaces between directives are common, and inside them only in a date.
                for directive in [part] if ":" in part else part.split():
                    found[_tight(directive)] = None
    found.pop("", None)
    return tuple(found)[:MAX_DIRECTIVES]


def _header(value: str) -> Iterator[tuple[str, str]]:
    """Agent ("" for everybody) and directive: an agent holds until the next one, or the end."""
    agent = ""
    for part in value.lower().split(","):
        name, colon, rest = part.strip().partition(":")
        name = name.strip()
        if colon and name not in _VALUED:
            if not _AGENT.fullmatch(name) and name != "*":
                continue  # the rest of a date
            agent, part = name, rest  # noqa: PLW2901 - what follows the agent is the directive
        if directive := _tight(part):
            yield agent, directive


def _tight(directive: str) -> str:
    name, colon, value = directive.strip().partition(":")
    return f"{name.strip()}{colon}{value.strip()}"
