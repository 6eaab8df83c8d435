"""A crawl as a person runs it: an event loop, signals, the display, the summary, the exit code."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import logging
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from crawler.cli.display import Display
from crawler.cli.exits import Exit, SeedOutcome, exit_code
from crawler.cli.main import YOUNG
from crawler.cli.screen import Screen, out
from crawler.cli.seed_results import SeedResults
from crawler.cli.summary import CrawlEnding, ended, summary, summary_json, told
from crawler.config.model import Config
from crawler.config.workdir import CRASH, FRONTIER
from crawler.engine.running_crawl import RunningCrawl
from crawler.errors import CrawlerError, FatalError
from crawler.interfaces import Sink
from crawler.policy.end_message import NO_PAGES
from crawler.policy.plugin_stats import sentences

NO_ROBOTS: Final = (
    "warning: --no-robots: robots.txt is not asked for, and nofollow and noindex are not obeyed; "
    "do this to sites of your own only"
)

FILES: Final = 40
"""Descriptors with which a crawl can do its work, on few connections."""

THREADS: Final = 12
"""Of libuv four, of each parse process two, of the frontier, of what writes files …"""

ADDRESSES: Final = 2 << 30
"""Bytes of address space (ulimit -v) below which libuv may find none for the stacks of its threads;
glibc sets 64 MB aside for each thread."""

if TYPE_CHECKING:
    from crawler.report.page_records import PageRecords

log = logging.getLogger(__name__)

Mode: TypeAlias = Literal["new", "fresh", "resume"]


Opener: TypeAlias = Callable[..., AbstractAsyncContextManager[RunningCrawl]]
"""`build.open_crawl`, or what stands for it in a test."""


def run(
    config: Config,
    folder: Path,
    mode: Mode,
    screen: Screen,
    *,
    opener: Opener | None = None,
    sinks: Sequence[Sink] = (),
    summed_up: bool = True,
) -> Exit:
    """Crawl to the end. Raises what the crawl raises; the folder can be resumed then.

    `sinks` are the caller's own, beside those of the configuration. Not `summed_up`: the caller
    has something else to say at the end.
    """
    screen.listen()
    raise_file_limit()
    if opener is None:
        from crawler.parse.workers.forkserver import warm  # noqa: PLC0415 - only who crawls pays

        warm()  # it loads what reads pages while we load what fetches them
        from crawler.bootstrap.crawl_setup import open_crawl  # noqa: PLC0415 - aiohttp: only who crawls pays

        opener = open_crawl
    demand_threads()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        code = runner.run(_crawl(config, folder, mode, screen, opener, sinks, summed_up))
    if config.output.mirror:
        if code in {Exit.INTERRUPTED, Exit.FORCED}:  # who stops a crawl wants it to stop
            screen.say(f"no mirror yet; of what is there: crawler export mirror {folder}")
        else:
            _mirror(config, folder, screen)
    return code


@contextlib.asynccontextmanager
async def calm() -> AsyncIterator[None]:
    """Fewer, and smaller, searches for reference cycles: 3 to 11 % of a page's CPU (measured).

    What is loaded by now stays, so nobody looks at it again, not even now: a last search would
    cost 16 ms and find next to nothing. Not for the library: a process is its owner's.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@contextlib.contextmanager
def crash_noted(folder: Path) -> Iterator[None]:
    """Let a signal that ends the process (SIGSEGV, SIGABRT …) leave a word of it in the folder: the
    next run then looks which of the links in hand it was.
    """
    path = folder / CRASH
    try:
        file = path.open("w", encoding="utf-8")
    except OSError:  # no folder here, or one that is full: then it cannot be noted
        yield
        return
    with file:
        before = faulthandler.is_enabled()
        faulthandler.enable(file)
        try:
            yield
        finally:
            faulthandler.disable()
            if before and sys.__stderr__ is not None:
                faulthandler.enable(sys.__stderr__)
            path.unlink(missing_ok=True)


def _mirror(config: Config, folder: Path, screen: Screen) -> None:
    """The copy to browse, of what is in the archive by now; made again it only gets newer."""
    from crawler.export.mirror import MIRROR, write_mirror  # noqa: PLC0415
    from crawler.export.warc_reader import WarcReader  # noqa: PLC0415 - only who asked for a mirror
    from crawler.policy.urls import Urls  # noqa: PLC0415

    with WarcReader(folder) as archive:
        result = write_mirror(archive, folder / MIRROR, Urls(config.urls))
    if not screen.silent:
        for problem in result.problems:
            screen.say(f"not in the mirror: {problem}")
        screen.say(f"{folder / MIRROR}: {result.sentence()}")


async def _crawl(
    config: Config,
    folder: Path,
    mode: Mode,
    screen: Screen,
    opener: Opener,
    sinks: Sequence[Sink],
    summed_up: bool,
) -> Exit:
    seeds = SeedResults()
    signals = Signals(folder, config.limits.grace, screen.say)
    with signals.caught():
        async with opener(config, dir=folder, mode=mode, sinks=[seeds, *sinks]) as running:
            signals.opened(running)
            if not (config.robots.obey or screen.silent):
                screen.say(NO_ROBOTS)
            before = await running.frontier.counts()
            if mode == "resume" and not screen.silent:
                screen.say(f"resuming: {before.done} done, {before.pending} to visit")
            try:
                waiting = running.frontier.waits
                async with (
                    calm(),
                    Display(running.tally, config, screen, before=before.done, waits=waiting),
                ):
                    with crash_noted(folder):
                        await running.run()
            except FatalError as error:
                if not error.lost:
                    screen.say(f"nothing that was done is lost; go on with: {_resume(folder)}")
                raise
            counts = await running.frontier.counts()
            paces = tuple(p for p in running.frontier.paces() if p.parks or p.crawl_delay)
            waits = tuple(await waiting()) if counts.pending else ()
            waits_at = time.time()
            reading = asyncio.create_task(_read_ahead(config, folder))
    lines = await reading
    shot = running.tally.snapshot()
    ending = CrawlEnding(
        running.finish_reason,
        folder,
        shot,
        counts,
        tuple(seeds.troubles),
        paces,
        robots=config.robots.obey,
        waits=waits,
        at=waits_at,
        moves=tuple(seeds.moves),
    )
    written = _report(ending, config, screen, lines)
    if screen.as_json:
        out(summary_json(ending))
    elif summed_up and not screen.silent:
        for line in [*summary(ending), *written]:
            screen.say(line)
    fates = [*seeds.fates]
    if config.sitemap.only and "noSitemap" in shot.reasons:
        fates.append(SeedOutcome.ERROR)  # a site that was to be read by its sitemaps has none
    ever = counts.pages > 0
    code = exit_code(running.finish_reason, shot, fates, shot.robots, ever=ever)
    log.info("%s", ended(ending))
    if screen.silent and code is not Exit.OK:
        for said in _errors(ending):
            screen.say(f"crawler: error: {said}")
    return code


def _errors(ending: CrawlEnding) -> Iterator[str]:
    """What is said of a crawl that is not all well where there is no summary."""
    if not ending.troubles and ending.reason in {NO_PAGES, "hosts-down"}:
        yield ended(ending)
    for trouble in ending.troubles:
        yield told(*trouble)
    yield from sentences(one for one in ending.shot.plugins if one.failed_always)


async def _read_ahead(config: Config, folder: Path) -> PageRecords | None:
    """Begin the report while the crawl is closed, which is waiting for the disk for the most part;
    what comes meanwhile is read afterwards. None: there is no report, or no reading, whose reason
    `_report` tells.
    """
    if not config.output.report or not (folder / FRONTIER).exists():
        return None

    def read() -> PageRecords | None:
        import crawler.report.page  # noqa: F401, PLC0415 - jinja2: at the end only
        from crawler.report.page_records import PageRecords  # noqa: PLC0415

        lines = PageRecords()
        with contextlib.suppress(CrawlerError):
            lines.read_file(folder / "pages.jsonl")
            return lines
        return None

    return await asyncio.to_thread(read)


def _report(
    ending: CrawlEnding, config: Config, screen: Screen, lines: PageRecords | None
) -> list[str]:
    """Leave summary.json and report.html; what cannot be written is told and ends nothing."""
    if not config.output.report or not (ending.folder / FRONTIER).exists():
        return []
    from crawler.report.page import write_report  # noqa: PLC0415 - jinja2: at the end only

    try:
        (ending.folder / "summary.json").write_text(f"{summary_json(ending)}\n", "utf-8")
        return [f"    report  {write_report(ending.folder, lines)}"]
    except (OSError, CrawlerError) as error:
        screen.say(f"the report could not be written: {error}")
        return []


class Signals:
    """First signal: finish what is in hand. Second: at once. Third: leave as if killed.

    While the crawl is being opened (its server is away, say) nothing is in hand: what does not open
    within the grace time, or a second after the second signal, is left as if killed.
    """

    def __init__(
        self, folder: Path, grace: float, say: Callable[[str], None], *, again: str = ""
    ) -> None:
        """`again`: the command that goes on; empty: a crawl's."""
        self._again = again or _resume(folder)
        self._grace = grace
        self._say = say
        self._seen = 0
        self._running: RunningCrawl | None = None
        self._opening: asyncio.TimerHandle | None = None  # ends what does not open

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Ours while the block lasts. What the parent had ignored (nohup, `&`) stays ignored."""
        loop = asyncio.get_running_loop()
        ours = [
            number
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            if signal.getsignal(number) is not signal.SIG_IGN
        ]
        for number in ours:
            loop.add_signal_handler(number, self.came)
        try:
            yield
        finally:
            for number in ours:
                loop.remove_signal_handler(number)
            self._leave_in(None)

    def opened(self, running: RunningCrawl) -> None:
        """From here on there is something to stop; what came earlier is told now."""
        self._running = running
        self._leave_in(None)
        if self._seen == 1:
            running.stop("interrupted")
        elif self._seen:
            running.abort()

    def _leave_in(self, seconds: float | None, code: Exit = Exit.FORCED) -> None:
        """Leave unless it is open by then; None: it is open."""
        if self._opening is not None:
            self._opening.cancel()
        loop = asyncio.get_running_loop()
        self._opening = None if seconds is None else loop.call_later(seconds, os._exit, code)

    def came(self) -> None:
        """A signal."""
        self._seen += 1
        if self._seen == 1:
            self._say(
                f"stopping: what is in hand has {self._grace:g} s to finish (again: at once). "
                f"Go on later with: {self._again}"
            )
            if self._running is not None:
                self._running.stop("interrupted")
            else:
                self._leave_in(self._grace, Exit.INTERRUPTED)
        elif self._seen == 2:
            self._say("stopping at once; what is in hand will be visited again")
            if self._running is not None:
                self._running.abort()
            else:
                self._leave_in(1.0, Exit.FORCED)
        else:
            os._exit(Exit.FORCED)  # as safe as kill -9, which loses nothing


def _resume(folder: Path) -> str:
    return f"crawler resume {shlex.quote(str(folder))}"


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Uvloop where the platform has it: a third more pages a second. Not where address space is
    scarce: there it may end the process.
    """
    if scarce_addresses():
        return asyncio.new_event_loop
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return asyncio.new_event_loop
    new: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return new


def scarce_addresses() -> bool:
    """Whether this process may have little address space."""
    import resource  # noqa: PLC0415 - POSIX only

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return 0 <= soft < ADDRESSES  # no limit at all is -1


def demand_threads() -> None:
    """See that there is room for the threads that a crawl begins with: libuv ends the process when
    it cannot start its own. Raises RuntimeError, which `faults.machine_fault` knows.
    """
    if scarce_addresses():
        return  # the address space that this takes is not given back
    done = threading.Event()
    started = []
    try:
        for _ in range(THREADS):
            one = threading.Thread(target=done.wait, daemon=True)
            one.start()
            started.append(one)
    finally:
        done.set()
        for one in started:
            one.join()


def raise_file_limit() -> None:
    """Sockets are files: take as many as the hard limit allows. Raises FatalError for too few."""
    import resource  # noqa: PLC0415 - POSIX only

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # macOS names a limit it does not grant
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    if 0 <= soft < FILES:  # no limit at all is -1
        raise FatalError(f"{soft} files may be open (ulimit -n); a crawl needs {FILES}")
