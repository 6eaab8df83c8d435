"""Records the pages of a variant, one line each, with counts and times. Not thread-safe.

The clock runs between a crawl's first request and its last record, so that a variant that starts
processes does not pay for that here; the meter outside (`meter.py`) counts everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import BinaryIO, Final

import msgspec
import psutil

from crawler.bench.crawl_task import CrawlTask, InnerMeasures
from crawler.bench.reading import ReadPage

LAG_SAMPLE_S: Final = 0.02  # seconds between two looks at how late the loop wakes
LINES_PER_WRITE: Final = 200  # lines written together


class Recorder:
    """`parses_apart`: pages are read in child processes, whose CPU time then is the parsing's."""

    def __init__(self, task: CrawlTask, *, parses_apart: bool) -> None:
        self._task = task
        self._apart = parses_apart
        self._encoder = msgspec.json.Encoder()
        self._lines: list[tuple[str, int, str, int]] = []
        self._file: BinaryIO | None = None
        self._ms: list[float] = []
        self._lags: list[float] = []
        self._parse_cpu = 0.0
        self._bytes = 0
        self._tasks = 0
        self._pages = 0
        self.inside: InnerMeasures | None = None

    def add_page(self, page: ReadPage) -> None:
        """Record one page."""
        self._lines.append(page[:4])
        self._ms.append(page.ms)
        self._bytes += page.size
        self._parse_cpu += page.cpu
        self._pages += 1
        if len(self._lines) >= LINES_PER_WRITE:
            self._write()

    def set_totals(self, pages: int, bytes_body: int, fetch_ms: tuple[float, float, float]) -> None:
        """The sums of a crawl that writes for itself; call it after the clock has stopped."""
        assert self.inside is not None
        self.inside = msgspec.structs.replace(
            self.inside, pages=pages, bytes_body=bytes_body, fetch_ms=fetch_ms
        )

    def close(self) -> None:
        """Write the rest."""
        self._write()
        if self._file is not None:
            self._file.close()

    @contextlib.contextmanager
    def clock(self) -> Iterator[None]:
        """Measure what happens inside."""
        before, began = _cpu(), time.monotonic()
        yield
        self._write()
        wall, after = time.monotonic() - began, _cpu()
        user, system, own = (b - a for a, b in zip(before, after, strict=True))
        self.inside = InnerMeasures(
            wall=wall,
            user=user,
            system=system,
            parse_cpu=max(0.0, user + system - own) if self._apart else self._parse_cpu,
            pages=self._pages,
            bytes_body=self._bytes,
            fetch_ms=_shares(self._ms, 0.5, 0.95, 0.99),
            lag_ms=_shares(self._lags, 0.5, 0.99, 1.0) if self._lags else None,
            tasks=self._tasks,
        )

    @contextlib.asynccontextmanager
    async def watch(self) -> AsyncIterator[None]:
        """Measure what happens inside, and how late the event loop wakes."""
        watch = asyncio.create_task(self._look(), name="watch")
        try:
            with self.clock():
                yield
        finally:
            watch.cancel()
            await asyncio.wait([watch])

    async def _look(self) -> None:
        while True:
            due = time.monotonic() + LAG_SAMPLE_S
            await asyncio.sleep(LAG_SAMPLE_S)
            self._lags.append(max(0.0, time.monotonic() - due) * 1000)
            if len(self._lags) % 10 == 0:
                self._tasks = max(self._tasks, len(asyncio.all_tasks()) - 1)

    def _write(self) -> None:
        if not self._lines:
            return  # the product writes for itself
        if self._file is None:
            self._file = self._task.pages.open("wb", buffering=0)
        names = ("url", "status", "title", "links")
        rows = [dict(zip(names, line, strict=True)) for line in self._lines]
        self._lines.clear()
        self._file.write(self._encoder.encode_lines(rows))


def _cpu() -> tuple[float, float, float]:
    """User and system seconds of this process and all below it; then what is its own alone."""
    user = system = 0.0
    own = os.times()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            user += times.user + getattr(times, "children_user", 0.0)
            system += times.system + getattr(times, "children_system", 0.0)
    user += own.user + own.children_user
    system += own.system + own.children_system
    return user, system, own.user + own.system


def _shares(values: Sequence[float], *shares: float) -> tuple[float, float, float]:
    """Percentiles by the nearest rank."""
    if not values:
        return 0.0, 0.0, 0.0
    ranked = sorted(values)
    one, two, three = (ranked[min(len(ranked) - 1, int(len(ranked) * share))] for share in shares)
    return one, two, three
