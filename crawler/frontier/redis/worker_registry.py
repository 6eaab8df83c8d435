"""The state that a coordinator wants of stand-by workers, and what they report.

    crawler:orders          HASH job → Order: what is to be done with it
    crawler:desk:NAME       a Desk, gone SILENCE after its worker said it last
    crawler:{0}:JOB:sums    HASH of what only workers see, added up: bytes, answers by status

Nobody is told: workers and coordinator look twice a second. A message could be lost, an order that
lies there cannot; sixty workers that look cost the server less than one page.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from crawler.frontier.redis.codec import JobStats, stats_of
from crawler.frontier.redis.redis_client import PREFIX, RedisClient
from crawler.frontier.redis.redis_jobs import JOBS

ORDERS: Final = f"{PREFIX}orders"
DESK: Final = f"{PREFIX}desk:"

EVERY: Final = 0.5
"""Seconds between two looks at the orders."""

SILENCE: Final = 10.0
"""Seconds after which a worker that says nothing counts as gone; three leases where they are
shorter. Its links stay its own until their leases run out: it may only have been slow."""

log = logging.getLogger(__name__)


class WorkerCommand(StrEnum):
    """What is to be done with a job."""

    RUN = "run"
    STOP = "stop"  # finish what is in hand, lease nothing more
    DROP = "drop"  # let go of what is in hand


class WorkerOrder(msgspec.Struct, frozen=True):
    """`turn` is another each time a job is begun or taken up again: a worker that has seen a job to
    its end opens it again for a new one only.
    """

    verb: WorkerCommand
    turn: str


class WorkerStatus(msgspec.Struct, frozen=True):
    """A job in a worker's hands. `name` is the worker's there, as leases and marks know it."""

    name: str
    pages: int
    leased: int
    in_flight: int


class WorkerRegistration(msgspec.Struct, frozen=True):
    """A worker, as it says itself. `at` and `since` are Unix seconds of its own clock, `rss` bytes.

    `pages` are those of all its jobs since it started, `troubles` what keeps it from a job.
    """

    name: str
    place: str
    pid: int
    version: str
    since: float
    at: float
    rss: int
    pages: int
    rate: float
    hands: dict[str, WorkerStatus] = {}
    troubles: dict[str, str] = {}
    leaving: bool = False


class WorkerTotals(msgspec.Struct):
    """What workers added up of a job."""

    bytes_wire: int = 0
    statuses: dict[int, int] = {}


async def give(wire: RedisClient, job: str, order: WorkerOrder) -> None:
    """Want something of a job, instead of what was wanted before."""
    await wire.plain("HSET", ORDERS, job, msgspec.json.encode(order))


async def take_back(wire: RedisClient, job: str) -> None:
    """Want nothing of a job."""
    await wire.plain("HDEL", ORDERS, job)


async def orders(wire: RedisClient) -> dict[str, WorkerOrder]:
    """What is wanted, by job. What cannot be read is another version's, and not for us."""
    found = {}
    for job, written in pairs(await wire.plain("HGETALL", ORDERS)):
        try:
            found[job.decode()] = msgspec.json.decode(written, type=WorkerOrder)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("%s: an order that is none: %s", wire.name, error)
    return found


async def sit_down(wire: RedisClient, desk: WorkerRegistration, lease: float) -> None:
    """Say that a worker is there, and what it does. `lease` is in seconds."""
    silence = max(3.0, min(SILENCE, 3 * lease))
    await wire.plain(
        "SET", f"{DESK}{desk.name}", msgspec.json.encode(desk), "PX", int(silence * 1000)
    )


async def get_up(wire: RedisClient, desk: WorkerRegistration) -> None:
    """Say that a worker leaves: it lies there for a moment, so that nobody thinks it died."""
    said = msgspec.structs.replace(desk, leaving=True, hands={})
    await wire.plain("SET", f"{DESK}{desk.name}", msgspec.json.encode(said), "PX", 3000)


async def desks(wire: RedisClient) -> list[WorkerRegistration]:
    """The workers that stand by or work, by name."""
    found = []
    for key in await wire.keys(f"{DESK}*"):
        said = await wire.plain("GET", key)
        if said is not None:
            try:
                found.append(msgspec.json.decode(said, type=WorkerRegistration))
            except msgspec.DecodeError as error:
                log.warning("%s: a worker that is none: %s", key.decode(), error)
    return sorted(found, key=lambda one: one.name)


async def add_up(wire: RedisClient, job: str, more: Mapping[str, int]) -> None:
    """Add to a job's sums: `bytes`, and `status:NNN`."""
    for field, by in more.items():
        if by:
            await wire.plain("HINCRBY", _sums(job), field, by)


async def sums(wire: RedisClient, job: str) -> WorkerTotals:
    """What `add_up` was told by everybody."""
    found = WorkerTotals(statuses={})
    for field, number in pairs(await wire.plain("HGETALL", _sums(job))):
        word, _, status = field.decode().partition(":")
        if word == "bytes":
            found.bytes_wire = int(number)
        elif status.isdigit():
            found.statuses[int(status)] = int(number)
    return found


async def is_there(wire: RedisClient, job: str) -> bool:
    """Whether the server has the job, and has begun with it."""
    born = await wire.plain("HEXISTS", f"{wire.tag(0)}{job}:st", "born")
    return bool(born) and bool(await wire.plain("HEXISTS", JOBS, job))


async def shards(wire: RedisClient, job: str) -> list[JobStats]:
    """A job's numbers, shard by shard."""
    return [stats_of(await wire.call("stats", n, job)) for n in range(wire.shards)]


async def pause(wire: RedisClient, job: str, *, on: bool) -> None:
    """Lease nothing of a job to anybody while it is on."""
    for shard in range(wire.shards):
        await wire.call("pause", shard, job, int(on))


async def marks(wire: RedisClient, job: str, output: str) -> dict[str, int]:
    """The committed length of one of the outputs, by worker."""
    found = {}
    for field, length in pairs(await wire.plain("HGETALL", f"{wire.tag(0)}{job}:mark")):
        worker, _, name = field.decode().partition("/")
        if name == output:
            found[worker] = int(length)
    return found


def _sums(job: str) -> str:
    return f"{PREFIX}{{0}}:{job}:sums"


def pairs(answer: object) -> list[tuple[bytes, bytes]]:
    """A hash, as either protocol tells it."""
    if isinstance(answer, dict):
        return list(answer.items())
    assert isinstance(answer, list)
    return list(zip(answer[::2], answer[1::2], strict=True))
