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
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec

from crawler.adoption import Adoption
from crawler.config import LimitsConfig
from crawler.ending import NO_PAGES, sentence
from crawler.errors import SPOOL, FetchError, HouseError, ParseError, SinkError
from crawler.gate import Gate
from crawler.ledger import Ledger
from crawler.model import Extract, Kept, Kind, Link, Outcome, Page, Visit
from crawler.pace import lesson_of
from crawler.protocols import Fetcher, Frontier, Parser
from crawler.stages import Stages
from crawler.tally import Tally
from crawler.verdict import Verdict

CREW: Final = 128
"""Workers at least: with fewer, pages are read and entered in small groups, which costs more."""

log = logging.getLogger(__name__)


class Crawl:
    """Lease a link, visit it, enter the visit in the ledger; until the frontier has no more.

    Made and closed by `build.open_crawl`. `finish_reason` is one of finished, no-pages,
    hosts-down, max-pages, time-limit, size-limit, interrupted, aborted; empty while it runs.
    """

    def __init__(
        self,
        frontier: Frontier,
        gate: Gate,
        fetcher: Fetcher,
        parser: Parser,
        ledger: Ledger,
        *,
        verdict: Verdict,
        limits: LimitsConfig,
        tally: Tally,
        stages: Stages | None = None,
        keep: Callable[[Page], Awaitable[Kept | None]] | None = None,
        adoption: Adoption | None = None,
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
        self._stages = stages or Stages(0)
        self._keep = keep
        self._adoption = adoption
        self._pages = pages
        self._bytes = 0
        self._deadline: asyncio.Timeout | None = None

    async def run(self) -> Tally:
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
        log.warning("%s", sentence(NO_PAGES, pending=counts.pending, left=counts.left))
        return NO_PAGES

    def stop(self, reason: str = "interrupted") -> None:
        """Lease no more; what is in hand has the grace time to be finished and entered."""
        self._end(reason, self._limits.grace)

    def abort(self) -> None:
        """Drop what is in hand; its links are still queued when the crawl is opened again."""
        self.finish_reason = "aborted"
        self._end("aborted", 0.0)

    async def _work(self) -> None:
        while (link := await self.frontier.lease()) is not None:
            visit = await self._visit(link)
            if not self._affordable(visit):
                self.frontier.forgo(link)
                return
            self._stages.enter(link.url, "ledger")
            visit = await self._ledger.enter(visit)
            self._stages.leave(link.url)
            self.tally.count(visit)
            if log.isEnabledFor(logging.INFO):
                log.info("%s", _told(visit))

    async def _visit(self, link: Link) -> Visit:
        """One trip. What goes wrong on the road becomes a Visit; our own faults propagate."""
        self._stages.enter(link.url, "gate")
        if self._adoption is not None and self._adoption.shared:
            await self._adoption.catch_up(link)
        if link.kind is Kind.ROBOTS:
            return await self._archived(await self._gate.ask(link))
        if reason := await self._gate.refuses(link):
            self.frontier.release(link, asked=False)
            return Visit(link, Outcome.REFUSED, reason=reason)
        self._stages.enter(link.url, "fetch")
        try:
            page = await self._fetcher.fetch(link)
        except FetchError as error:
            visit = self._verdict.on_error(link, error)
            self.frontier.release(link, lesson=lesson_of(None, error))
            return visit
        try:
            visit = self._verdict.on_answer(link, page)
            if visit.adopts and self._adoption is not None:
                visit = self._adoption.take(visit)
            self.frontier.release(link, rest=visit.rest, lesson=lesson_of(page))
            if visit.outcome is Outcome.DONE and link.kind is not Kind.PROBE:
                self._stages.enter(link.url, "read")
                visit = self._verdict.on_read(visit, await self._read(page))
            return await self._archived(visit)
        except ParseError as error:
            _unless_ours(error)
            visit = Visit(link, Outcome.FAILED, page, reason=f"parse:{error}")
            return await self._archived(visit)
        finally:
            if isinstance(page.body, Path):
                page.body.unlink(missing_ok=True)

    async def _read(self, page: Page) -> Extract:
        """Once more where a seed was adopted meanwhile that its links were not judged by."""
        adoption = self._adoption
        before = adoption.number if adoption is not None else 0
        extract = await self._parser.read(page)
        if adoption is None or adoption.number == before or not adoption.misjudged(extract):
            return extract
        _thrown_away(extract)
        return await self._parser.read(page)

    async def _archived(self, visit: Visit) -> Visit:
        """What was not read goes into the archive too: redirects, refusals, what trips a parser."""
        final = visit.outcome is not Outcome.RETRY
        if self._keep is None or visit.page is None or visit.extract is not None or not final:
            return visit
        try:
            return msgspec.structs.replace(visit, kept=await self._keep(visit.page))
        except ParseError as error:
            _unless_ours(error)
            log.warning("%s is not in the archive: %s", visit.link.url, error)
            return visit

    def _affordable(self, visit: Visit) -> bool:
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


def _told(visit: Visit) -> str:
    """A visit as a line of the log: how it ended, the status, the URL, where it leads, and why."""
    status = str(visit.page.status) if visit.page is not None else "-"
    arrow = f" -> {visit.found[0][0]}" if visit.outcome is Outcome.MOVED and visit.found else ""
    why = f" ({visit.reason})" if visit.reason else ""
    return f"{visit.outcome.value} {status} {visit.link.url}{arrow}{why}"


def _thrown_away(extract: Extract) -> None:
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
    house = group.subgroup(HouseError) or group
    first = house.exceptions[0]
    return _the_one_that_matters(first) if isinstance(first, ExceptionGroup) else first
