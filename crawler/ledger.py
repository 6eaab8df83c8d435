"""Group commit: what was kept and what was crossed off, in one step.

`enter` waits in a group. One committer takes what waits: the sinks append the whole group and
flush, then the frontier commits one transaction with the visits **and** the length that each
output file now has. A crash between the two leaves bytes behind the mark, which are cut off when
the crawl is opened again; so files and frontier agree to the byte, and a page is never written
twice and never lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Self

from crawler.errors import InternalError
from crawler.model import Kind, Outcome, Visit
from crawler.protocols import Frontier, Sink

ARCHIVE = "warc"
"""The sink that gets whatever was made ready for it, robots.txt too, as archives have them."""

GROUP = 512
"""Visits in one commit at most; a larger group saves nothing more and delays its first."""


class Ledger:
    """Owns the committer task; enter it before the first visit, leave it after the last."""

    def __init__(self, frontier: Frontier, sinks: Sequence[Sink]) -> None:
        self._frontier = frontier
        self._sinks = sinks
        self._waiting: list[tuple[Visit, asyncio.Future[Visit]]] = []
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

    async def enter(self, visit: Visit) -> Visit:
        """Return the visit as it was kept, once it is. Raises HouseError when it cannot be.

        A cancelled caller does not take its visit back: it is kept with its group.
        """
        if self._broken is not None:
            raise self._broken
        kept: asyncio.Future[Visit] = asyncio.get_running_loop().create_future()
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

    async def _commit(self, visits: Sequence[Visit]) -> Sequence[Visit]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        visits = await self._frontier.recognise(visits)
        records = [visit for visit in visits if is_record(visit)]
        marks = {}
        for sink in self._sinks:
            its = (
                [visit for visit in visits if visit.archived or visit.trail]
                if sink.name == ARCHIVE
                else records
            )
            if its:
                marks[sink.name] = await sink.append(its)
        await self._frontier.settle(visits, marks)
        self.seconds += loop.time() - began
        return visits

    def _break(
        self, error: BaseException, group: list[tuple[Visit, asyncio.Future[Visit]]]
    ) -> None:
        self._broken = error
        waiting, self._waiting = [*group, *self._waiting], []
        for _, kept in waiting:
            if not kept.done():
                kept.set_exception(error)


def is_record(visit: Visit) -> bool:
    """Whether a visit is written down: it is final, and neither a robots.txt nor a sitemap that
    was looked for and is not there.
    """
    if visit.outcome is Outcome.RETRY or visit.link.kind is Kind.ROBOTS:
        return False
    return visit.reason != "noSitemap"
