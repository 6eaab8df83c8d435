"""Group commit: what was kept and what was crossed off, in one step.

`enter` waits in a group. One committer takes what waits: the sinks append the whole group and
flush, then the frontier commits one transaction with the visits **and** the length that each
output file now has. A crash between the two leaves bytes behind the mark, which are cut off when
the crawl is opened again; so files and frontier agree to the byte, and a page is never written
twice and never lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Self

from crawler.errors import InternalError
from crawler.interfaces import Frontier, Sink
from crawler.policy.internal_errors import is_of_visit, reason_of, told
from crawler.records import CrawlResult, Kind, Outcome

ARCHIVE = "warc"
"""The sink that gets whatever was made ready for it, robots.txt too, as archives have them."""

GROUP = 512
"""Visits in one commit at most; a larger group saves nothing more and delays its first."""


log = logging.getLogger(__name__)


class Committer:
    """Owns the committer task; enter it before the first visit, leave it after the last."""

    def __init__(
        self,
        frontier: Frontier,
        sinks: Sequence[Sink],
        *,
        marks: Callable[[], Awaitable[Mapping[str, int]]] | None = None,
    ) -> None:
        """`marks` tells the length of each sink at the last commit; None: nobody knows."""
        self._marks = marks
        self._frontier = frontier
        self._sinks = sinks
        self._waiting: list[tuple[CrawlResult, asyncio.Future[CrawlResult]]] = []
        self._bell = asyncio.Event()
        self._closing = False
        self._broken: BaseException | None = None
        self._committer: asyncio.Task[None] | None = None
        self.seconds = 0.0  # spent in commits, for the report's verdict

    async def __aenter__(self) -> Self:
        self._committer = asyncio.create_task(self._commit_groups(), name="ledger committer")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Commit what still waits; a failure was already raised in those who entered."""
        self._closing = True
        self._bell.set()
        assert self._committer is not None
        await asyncio.wait([self._committer])

    async def enter(self, visit: CrawlResult) -> CrawlResult:
        """Return the visit as it was kept, once it is. Raises FatalError when it cannot be.

        A cancelled caller does not take its visit back: it is kept with its group.
        """
        if self._broken is not None:
            raise self._broken
        kept: asyncio.Future[CrawlResult] = asyncio.get_running_loop().create_future()
        self._waiting.append((visit, kept))
        self._bell.set()
        return await kept

    async def _commit_groups(self) -> None:
        while True:
            await self._bell.wait()
            self._bell.clear()
            while self._waiting:
                group, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
                try:
                    entered = await self._commit([visit for visit, _ in group])
                    for visit, (_, kept) in zip(entered, group, strict=True):
                        if not kept.done():
                            kept.set_result(visit)
                except asyncio.CancelledError:  # of something that an output waited for
                    self._break(InternalError("a commit was cancelled"), group)
                    raise
                except Exception as error:  # noqa: BLE001 - raised again in every worker that waits
                    self._break(error, group)
                    return
            if self._closing:
                return

    async def _commit(self, visits: Sequence[CrawlResult]) -> Sequence[CrawlResult]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            visits = await self._frontier.recognise(visits)
            marks: dict[str, int] = {}
            done = 0  # sinks that have the group
            try:
                for sink in self._sinks:
                    if its := _for(sink, visits):
                        marks[sink.name] = await sink.append(its)
                    done += 1
                break
            except Exception as error:  # noqa: BLE001 - raised again, unless it is of one visit
                visits = await self._without_the_guilty(visits, done, error)
        await self._frontier.settle(visits, marks)
        self.seconds += loop.time() - began
        return visits

    async def _without_the_guilty(
        self, visits: Sequence[CrawlResult], place: int, error: Exception
    ) -> Sequence[CrawlResult]:
        """The group with failures in place of the visits that the sink at `place` cannot write (a
        record with half a character in it), the sinks being as they were after the last commit.

        Raises the error when it is no visit's, or a sink has the group that cannot go back.
        """
        touched = self._sinks[: place + 1]
        if self._marks is None or not is_of_visit(error):
            raise error
        if not all(getattr(sink, "rewinds", False) for sink in touched):
            raise error
        guilty: dict[int, Exception] = {}
        for visit in _for(touched[-1], visits):
            try:
                await touched[-1].append([visit])
            except Exception as its:  # noqa: BLE001 - told below
                guilty[id(visit)] = its
        if not guilty:
            raise error
        marks = await self._marks()
        for sink in touched:
            await sink.cut(marks.get(sink.name, 0))
        return [
            failed(visit, guilty[id(visit)]) if id(visit) in guilty else visit for visit in visits
        ]

    def _break(
        self, error: BaseException, group: list[tuple[CrawlResult, asyncio.Future[CrawlResult]]]
    ) -> None:
        self._broken = error
        waiting, self._waiting = [*group, *self._waiting], []
        for _, kept in waiting:
            if not kept.done():
                kept.set_exception(error)


def _for(sink: Sink, visits: Sequence[CrawlResult]) -> list[CrawlResult]:
    """The visits of a group that a sink is given."""
    if sink.name == ARCHIVE:
        return [visit for visit in visits if visit.archived or visit.trail]
    return [visit for visit in visits if is_record(visit)]


def failed(visit: CrawlResult, error: Exception) -> CrawlResult:
    """The failure that a visit becomes when our own code cannot write it down."""
    log.error("%s: a bug in this program: %s", visit.link.url, told(error), exc_info=error)
    return CrawlResult(visit.link, Outcome.FAILED, reason=reason_of(error))


def is_record(visit: CrawlResult) -> bool:
    """Whether a visit is written down: it is final, and neither a robots.txt nor a sitemap that
    was looked for and is not there.
    """
    if visit.outcome is Outcome.RETRY or visit.link.kind is Kind.ROBOTS:
        return False
    return visit.reason != "noSitemap"
