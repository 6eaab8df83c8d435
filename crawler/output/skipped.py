"""skipped.jsonl: every link that was not followed, once, with its reason; also each page some of
whose links a limit left out.

The frontier decides what is refused, so its refusals come out of the frontier (an outbox), not out
of the visits; what is written is taken out of it by the commit that keeps the file's mark.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

from crawler.output.jsonl import JsonLines
from crawler.output.record import rfc3339
from crawler.records import CrawlResult, Refusal

SOME: Final = 1000
"""Refusals in memory at a time."""

Take = Callable[[int], Awaitable[list[Refusal]]]
Keep = Callable[[dict[str, int]], Awaitable[None]]


class SkippedRow(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One line, named as browsertrix names its fields; `via` is the page the link was found on."""

    url: str
    seed_url: str | None
    via: str | None
    depth: int
    reason: str
    ts: str


class SkippedFile:
    """Implements `protocols.Sink`. `take` gets the frontier's refusals, `keep` commits a mark."""

    name = "skipped.jsonl"

    def __init__(self, path: Path, *, take: Take, keep: Keep, durable: str = "process") -> None:
        self._file = JsonLines(path, durable=durable)
        self._take = take
        self._keep = keep

    async def __aenter__(self) -> Self:
        await self._file.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write what the last commit refused; after an error the next run does it."""
        try:
            if kind is None:
                await self._keep({self.name: await self.append([])})
        except BaseException as failed:
            await self._file.__aexit__(type(failed))
            raise
        await self._file.__aexit__(kind)

    async def append(self, visits: Sequence[CrawlResult]) -> int:  # noqa: ARG002 - not their source
        mark = await self._file.write([])
        while refusals := await self._take(SOME):
            mark = await self._file.write([_line(one) for one in refusals])
        return mark

    async def cut(self, mark: int) -> None:
        await self._file.cut(mark)


def _line(one: Refusal) -> SkippedRow:
    return SkippedRow(one.url, one.seed, one.via, one.depth, one.reason, rfc3339(one.at))
