"""The way to Redis or Valkey: one server or a cluster, its functions loaded, its settings checked.

Every verb of the frontier is one call of one function (`*.lua`), atomic on the server. A call that
cannot be made because the server is away, starting, or full is made again, later and later, until
`patience` is over: a worker keeps what it has and waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from importlib import resources
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

import msgspec
from redis import asyncio as client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as Away,
)
from redis.exceptions import (
    TimeoutError as Late,
)

from crawler.errors import ConfigError, FrontierError

PREFIX: Final = "crawler:"
LIBRARY: Final = (
    "host.lua", "queue.lua", "lease.lua", "settle.lua", "job.lua",
)  # fmt: skip
"""One after the other they are one program: a file knows what those before it define."""
SHARDS: Final = 16
"""Of a new deployment on a cluster; on one server one shard does all: more cost round trips."""

INTSET: Final = 16_384
"""`set-max-intset-entries` from which a seen URL costs 9 bytes up to a quarter of a billion a
shard; beyond the setting a bucket becomes a hash table, and a URL costs 76."""

SOON, LATER = 0.05, 5.0  # seconds between two tries

TEMPORARY = (Away, Late, BusyLoadingError, ClusterDownError, OutOfMemoryError, ReadOnlyError,
             TryAgainError, OSError)  # fmt: skip

log = logging.getLogger(__name__)
T = TypeVar("T")
Undo = Callable[[], Awaitable[None]]


class RedisHealth(msgspec.Struct, frozen=True):
    """What a server says of itself: bytes, and sentences on what is not as it should be."""

    version: str
    used: int
    most: int
    durable: bool
    troubles: tuple[str, ...]
    commands: int = 0  # run since it started


class RedisClient:
    """One deployment. `shards` None: as it was created with, or 1 (16 on a cluster)."""

    def __init__(self, url: str, *, shards: int | None = None, patience: float = 600.0) -> None:
        self._url = url
        self._given = shards
        self._stopping = asyncio.Event()
        self._calls: set[asyncio.Task[Any]] = set()  # also those whose callers were cancelled
        self._client: Any = None
        self._cluster = False
        self.patience = patience  # seconds to wait for a server that is away
        self.shards = 1
        self.away = False  # at this moment

    @property
    def name(self) -> str:
        """The address, without its password."""
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    async def __aenter__(self) -> Self:
        """Raises ConfigError: no usable address. FrontierError: not there, or unfit for use."""
        try:
            self._client = client.Redis.from_url(self._url, **_options())
        except ValueError as error:
            raise ConfigError(f"frontier.url {self.name}: {error}") from error
        try:
            info = await self._try(self._client.info)
            if int(info.get("cluster_enabled", 0)):
                await self._client.aclose()
                self._client = client.RedisCluster.from_url(self._url, **_options())
                self._cluster = True
                await self._try(self._client.initialize)
            await self._load()
            await self._agree()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def _close(self) -> None:
        """First of all nobody is left who would connect anew."""
        self.give_up()
        try:
            while self._calls:  # until Python 3.12 `wait_for` may lose a cancellation
                for call in self._calls:
                    call.cancel()
                await asyncio.wait(self._calls, timeout=SOON)
        finally:
            with contextlib.suppress(RedisError, OSError):  # nobody to say good-bye to
                await self._client.aclose()

    def give_up(self) -> None:
        """From now on a server that is away is not waited for."""
        self._stopping.set()

    def tag(self, shard: int) -> str:
        """What all keys of a shard begin with; the braces keep them on one node."""
        return f"{PREFIX}{{{shard}}}:"

    async def call(self, verb: str, shard: int, *args: Any, undo: Undo | None = None) -> Any:
        """Call a function on a shard. A cancelled caller does not break the connection.

        An answer can be lost where the function has done its work. Most can be called again;
        `undo` is for those that cannot, and is awaited before.
        """
        function = f"crawler1_{verb}"
        return await self._shielded(
            self._try(self._client.fcall, function, 1, self.tag(shard), *args, undo=undo)
        )

    async def plain(self, *words: Any) -> Any:
        """A plain command, its second word a key. May be cancelled, as `call` may."""
        return await self._shielded(self._try(self._client.execute_command, *words))

    async def quiet(self) -> None:
        """Wait until nothing is asked any more, also for callers who were cancelled."""
        while self._calls:
            await asyncio.wait(self._calls)

    async def keys(self, pattern: str) -> list[bytes]:
        """Keys that match, on all nodes: for deleting and moving, not for every day."""

        async def scan() -> list[bytes]:
            return [key async for key in self._client.scan_iter(match=pattern, count=1000)]

        return await self._try(scan)

    async def health(self) -> list[RedisHealth]:
        """Of each server, in one sentence a trouble."""
        nodes = self._client.get_primaries() if self._cluster else [None]
        found = []
        for node in nodes:
            where = {"target_nodes": node} if node is not None else {}
            info = await self._try(self._client.info, **where)
            entries = None
            try:
                got = await self._client.config_get("set-max-intset-entries", **where)
                entries = int(got["set-max-intset-entries"])
            except (RedisError, KeyError, ValueError):
                pass  # a managed server does not tell
            found.append(judged(info, entries))
        return found

    async def _load(self) -> None:
        code = "#!lua name=crawler1\n" + "".join(
            resources.files(__package__).joinpath(name).read_text("utf-8") for name in LIBRARY
        )
        where: dict[str, Any] = {}
        if self._cluster:
            where = {"target_nodes": client.RedisCluster.PRIMARIES}
        try:
            await self._try(self._client.execute_command, "FUNCTION LOAD", "REPLACE", code, **where)
        except FrontierError as error:
            raise FrontierError(f"{error} (Redis 7, Valkey, or later is needed)") from error

    async def _agree(self) -> None:
        """The number of shards is fixed when the first crawl is made."""
        key = f"{PREFIX}shards"
        wanted = self._given or (SHARDS if self._cluster else 1)
        await self.plain("SET", key, wanted, "NX")
        self.shards = int(await self.plain("GET", key))
        if self._given is not None and self._given != self.shards:
            raise ConfigError(
                f"frontier.shards is {self._given}, but {self.name} was created with {self.shards}"
            )

    async def _shielded(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for what goes on when its caller is cancelled; how it ends is then nobody's news."""
        call = asyncio.ensure_future(work)
        self._calls.add(call)
        call.add_done_callback(self._over)
        return await asyncio.shield(call)

    def _over(self, call: asyncio.Task[Any]) -> None:
        self._calls.discard(call)
        _ = call.cancelled() or call.exception()

    async def _try(
        self,
        work: Callable[..., Awaitable[T]],
        *args: Any,
        undo: Undo | None = None,
        **kwargs: Any,
    ) -> T:
        loop = asyncio.get_running_loop()
        until = loop.time() + self.patience
        wait = SOON
        while True:
            try:
                answer = await work(*args, **kwargs)
            except AuthenticationError as error:
                raise FrontierError(f"{self.name}: {error}") from error
            except TEMPORARY as error:
                self._missing(error)
                if self._stopping.is_set() or loop.time() >= until:
                    raise FrontierError(f"{self.name}: {_told(error)}") from error
                await self._pause(wait)
                if undo is not None:
                    await undo()
                wait = min(LATER, 2 * wait)
            except ResponseError as error:
                said = str(error)
                if "Function not found" in said:  # a new server, or one that was emptied
                    await self._load()
                elif "NOJOB" in said:
                    raise FrontierError(
                        f"{self.name}: the crawl is gone: the server lost its data, or it was "
                        "deleted"
                    ) from error
                else:
                    raise FrontierError(f"{self.name}: {error}") from error
            except RedisError as error:
                raise FrontierError(f"{self.name}: {error}") from error
            else:
                if self.away:
                    self.away = False
                    log.warning("%s is back", self.name)
                return answer

    def _missing(self, error: Exception) -> None:
        if not self.away:
            self.away = True
            log.warning("%s: %s; waiting for it", self.name, _told(error))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds * (0.5 + random.random())):
                await self._stopping.wait()
        except TimeoutError:
            pass


def judged(info: dict[str, Any], intset: int | None) -> RedisHealth:
    """What INFO says. Raises FrontierError where a crawl would lose links. Pure."""
    policy = str(info.get("maxmemory_policy", "noeviction"))
    most = int(info.get("maxmemory", 0))
    if most and policy != "noeviction":
        raise FrontierError(
            f"Redis evicts keys when it is full (maxmemory-policy {policy}): a crawl would lose "
            "links. Set maxmemory-policy noeviction"
        )
    troubles = []
    durable = bool(int(info.get("aof_enabled", 0)))
    if not durable:
        troubles.append("appendonly is off: a restart of Redis loses the crawl")
    if not most:
        troubles.append("maxmemory is not set: a large crawl ends by the kernel's hand")
    if intset is not None and intset < INTSET:
        troubles.append(
            f"set-max-intset-entries is {intset}: beyond {intset * 16_384 / 1e6:.0f} million seen "
            f"URLs a shard each costs 76 bytes instead of 9; set it to {INTSET}"
        )
    version = str(info.get("valkey_version") or info.get("redis_version", ""))
    commands = int(info.get("total_commands_processed", 0))
    used = int(info.get("used_memory", 0))
    return RedisHealth(version, used, most, durable, tuple(troubles), commands)


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__


def _options() -> dict[str, Any]:
    return {
        "retry": Retry(NoBackoff(), 0),  # ours waits, and knows when to stop
        "socket_timeout": 15.0,
        "socket_connect_timeout": 5.0,
        "max_connections": 64,
    }
