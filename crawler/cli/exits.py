"""Exit codes: wget's and browsertrix's, merged. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum, IntEnum, auto
from typing import Final

from crawler.engine.stats import StatsSnapshot
from crawler.errors import (
    ConfigError,
    CrawlerError,
    FatalError,
    FileMismatch,
    Insecure,
    InternalError,
)
from crawler.policy.internal_errors import REASON as INTERNAL
from crawler.policy.robots_txt import UNREACHABLE
from crawler.records import CrawlResult, Kind, Outcome


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
    PLUGIN = 20
    MISMATCH = 32


MEANINGS: Final = {
    Exit.OK: "the crawl is finished, or reached --max-pages",
    Exit.BUG: "a bug in this program ended it (-v shows where) or made links fail (`internal`)",
    Exit.USAGE: "a flag, a configuration or a URL is not usable",
    Exit.HOUSE: "a file cannot be read or written, the disk is full; resumable",
    Exit.NETWORK: "no page: no seed could be reached",
    Exit.TLS: "no page: TLS was refused",
    Exit.SERVER: "no page: the seeds answered with errors, led away, or a rule refuses them",
    Exit.INTERRUPTED: "interrupted; what was in hand is finished; resumable",
    Exit.FORCED: "stopped at once by a second signal; resumable",
    Exit.SIZE_LIMIT: "reached --size-limit; resumable",
    Exit.TIME_LIMIT: "reached --time-limit; resumable",
    Exit.RATE_LIMITED: "no page: the servers asked for patience (429)",
    Exit.PLUGIN: "a plugin or rule failed on every page that it was run on; all else is done",
    Exit.MISMATCH: "download: not the file that was asked for (checksum, length, type)",
}

_ENDS: Final = {
    "interrupted": Exit.INTERRUPTED,
    "aborted": Exit.FORCED,
    "size-limit": Exit.SIZE_LIMIT,
    "time-limit": Exit.TIME_LIMIT,
}


class SeedOutcome(Enum):
    """What became of a seed."""

    READ = auto()
    MOVED = auto()  # its target tells, and has a fate of its own unless it is known already
    ERROR = auto()
    BUSY = auto()
    NETWORK = auto()
    TLS = auto()
    UNASKED = auto()  # its robots.txt could not be had: the robots' reasons tell


_ON_THE_ROAD: Final = frozenset({"dns", "connection", "timeout", "truncated", "fetch", "forbidden"})


def fate(visit: CrawlResult) -> SeedOutcome:
    """What a visit to a seed, or to what it redirects to, says about it."""
    if visit.outcome in {Outcome.DONE, Outcome.UNCHANGED}:
        return (
            SeedOutcome.READ if visit.link.kind is Kind.PAGE else SeedOutcome.MOVED
        )  # a list leads to pages
    if visit.outcome is Outcome.MOVED:
        return SeedOutcome.ERROR if visit.reason else SeedOutcome.MOVED
    unasked = visit.reason.partition(":")[0] == UNREACHABLE
    return SeedOutcome.UNASKED if unasked else _of_reason(visit.reason)


def _of_reason(reason: str) -> SeedOutcome:
    word, _, detail = reason.partition(":")
    if word == "tls":
        return SeedOutcome.TLS
    if word == "status" and detail == "429":
        return SeedOutcome.BUSY
    return SeedOutcome.NETWORK if word in _ON_THE_ROAD else SeedOutcome.ERROR


def exit_code(
    finish_reason: str,
    shot: StatsSnapshot,
    fates: Collection[SeedOutcome],
    robots: Mapping[str, int] | None = None,
    *,
    ever: bool = False,
) -> Exit:
    """The code of a crawl that ran to its end or ours, by the first rule that fits.

    1  it was stopped, or reached a limit of time or size
    2  a link failed by a bug in this program
    3  a page was read, or no seed was visited (a resumed crawl) and there are pages: all is well,
       unless a plugin or rule failed on every page that it was run on
    4  the hosts are down: the network
    5  a seed got an answer, but no page: the server's errors, before patience
    6  no seed got an answer: TLS if that alone, else the network

    `ever`: the crawl has a page, of this run or an earlier one.
    `robots`: why robots.txt files could not be had, with numbers; decides for seeds that were
    never asked for because of that.
    """
    if finish_reason in _ENDS:
        return _ENDS[finish_reason]
    if shot.reasons.get(INTERNAL):
        return Exit.BUG
    seen = set(fates)
    if shot.pages or SeedOutcome.READ in seen or (ever and not seen):
        return Exit.PLUGIN if any(one.failed_always for one in shot.plugins) else Exit.OK
    if finish_reason == "hosts-down" and SeedOutcome.ERROR not in seen:
        return Exit.NETWORK
    if SeedOutcome.UNASKED in seen:
        seen.discard(SeedOutcome.UNASKED)
        seen |= {_of_reason(reason) for reason in robots or ()} or {SeedOutcome.NETWORK}
    seen.discard(SeedOutcome.MOVED)  # its target tells; where none does, it leads in a circle
    if SeedOutcome.ERROR in seen or not seen:
        return Exit.SERVER
    if SeedOutcome.BUSY in seen:
        return Exit.RATE_LIMITED
    return Exit.TLS if seen == {SeedOutcome.TLS} else Exit.NETWORK


def download_code(finish_reason: str, reasons: Collection[str]) -> Exit:
    """The code of a download: how it was ended, else the gravest of its failures' `reasons`.

    Wrong bytes come before the servers' errors, those before patience, TLS and the network.
    """
    if finish_reason in _ENDS:
        return _ENDS[finish_reason]
    if any(reason.partition(":")[0] == INTERNAL for reason in reasons):
        return Exit.BUG
    if finish_reason == "hosts-down":
        return Exit.NETWORK
    if any(reason.partition(":")[0] == FileMismatch.reason for reason in reasons):
        return Exit.MISMATCH
    fates = {_of_reason(reason) for reason in reasons}
    for fate, code in (
        (SeedOutcome.ERROR, Exit.SERVER),
        (SeedOutcome.BUSY, Exit.RATE_LIMITED),
        (SeedOutcome.TLS, Exit.TLS),
        (SeedOutcome.NETWORK, Exit.NETWORK),
    ):
        if fate in fates:
            return code
    return Exit.OK


def error_code(error: BaseException) -> Exit:
    """The code of a run that an error ended."""
    if isinstance(error, ConfigError):
        return Exit.USAGE
    if isinstance(error, InternalError):
        return Exit.BUG
    if isinstance(error, FatalError):
        return Exit.HOUSE
    if isinstance(error, Insecure):
        return Exit.TLS
    return Exit.NETWORK if isinstance(error, CrawlerError) else Exit.BUG
