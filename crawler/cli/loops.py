"""`crawler crawl --loops N`: N loops, each a process of its own, on one queue and one pace.

    this process      starts a Redis (unless one is named) and the loops, passes signals on,
                      says what happens, and makes one pages.jsonl of all shares at the end
    DIR/loops/queue   the Redis' data; `crawler resume DIR` starts it again
    DIR/loops/1 …     a share each, as `crawler worker` writes it

Whatever dies, nothing is lost: a dead loop's links are queued again at once, it is started again,
and when this process dies the loops leave at once and the Redis with it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shlex
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from crawler.bootstrap.crawl_setup import check
from crawler.cli.exits import Exit
from crawler.cli.formatting import counted
from crawler.cli.loop_handle import LoopProcess
from crawler.cli.loop_process import LoopFailed, LoopResult, LoopSettings
from crawler.cli.loops_folder import LOCK, alone, fit, number_in, own_settings, shares_in
from crawler.cli.loops_summary import JointResult, exit_of, line_of, lines, plugins, reason_of, tree
from crawler.cli.screen import Screen, out
from crawler.config.model import Config, FrontierConfig
from crawler.config.workdir import (
    LOOPS,
    SHARES,
    WORKER,
    Mode,
    is_crawl,
    prepare,
    worker_id,
    write_config,
)
from crawler.errors import ConfigError, CrawlerError, FatalError, FrontierError
from crawler.export.merge_crawls import PAGES, MergeResult, merge
from crawler.frontier.redis.local_server import LocalServer, end_leases, program
from crawler.policy.plugin_stats import sentences

if TYPE_CHECKING:
    from crawler.frontier.redis.redis_client import RedisClient

TELL_EVERY: Final = 10.0
"""Seconds between two lines on how far it is."""

LOOK_EVERY: Final = 0.5
"""Seconds between two looks at the server; a child that is no coroutine's rings nobody."""

AGAIN: Final = 3
"""Times that a loop which died is started again: what kills it may be gone, or may not."""

BRIEFLY: Final = 2.0
"""Seconds for a dead loop's links when we are told to stop: their leases end without us, too."""

RESTARTS: Final = 5
"""Of a server that ends by itself; one that ends more often has a reason that we do not know."""


def run(config: Config, folder: Path, mode: Mode, screen: Screen, number: int | None) -> Exit:
    """Crawl to the end. `number` None: as many loops as the folder's crawl has had."""
    number = number or number_in(folder)
    fit(config)
    check(config)
    if importlib.util.find_spec("redis") is None:
        raise ConfigError("--loops needs redis: pip install 'crawler[redis]'")
    if config.frontier.url is None:
        program()  # before --fresh removes anything
    if mode != "resume":
        if mode == "fresh" and (folder / SHARES / LOCK).exists():
            with alone(folder / SHARES / LOCK, 0.0):
                pass  # nobody is at work on what is now removed
        prepare(folder, mode)
    (folder / SHARES).mkdir(exist_ok=True)
    with ExitStack() as stack:
        lock = stack.enter_context(alone(folder / SHARES / LOCK))
        if mode == "new":
            prepare(folder, mode)  # another may have crawled here while we waited for the lock
        server, where = None, config.frontier
        if where.url is None:
            queue = folder / SHARES / "queue"
            if mode != "resume":  # left by one who died before there was a crawl
                shutil.rmtree(queue, ignore_errors=True)
            server = LocalServer(queue, durable=config.output.durable, held=(lock,))
            stack.enter_context(server)
            where = msgspec.structs.replace(where, url=server.url)
        crew = LoopSupervisor(config, where, folder, screen, server, number, lock)
        return asyncio.run(crew.work(mode))


class LoopSupervisor:
    """The loops of one run."""

    def __init__(
        self,
        config: Config,
        where: FrontierConfig,
        folder: Path,
        screen: Screen,
        server: LocalServer | None,
        number: int,
        lock: int,
    ) -> None:
        self._config = config
        self._where = where
        self._folder = folder
        self._screen = screen
        self._server = server
        self._number = number
        self._lock = lock
        self._alive: dict[int, LoopProcess] = {}
        self._signals: list[int] = []
        self._told: list[LoopResult] = []
        self._over = False  # no loop is left
        self._failed: list[LoopFailed] = []
        self._died = 0

    async def work(self, mode: Mode) -> Exit:
        """Start, wait, sum up. Raises FatalError when no loop came to an end."""
        began = time.monotonic()
        async with self._open(mode) as wire:
            with self._caught():
                await self._crawl(wire)
            wire.give_up()  # one that is away by now is not waited for
            counts = await self._counts(wire)
        merged = self._merged()
        if not self._told:
            return self._none_ended()
        joint = JointResult(
            reason=reason_of(self._told),
            folder=self._folder,
            loops=self._number,
            died=self._died + len(self._failed),
            elapsed=time.monotonic() - began,
            told=tuple(self._told),
            counts=counts,
            merged=merged,
        )
        if self._screen.as_json:
            out(msgspec.json.encode(tree(joint)).decode())
        elif not self._screen.silent:
            for line in lines(joint):
                self._screen.say(line)
        else:
            for said in sentences(one for one in plugins(joint) if one.failed_always):
                self._screen.say(f"crawler: error: {said}")
        return exit_of(joint)

    @asynccontextmanager
    async def _open(self, mode: Mode) -> AsyncIterator[RedisClient]:
        """The job is there. Raises FolderLocked, ConfigError, FrontierError."""
        from crawler.config.loader import dump_toml  # noqa: PLC0415
        from crawler.config.redaction import without_secrets  # noqa: PLC0415
        from crawler.frontier.redis.redis_jobs import enlist, wire_to  # noqa: PLC0415 - an extra

        saved = dump_toml(without_secrets(self._config))
        await enlist(self._where, saved, "join" if mode == "resume" else mode)
        # Only now there is something to resume.
        if mode != "resume":
            write_config(self._config, self._folder)
        (self._folder / LOOPS).write_bytes(msgspec.json.encode({"loops": self._number}))
        async with wire_to(self._where) as wire:
            if self._server is not None:  # and so nobody else is at work
                await end_leases(wire, self._where.job)
            yield wire

    async def _crawl(self, wire: RedisClient) -> None:
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(self._tell(wire)), group.create_task(self._look_after())]
            async with asyncio.TaskGroup() as loops:
                for number in range(1, self._number + 1):
                    loops.create_task(self._loop(number, wire))
            self._over = True  # should a client swallow the cancelling, they end all the same
            for task in beside:
                task.cancel()

    async def _loop(self, number: int, wire: RedisClient) -> None:
        """One loop, to its end: a process, and when that dies another one, a few times."""
        for left in range(AGAIN, -1, -1):
            share = self._folder / SHARES / str(number)
            own = own_settings(self._config, self._where, share, self._number)
            orders = LoopSettings(own, is_crawl(share), self._screen.silent, self._screen.verbose)
            self._alive[number] = process = LoopProcess(orders, self._lock)
            try:
                ended = await process.run(self._signals)
            finally:
                del self._alive[number]
            if ended.told is not None:
                self._note(number, ended.told)
                return
            if -ended.code in self._signals:
                return  # it had not yet begun
            self._died += 1
            links = await self._give_back(number, wire)
            again = left > 0 and not self._signals
            then = "it is started again" if again else f"it is left out; {self._heirs()}"
            self._screen.say(f"loop {number} died ({ended.why}); {links}; {then}")
            if not again:
                return

    def _note(self, number: int, told: LoopResult | LoopFailed) -> None:
        """Keep how a loop ended."""
        if isinstance(told, LoopResult):
            self._told.append(told)
            return
        if told.lines not in [one.lines for one in self._failed]:
            for line in told.lines:
                self._screen.say(line)
            self._screen.say(f"loop {number} ended; {self._heirs()}")
        self._failed.append(told)

    async def _give_back(self, number: int, wire: RedisClient) -> str:
        """Queue again what a dead loop had on lease, before another takes its place; in words."""
        from crawler.frontier.redis.redis_jobs import disown  # noqa: PLC0415 - an extra

        share = self._folder / SHARES / str(number)
        if not (share / WORKER).exists():
            return "it had not begun"
        try:
            name = worker_id(share, self._where.job)
            async with asyncio.timeout(BRIEFLY if self._signals else None):
                links = await disown(wire, self._where.job, name)
        except (CrawlerError, TimeoutError):  # it is said as it is, and nothing is lost
            return f"its links are queued again within {self._where.lease:g} s"
        return f"{counted(links, 'link')} of its own queued again"

    def _heirs(self) -> str:
        left = len(self._alive)
        if not left:
            return f"go on with: {_resume(self._folder)}"
        return f"the other {left} go on"

    def _none_ended(self) -> Exit:
        if self._signals:
            return Exit.INTERRUPTED
        if self._failed:
            return Exit(self._failed[0].code)
        raise FatalError(f"every loop died; nothing that was done is lost: {_resume(self._folder)}")

    async def _tell(self, wire: RedisClient) -> None:
        """How far it is, now and then."""
        from crawler.frontier.redis.redis_jobs import look  # noqa: PLC0415 - an extra

        while not (self._screen.silent or self._over):
            await asyncio.sleep(TELL_EVERY)
            stats = (await look(wire, self._where.job)).stats
            self._screen.say(line_of(stats, len(self._alive)))

    async def _look_after(self) -> None:
        """A server that ends is started again: the loops wait for it with what they have."""
        if self._server is None:
            return
        left = RESTARTS
        while not self._over:
            await asyncio.sleep(LOOK_EVERY)
            if self._server.ended():
                if not left:
                    raise FrontierError(f"{self._server.folder}: its server ends again and again")
                left -= 1
                self._screen.say("the queue's server has ended; it is started again")
                self._server.start()

    async def _counts(self, wire: RedisClient) -> Any:
        from crawler.frontier.redis.codec import counts_of  # noqa: PLC0415
        from crawler.frontier.redis.redis_jobs import look  # noqa: PLC0415 - an extra
        from crawler.frontier.redis.shards import reasons_of  # noqa: PLC0415

        try:
            stats = (await look(wire, self._where.job)).stats
            return counts_of(stats, await reasons_of(wire, self._where.job))
        except FrontierError as error:
            self._screen.say(f"{error}: what is queued is not known")
            return None

    def _merged(self) -> MergeResult | None:
        if not any((share / PAGES).exists() for share in shares_in(self._folder)):
            return None
        return merge(self._folder, [str(self._folder / SHARES)], replace=True)

    @contextmanager
    def _caught(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        ours = [one for one in wanted if signal.getsignal(one) is not signal.SIG_IGN]
        for number in ours:
            loop.add_signal_handler(number, self._came, number)
        try:
            yield
        finally:
            for number in ours:
                loop.remove_signal_handler(number)

    def _came(self, number: int) -> None:
        """First: they finish what is in hand. Second: they stop at once. Third: as if killed."""
        self._signals.append(number)
        if len(self._signals) == 1:
            grace = self._config.limits.grace
            self._screen.say(
                f"stopping: what is in hand has {grace:g} s to finish (again: at once). "
                f"Go on later with: {_resume(self._folder)}"
            )
        elif len(self._signals) == 2:
            self._screen.say("stopping at once; what is in hand will be visited again")
        else:
            os._exit(Exit.FORCED)
        for process in self._alive.values():
            process.signal(number)


def _resume(folder: Path) -> str:
    return f"crawler resume {shlex.quote(str(folder))}"
