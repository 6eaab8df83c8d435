"""Request headers to send, and the response head: status, fields, redirect target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

import ada_url

from crawler.errors import ProtocolError, Unreachable
from crawler.fetch.client import ResponseLike
from crawler.fetch.lenient_head import REDIRECTS
from crawler.records import CrawlUrl

if TYPE_CHECKING:
    from crawler.fetch.cookies import Cookie


class ResponseHead(NamedTuple):
    """An answer, and what its head says: `fields` as they were sent, `location` of a redirect."""

    response: ResponseLike
    fields: tuple[tuple[str, str], ...]
    location: str | None


def fields_of(response: ResponseLike) -> tuple[tuple[str, str], ...]:
    """The head's fields as they were sent."""
    return tuple(
        [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers]
    )


def demand_status(response: ResponseLike, *, proxied: bool) -> None:
    """Raises ProtocolError for what is no final answer: 101 to nobody's wish, 000, 099;
    Unreachable for one that only a proxy gives (RFC 9110 §15.5.8).
    """
    status = response.status
    if status < 200:
        raise ProtocolError(f"status {status:03}")
    if proxied and status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        raise Unreachable(f"proxy answers {status} {response.reason or ''}"[:120].rstrip())


def own_headers(link: CrawlUrl) -> dict[str, str]:
    """A wall's cookie, and what makes a revisit conditional (RFC 9110 §13.1)."""
    headers = {"Cookie": link.cookie} if link.cookie else {}
    return {**headers, **link.known.validators} if link.known is not None else headers


def with_cookies(
    cookies: Sequence[Cookie], given: Mapping[str, str], own: Mapping[str, str]
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """What an origin is always sent and what this request is, its Cookie field made of both: the
    jar's cookies, then those that the person or a wall named and the jar does not have (a site may
    have renewed one since).
    """
    pairs = [one.pair for one in cookies]
    names = {one.name for one in cookies}
    for name, line in [*given.items(), *own.items()]:
        if name.lower() == "cookie":
            named = (pair.strip() for pair in line.encode().decode("latin-1").split(";"))
            pairs += [pair for pair in named if pair and pair.partition("=")[0] not in names]
    line = "; ".join(pair for pair in map(_as_text, dict.fromkeys(pairs)) if pair)
    if not line:
        return given, own
    given, own = (
        {name: value for name, value in fields.items() if name.lower() != "cookie"}
        for fields in (given, own)
    )
    return given, {**own, "Cookie": line}


def _as_text(octets: str) -> str:
    """As aiohttp takes it, which sends UTF-8: what is none cannot be sent, and stays at home."""
    try:
        return octets.encode("latin-1").decode()
    except UnicodeDecodeError:
        return ""


def location_of(base: str, response: ResponseLike) -> str | None:
    """The absolute target of a redirect; as sent when it is no URL at all."""
    if response.status not in REDIRECTS:
        return None
    value = response.headers.get("Location")
    if value is None:
        return None
    raw = value.encode("utf-8", "surrogateescape")
    # Bytes beyond ASCII mean themselves, whatever charset they are of (as in curl and Chromium).
    target = "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in raw)
    try:
        return ada_url.join_url(base, target)
    except ValueError:
        return raw.decode("utf-8", "replace")
