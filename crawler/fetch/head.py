"""What stands around a body: what a link is asked with, and what an answer's head says."""

from __future__ import annotations

from typing import Final

import ada_url

from crawler.errors import Garbled
from crawler.fetch.client import Response
from crawler.model import Link

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


def fields_of(response: Response) -> tuple[tuple[str, str], ...]:
    """The head's fields as they were sent."""
    return tuple(
        [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers]
    )


def demand_status(status: int) -> None:
    """Raises Garbled for what is no final answer: 101 to nobody's wish, 000, 099."""
    if status < 200:
        raise Garbled(f"status {status:03}")


def own_headers(link: Link) -> dict[str, str]:
    """A wall's cookie, and what makes a revisit conditional (RFC 9110 §13.1)."""
    headers = {"Cookie": link.cookie} if link.cookie else {}
    return {**headers, **link.known.validators} if link.known is not None else headers


def location_of(base: str, response: Response) -> str | None:
    """The absolute target of a redirect; as sent when it is no URL at all."""
    if response.status not in REDIRECTS:
        return None
    target = response.headers.get("Location")
    if target is None:
        return None
    # Header bytes beyond ASCII are UTF-8 in practice, and aiohttp keeps the others escaped.
    target = target.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    try:
        return ada_url.join_url(base, target)
    except ValueError:
        return target
