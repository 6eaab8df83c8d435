"""JSON lines: pages.jsonl has one a visit, records.jsonl one an extracted record.

A group of visits is one write: one a page costs a third of a crawl.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import msgspec

from crawler.output.append_only import AppendOnlyFile
from crawler.output.record import record, rfc3339
from crawler.records import CrawlResult


class JsonLines:
    """Implements `protocols.Sink`: every final visit."""

    name = "pages.jsonl"
    rewinds = True  # `cut` may come at any time, and nothing is written of a group that fails

    def __init__(
        self, path: Path, *, durable: str = "process", run: Callable[[], int] = lambda: 1
    ) -> None:
        """`run` returns the number of the run that is under way."""
        self._tail = AppendOnlyFile(path, durable=durable)
        self._run = run
        self._encoder = msgspec.json.Encoder()

    async def __aenter__(self) -> Self:
        await self._tail.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        await self._tail.__aexit__(kind)

    async def append(self, visits: Sequence[CrawlResult]) -> int:
        run = self._run()
        return await self.write([record(visit, run) for visit in visits])

    async def write(self, rows: Sequence[object]) -> int:
        """One line a row; the file's new length. Raises SinkError."""
        return await self._tail.append(self._encoder.encode_lines(rows))

    async def cut(self, mark: int) -> None:
        await self._tail.cut(mark)


class RecordLines(JsonLines):
    """Implements `protocols.Sink`: what rules and plugins found, flat, a line each.

    `_url`, `_fetched_at` and `_run` say where and when it was found; a field of that name in a
    record wins.
    """

    name = "records.jsonl"

    async def append(self, visits: Sequence[CrawlResult]) -> int:
        run = self._run()
        lines = [
            {
                "_url": visit.link.url,
                "_fetched_at": rfc3339(visit.page.fetched_at),
                "_run": run,
                **found,
            }
            for visit in visits
            if visit.extract is not None and visit.page is not None
            for found in visit.extract.records
        ]
        return await self._tail.append(self._encoder.encode_lines(lines))
