"""Was a crawl polite? Judged from the server's log alone. Pure.

    for complaint in complaints(log, {"127.0.0.1": Asked(width=1, delay=0.5)}): ...

The log says when each request was seen and when its answer was about to be sent, by the server's
clock, so what is seen here is never earlier than what the crawler did, nor its answers later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

SLACK = 0.2
"""Seconds. Two requests of a host with several connections can reach it closer together than they
left: a busy machine delays one of them, or the server's clock. Nothing of the kind is granted
where a host is visited alone: its next request leaves after its last answer came."""

UNREAD = 0.5
"""Seconds before a kill in which an answer may have been sent and never been read or kept."""


@dataclass(frozen=True)
class Exchange:
    """One request and its answer, as the server saw them. `rest`: the Retry-After it named."""

    host: str
    began: float
    ended: float
    rest: float = 0.0


@dataclass(frozen=True)
class Owed:
    """What a host is owed: requests at once, seconds between two, in whatever window."""

    width: int
    delay: float


def complaints(
    log: Sequence[Exchange], owed: Mapping[str, Owed], kills: Sequence[float] = ()
) -> Iterator[str]:
    """Everything that was not as it should be, a line each. `kills`: when the crawler died."""
    by_host: dict[str, list[Exchange]] = defaultdict(list)
    for one in log:
        dead = min((kill for kill in kills if one.began < kill < one.ended), default=None)
        by_host[one.host].append(one if dead is None else replace(one, ended=dead, rest=0.0))
    for host, exchanges in by_host.items():
        exchanges.sort(key=lambda one: one.began)
        terms = owed[host]
        yield from _width(host, exchanges, terms)
        yield from _delay(host, exchanges, terms)
        yield from _rests(host, exchanges, terms, kills)


def _width(host: str, exchanges: list[Exchange], owed: Owed) -> Iterator[str]:
    for number, one in enumerate(exchanges):
        under_way = 1 + sum(other.ended > one.began for other in exchanges[:number])
        if under_way > owed.width:
            yield f"{host}: {under_way} at once at {one.began:.3f}, {owed.width} allowed"


def _delay(host: str, exchanges: list[Exchange], owed: Owed) -> Iterator[str]:
    """Every window from one request to another must be as long as the pauses in it."""
    for first, one in enumerate(exchanges):
        for number, other in enumerate(exchanges[first + 1 :], 1):
            if owed.width == 1:
                if number > 1:
                    break  # from the end of each answer: pairs say it all
                gap, least = other.began - one.ended, owed.delay
            else:
                gap, least = other.began - one.began, number * owed.delay - SLACK
            if gap < least:
                when = f"{gap:.3f} s after {one.began:.3f}"
                yield f"{host}: {number} more {when}, not {least:.3f} s"


def _rests(
    host: str, exchanges: list[Exchange], owed: Owed, kills: Sequence[float]
) -> Iterator[str]:
    grace = 0.0 if owed.width == 1 else SLACK  # on its way when the answer was sent
    for one in exchanges:
        if not one.rest or any(kill - UNREAD <= one.ended <= kill for kill in kills):
            continue
        for other in exchanges:
            if one.ended + grace < other.began < one.ended + one.rest:
                early = other.began - one.ended
                yield f"{host}: asked {early:.3f} s after it asked to be left for {one.rest:g} s"
