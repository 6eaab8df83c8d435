"""Read this first: the whole crawl is one loop. Lease a link, visit it, enter the visit.

    frontier.lease() ──▶ gate ──▶ fetch ──▶ read (in a process) ──▶ ledger.enter() ──▶ again
       waits for a        may      a slot,    decode, parse,         written, crossed off,
       polite moment      we?      bytes      links judged           children queued: one commit

The frontier is the queue of the design: `lease` is its `get`, the ledger's commit its `put` and
`task_done`, None its `join` come true. Three widths have three meanings: workers bound the pages in
memory, the fetcher's slots the open connections, the parse processes the CPU.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from crawler.config.model import LimitsConfig
from crawler.engine.committer import Committer
from crawler.engine.robots_gate import RobotsGate
from crawler.engine.seed_redirects import SeedRedirects
from crawler.engine.stall_watchdog import StallWatchdog
from crawler.engine.stats import StatsCollector
from crawler.errors import SPOOL, FatalError, FetchError, InternalError, ParseError, SinkError
from crawler.interfaces import Fetcher, Frontier, Parser
from crawler.policy.autothrottle import lesson_of
from crawler.policy.end_message import NO_PAGES, sentence_of
from crawler.policy.internal_errors import DEADLY, DIED, is_of_visit, reason_of, told
from crawler.policy.outcome import ResponseClassifier
from crawler.records import (
    CrawlResult,
    CrawlUrl,
    Kind,
    Outcome,
    Page,
    ParsedPage,
    PluginRun,
    WarcRecord,
)

CREW: Final = 128
"""Workers at least: with fewer, pages are read and entered in small groups, which costs more."""

log = logging.getLogger(__name__)


class Engine:
    """Lease a link, visit it, enter the visit in the ledger; until the frontier has no more.

    Made and closed by `build.open_crawl`. `finish_reason` is one of finished, no-pages,
    hosts-down, max-pages, time-limit, size-limit, interrupted, aborted; empty while it runs.
    """

    def __init__(
        self,
        frontier: Frontier,
        gate: RobotsGate,
        fetcher: Fetcher,
        parser: Parser,
        ledger: Committer,
        *,
        verdict: ResponseClassifier,
        limits: LimitsConfig,
        tally: StatsCollector,
        stages: StallWatchdog | None = None,
        keep: Callable[[Page], Awaitable[WarcRecord | None]] | None = None,
        adoption: SeedRedirects | None = None,
        pages: bool = False,
    ) -> None:
        """`keep` makes an answer that is not read ready for the archive; None: there is none.
        `adoption` takes what seeds redirect to; None: nothing does. `pages`: it is for pages, and
        one that never had any ends with the reason no-pages.
        """
        self.frontier = frontier
        self.tally = tally
        self.finish_reason = ""
        self._gate = gate
        self._fetcher = fetcher
        self._parser = parser
        self._ledger = ledger
        self._verdict = verdict
        self._limits = limits
        self._stages = stages or StallWatchdog(0)
        self._keep = keep
        self._adoption = adoption
        self._pages = pages
        self._bytes = 0
        self._failing: set[int] = set()  # places of rules and plugins that raised
        self._deadline: asyncio.Timeout | None = None

    async def run(self) -> StatsCollector:
        """Crawl to the end, or to a limit, or until stopped. What was done is in the ledger."""
        limits = self._limits
        loop = asyncio.get_running_loop()
        clock = (
            None if limits.time_limit is None else loop.call_later(limits.time_limit, self._time_up)
        )
        try:
            async with asyncio.timeout(None) as self._deadline:
                async with asyncio.TaskGroup() as crew:  # a bug ends the crawl, loudly
                    for number in range(limits.workers or max(4 * limits.concurrency, CREW)):
                        crew.create_task(self._work(), name=f"worker {number}")
        except TimeoutError:
            log.info("stopped with visits in hand; they are queued for the next time")
        except ExceptionGroup as group:
            raise _the_one_that_matters(group) from group
        finally:
            self._deadline = None
            if clock is not None:
                clock.cancel()
        if not self.finish_reason:
            self.finish_reason = await self._natural_end()
        return self.tally

    async def _natural_end(self) -> str:
        if self.frontier.exhausted:
            return "max-pages"
        if self.frontier.stranded:
            return "hosts-down"
        if not self._pages or self.tally.pages:
            return "finished"
        counts = await self.frontier.counts()
        if counts.pages:
            return "finished"
        log.warning("%s", sentence_of(NO_PAGES, counts))
        return NO_PAGES

    def stop(self, reason: str = "interrupted") -> None:
        """Lease no more; what is in hand has the grace time to be finished and entered."""
        self._end(reason, self._limits.grace)

    def abort(self) -> None:
        """Drop what is in hand; its links are still queued when the crawl is opened again."""
        self.finish_reason = "aborted"
        self._end("aborted", 0.0)

    async def _work(self) -> None:
        """One worker, to the crawl's end. What cancels it alone is a bug: a task group lets a
        cancelled task go without a word, and its link would stay on lease for ever.
        """
        try:
            await self._visit_all()
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and not task.cancelling():
                raise InternalError("a worker was cancelled by what it waited for") from error
            raise

    async def _visit_all(self) -> None:
        while (link := await self.frontier.lease()) is not None:
            try:
                visit = await self._visit(link)
            except Exception as error:  # noqa: BLE001 - a bug that one link trips over is its own
                visit = self._tripped(link, error)
            if not self._affordable(visit):
                self.frontier.forgo(link)
                return
            self._stages.enter(link.url, "ledger")
            visit = await self._ledger.enter(visit)
            self._stages.leave(link.url)
            self.tally.count(visit)
            if log.isEnabledFor(logging.INFO):
                log.info("%s", _told(visit))
            if visit.extract is not None and visit.extract.ran:
                self._tell_failures(visit.link.url, visit.extract.ran)

    def _tell_failures(self, url: str, ran: Sequence[PluginRun]) -> None:
        """Log the first exception of each rule and plugin; the end tells how many there were."""
        for place, one in enumerate(ran):
            if one.traceback and place not in self._failing:
                self._failing.add(place)
                log.warning("%s %s failed on %s: %s", one.kind, one.name, url, one.error)
                log.info("%s", one.traceback)

    async def _visit(self, link: CrawlUrl) -> CrawlResult:
        """One trip. What goes wrong on the road becomes a Visit; any other exception is raised."""
        self._stages.enter(link.url, "gate")
        if link.deaths >= DEADLY:
            return self._set_aside(link, DIED)
        if self._adoption is not None and self._adoption.shared:
            await self._adoption.catch_up(link)
        if link.kind is Kind.ROBOTS:
            return await self._ask(link)
        if reason := await self._gate.refuses(link):
            self.frontier.release(link, asked=False)
            return self._verdict.not_asked(link, reason)
        self._stages.enter(link.url, "fetch")
        try:
            page = await self._fetcher.fetch(link)
        except FetchError as error:
            visit = self._verdict.on_error(link, error)
            self.frontier.release(link, lesson=lesson_of(None, error))
            return await self._broken_off(visit, error)
        try:
            visit = self._verdict.on_answer(link, page)
            if visit.adopts and self._adoption is not None:
                visit = self._adoption.take(visit)
            self.frontier.release(link, rest=visit.rest, why=visit.rest_why, lesson=lesson_of(page))
            if visit.outcome is Outcome.DONE and link.kind is not Kind.PROBE:
                self._stages.enter(link.url, "read")
                visit = self._verdict.on_read(visit, await self._read(page))
            return await self._archived(visit)
        except ParseError as error:
            _unless_ours(error)
            visit = CrawlResult(link, Outcome.FAILED, page, reason=f"parse:{error}")
            return await self._archived(visit)
        finally:
            _drop(page)

    async def _ask(self, link: CrawlUrl) -> CrawlResult:
        """A robots.txt. Whatever its site said, however often, goes into the archive."""
        visit = await self._gate.ask(link)
        try:
            if self._keep is None:
                return msgspec.structs.replace(visit, trail=())
            trail = [(page, await self._kept(page)) for page, _ in visit.trail]
            kept = visit.kept or (await self._kept(visit.page) if visit.page else None)
            return msgspec.structs.replace(visit, kept=kept, trail=tuple(trail))
        finally:
            for page in (visit.page, *(page for page, _ in visit.trail)):
                _drop(page)

    async def _broken_off(self, visit: CrawlResult, error: FetchError) -> CrawlResult:
        """An answer that broke off for good: the archive has what came of it, and its links are
        followed, as a browser shows what came; but not of one that was cut for its size.
        """
        page: Page | None = error.take_page()
        try:
            if page is None or visit.outcome is Outcome.RETRY:
                return visit
            visit = msgspec.structs.replace(visit, page=page)
            if page.status < 300 and page.truncated != "length":
                # Half a page is no record; a later visit to it brings the whole one.
                extract = msgspec.structs.replace(await self._parser.read(page), records=())
                return msgspec.structs.replace(visit, extract=extract, found=extract.found)
            return await self._archived(visit)
        except ParseError as trouble:
            _unless_ours(trouble)
            return await self._archived(visit)
        finally:
            _drop(page)

    def _tripped(self, link: CrawlUrl, error: Exception) -> CrawlResult:
        """The visit that an exception of our own code ended. Raises it when it is no link's fault:
        what is wrong is wrong for all of them.
        """
        if not is_of_visit(error):
            raise error
        reason = reason_of(error)
        log.error("%s: a bug in this program: %s", link.url, told(error), exc_info=error)
        return self._set_aside(link, reason)

    def _set_aside(self, link: CrawlUrl, reason: str) -> CrawlResult:
        """The visit of a link that is not tried again, for a fault that is no site's."""
        if link.kind is Kind.ROBOTS:
            return self._gate.given_up(link, reason)
        self.frontier.release(link)
        return CrawlResult(link, Outcome.FAILED, reason=reason)

    async def _read(self, page: Page) -> ParsedPage:
        """Once more where a seed was adopted meanwhile that its links were not judged by."""
        adoption = self._adoption
        before = adoption.number if adoption is not None else 0
        extract = await self._parser.read(page)
        if adoption is None or adoption.number == before or not adoption.misjudged(extract):
            return extract
        _thrown_away(extract)
        return await self._parser.read(page)

    async def _archived(self, visit: CrawlResult) -> CrawlResult:
        """What was not read goes into the archive too: redirects, refusals, what trips a parser."""
        final = visit.outcome is not Outcome.RETRY
        if visit.page is None or visit.extract is not None or not final:
            return visit
        return msgspec.structs.replace(visit, kept=await self._kept(visit.page))

    async def _kept(self, page: Page) -> WarcRecord | None:
        """An exchange as the archive writes it; None: there is no archive, or it cannot be."""
        if self._keep is None:
            return None
        try:
            return await self._keep(page)
        except ParseError as error:
            _unless_ours(error)
            log.warning("%s is not in the archive: %s", page.link.url, error)
            return None

    def _affordable(self, visit: CrawlResult) -> bool:
        """Whether the visit fits what is left of the size limit; if not, the crawl is over."""
        if self._limits.size_limit is None or visit.page is None:
            return True
        if self._bytes + visit.page.bytes_wire > self._limits.size_limit:
            self.stop("size-limit")
            return False
        self._bytes += visit.page.bytes_wire
        return True

    def _time_up(self) -> None:
        self._end("time-limit", 0.0)

    def _end(self, reason: str, grace: float) -> None:
        self.finish_reason = self.finish_reason or reason
        self.frontier.stop()
        if self._deadline is not None:
            now = asyncio.get_running_loop().time()
            until = self._deadline.when()
            self._deadline.reschedule(now + grace if until is None else min(until, now + grace))


def _drop(page: Page | None) -> None:
    """Remove the file in which a page's body lies."""
    if page is not None and isinstance(page.body, Path):
        page.body.unlink(missing_ok=True)


def _told(visit: CrawlResult) -> str:
    """A visit as a line of the log: how it ended, the status, the URL, where it leads, and why."""
    status = str(visit.page.status) if visit.page is not None else "-"
    arrow = f" -> {visit.found[0][0]}" if visit.outcome is Outcome.MOVED and visit.found else ""
    why = f" ({visit.reason})" if visit.reason else ""
    return f"{visit.outcome.value} {status} {visit.link.url}{arrow}{why}"


def _thrown_away(extract: ParsedPage) -> None:
    """Remove the files that a reading left for the sinks."""
    kept = extract.kept.response if extract.kept else None
    for path in (extract.body, kept):
        if isinstance(path, Path):
            path.unlink(missing_ok=True)


def _unless_ours(error: ParseError) -> None:
    """Raise SinkError when no page is at fault: then its link must stay queued."""
    if error.reason == SPOOL:
        raise SinkError(f"spool: {error.detail}") from error


def _the_one_that_matters(group: ExceptionGroup[Exception]) -> Exception:
    """The error behind a crew's end: ours if there is one, else the first bug."""
    house = group.subgroup(FatalError) or group
    first = house.exceptions[0]
    return _the_one_that_matters(first) if isinstance(first, ExceptionGroup) else first
