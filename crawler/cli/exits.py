"""Exit codes: wget's and browsertrix's, merged. Pure."""

from __future__ import annotations

from enum import IntEnum

from crawler.errors import ConfigError, CrawlerError, HouseError
from crawler.tally import Snapshot


class Exit(IntEnum):
    """What the process tells its caller."""

    OK = 0
    BUG = 1
    USAGE = 2
    HOUSE = 3
    NETWORK = 4
    TLS = 5
    SERVER = 8
    INTERRUPTED = 11
    FORCED = 13
    SIZE_LIMIT = 14
    TIME_LIMIT = 15
    RATE_LIMITED = 18


MEANINGS = {
    Exit.OK: "the crawl is finished, or reached --max-pages",
    Exit.BUG: "a bug in this program; -v shows where",
    Exit.USAGE: "a flag, a configuration or a URL is not usable",
    Exit.HOUSE: "a file cannot be read or written, the disk is full; resumable",
    Exit.NETWORK: "no page: no server could be reached",
    Exit.TLS: "no page: TLS was refused",
    Exit.SERVER: "no page: the servers answered with errors, or their robots.txt forbids it",
    Exit.INTERRUPTED: "interrupted; what was in hand is finished; resumable",
    Exit.FORCED: "stopped at once by a second signal; resumable",
    Exit.SIZE_LIMIT: "reached --size-limit; resumable",
    Exit.TIME_LIMIT: "reached --time-limit; resumable",
    Exit.RATE_LIMITED: "no page: the servers asked for patience (429)",
}

_REASONS = {
    "interrupted": Exit.INTERRUPTED,
    "aborted": Exit.FORCED,
    "size-limit": Exit.SIZE_LIMIT,
    "time-limit": Exit.TIME_LIMIT,
}

_ON_THE_ROAD = {"dns", "connection", "timeout", "truncated"}


def exit_code(finish_reason: str, shot: Snapshot) -> Exit:
    """The code of a crawl that ran to an end of its own or ours."""
    if finish_reason in _REASONS:
        return _REASONS[finish_reason]
    if shot.pages or not shot.visits:
        return Exit.OK
    reasons = set(shot.reasons)
    if "tls" in reasons:
        return Exit.TLS
    if reasons & _ON_THE_ROAD:
        return Exit.NETWORK
    if shot.statuses and set(shot.statuses) <= {429}:
        return Exit.RATE_LIMITED
    return Exit.SERVER if reasons else Exit.OK


def error_code(error: BaseException) -> Exit:
    """The code of a run that an error ended."""
    if isinstance(error, ConfigError):
        return Exit.USAGE
    if isinstance(error, HouseError):
        return Exit.HOUSE
    return Exit.NETWORK if isinstance(error, CrawlerError) else Exit.BUG
