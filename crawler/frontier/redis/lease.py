"""What a worker has on lease, and until when it may be sure of it.

The server counts a lease by its own clock, from the moment it gave it. A worker counts from before
it asked, so its lease ends here first; and by two clocks, of which the stricter is believed: the
boot clock goes on while a process is stopped (SIGSTOP) and while a machine sleeps, the wall clock
shows what a paused virtual machine missed. A clock that was set looks like time that passed: then
the server is asked, which costs one call and decides nothing by itself.

What remains is the time between looking (`HeldLease.sure`, the last thing before a request is
written to its socket) and the kernel's `send`: some 50 µs in which a process can be stopped too.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from typing import Final, NamedTuple

_BOOT: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class ClockPair(NamedTuple):
    """One instant by two clocks, in seconds."""

    boot: float
    wall: float


def moment() -> ClockPair:
    """Now."""
    return ClockPair(time.clock_gettime(_BOOT), time.time())


def token_of(worker: str) -> str:
    """A token that nobody else has. It begins with its worker's name, so that whoever knows that
    the worker is dead can end all that it has (`redis_jobs.disown`).
    """
    return f"{worker}:{os.urandom(8).hex()}"


class HeldLease:
    """One link, or one host's turn, on lease to this worker."""

    __slots__ = ("away", "exchange", "id", "shard", "since", "token")

    def __init__(self, shard: int, name: bytes, token: bytes, since: ClockPair) -> None:
        self.shard = shard
        self.id = name
        self.token = token
        self.since = since  # when it was last asked for: the lease ends no earlier than from here
        self.away = True  # its host's connection is in use
        self.exchange: asyncio.Timeout | None = None  # under way; ended when the lease does

    def sure(self, length: float, now: ClockPair) -> bool:
        """Whether nobody else can have it at `now`; `length` of a lease in seconds. Pure."""
        boot, wall = now.boot - self.since.boot, now.wall - self.since.wall
        return 0 <= boot < length and 0 <= wall < length


def lapsed(held: Iterable[HeldLease], length: float, now: ClockPair) -> list[HeldLease]:
    """Those whose exchange goes on though they may be another's by now. Pure."""
    return [one for one in held if one.exchange is not None and not one.sure(length, now)]
