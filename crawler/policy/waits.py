"""Why hosts and URLs wait: cooldowns, parked hosts, retries. Pure.

example.com waits 58m10s: Retry-After of /x, until 14:05
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

import msgspec

from crawler.policy.autothrottle import HostPace
from crawler.policy.urls import path_of
from crawler.utils.units import counted, duration

NOTABLE: Final = 5.0
"""Seconds of a wait that are worth a word."""

EARLIER: Final = "an earlier answer"
"""`Visit.rest_why` where a file of an earlier release does not tell it."""

OUR_BACKOFF: Final = 60.0
"""Seconds a retry waits at most unless the server or a parked host asks for more."""


class Wait(msgspec.Struct, frozen=True):
    """`name` is a host, or a URL where that alone waits. `seconds` from now. `why` is for people.
    `queued` links wait with it.
    """

    name: str
    seconds: float
    why: str
    queued: int = 0


def reason_of(why: str, url: str) -> str:
    """`Visit.rest_why` and the URL that was asked for, in words."""
    word, _, detail = why.partition(":")
    if word == "robots":
        said = detail.replace(":", " ").strip() or "no answer"
        return f"its robots.txt could not be had ({said})"
    said = why.replace(":", " ") or EARLIER
    return f"{said} of {path_of(url)}" if url else said


def wait_of(pace: HostPace) -> Wait | None:
    """Why a host is asked nothing now; None: that is not worth a word."""
    if pace.rest < NOTABLE or not pace.queued:
        return None
    if pace.why:
        why = reason_of(pace.why, pace.url)
    elif pace.parked:
        why = f"parked after {counted(pace.failures, 'failure')} in a row"
    elif pace.crawl_delay is not None:
        asked, kept = duration(pace.crawl_delay), duration(pace.delay)
        why = f"Crawl-delay of {asked}, of which {kept} are kept"
    else:
        why = f"{duration(pace.delay)} between requests (Crawl-delay)"
    return Wait(pace.name, pace.rest, why, pace.queued)


def retry_of(url: str, seconds: float, waited: float, reason: str) -> Wait | None:
    """Why a URL waits for its next try. `waited`: seconds since the last one; `reason` as in its
    Visit. None: that is not worth a word.
    """
    if seconds < NOTABLE:
        return None
    said = reason.replace(":", " ")
    if seconds + waited > OUR_BACKOFF and (not said or said.startswith("status ")):
        return Wait(url, seconds, f"Retry-After ({said})" if said else "Retry-After")
    return Wait(url, seconds, f"a retry after {said}" if said else "a retry")


def longest(waits: Iterable[Wait | None], most: int) -> list[Wait]:
    """Those that wait longest first; a URL's wait is left out where its host's is told."""
    known = [wait for wait in waits if wait is not None]
    hosts = {wait.name for wait in known if "//" not in wait.name}
    kept = [
        wait for wait in known
        if "//" not in wait.name or wait.name.split("/", 3)[2] not in hosts
    ]  # fmt: skip
    return sorted(kept, key=lambda wait: -wait.seconds)[:most]


def wait_sentence(wait: Wait, now: float) -> str:
    """In one line. `now` is Unix time; the moment is told in local time."""
    name = wait.name.partition("//")[2] or wait.name
    clock = time.localtime(now + wait.seconds)
    form = "%H:%M:%S" if wait.seconds < 120 else "%H:%M" if wait.seconds < 43_200 else "%F %H:%M"
    said = f"{name} waits {duration(wait.seconds)}: {wait.why}, until {time.strftime(form, clock)}"
    return f"{said}; {counted(wait.queued, 'link')} queued" if wait.queued else said
