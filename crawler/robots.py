"""robots.txt by RFC 9309. Pure: bytes and a status in, verdicts out."""

from __future__ import annotations

import math
from functools import cached_property

from protego import Protego

MAX_BYTES = 512 * 1024
"""RFC 9309 §2.5 asks for at least 500 KiB; what comes after is not read."""

_FORBIDDEN_ALL = b"User-agent: *\nDisallow: /\n"


class Robots:
    """One origin's rules as they concern us. `unreachable`: no answer, so nothing is allowed."""

    def __init__(self, body: bytes, agent: str, *, unreachable: bool = False) -> None:
        self._agent = agent
        self.unreachable = unreachable
        text = body[:MAX_BYTES].decode("utf-8", "replace").lstrip("\ufeff")
        self._rules = Protego.parse(text.replace("\r\n", "\n").replace("\r", "\n"))

    def allows(self, url: str) -> bool:
        """Whether the URL may be fetched; a robots.txt itself always (RFC 9309 §2.2.2)."""
        if url.split("/", 3)[3] == "robots.txt":
            return True
        return bool(self._rules.can_fetch(url, self._agent))

    @cached_property
    def delay(self) -> float | None:
        """Crawl-delay in seconds; None where there is none that makes sense."""
        delay = self._rules.crawl_delay(self._agent)
        return delay if delay is not None and math.isfinite(delay) and delay >= 0 else None

    @cached_property
    def sitemaps(self) -> tuple[str, ...]:
        return tuple(self._rules.sitemaps)


def read_robots(status: int | None, body: bytes, agent: str) -> Robots:
    """What a robots.txt answer means (RFC 9309 §2.3.1). `status` None: no answer.

    2xx is read; 4xx allows everything, but 429 is a server that cannot answer; 5xx and no answer
    forbid everything for now.
    """
    if status is None or status == 429 or status >= 500:
        return Robots(_FORBIDDEN_ALL, agent, unreachable=True)
    if status >= 300:
        return Robots(b"", agent)
    return Robots(body, agent)
