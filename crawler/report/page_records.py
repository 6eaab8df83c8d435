"""Figures from pages.jsonl that the frontier does not have, in one pass with bounded memory: times,
types, redirects.
"""

from __future__ import annotations

import heapq
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec

from crawler.engine.stats import Histogram
from crawler.errors import FatalError
from crawler.report.data import PageWeight, RedirectChain

MAX_RANKED: Final = 20
"""Slowest and largest pages in the report."""
MAX_HOSTS: Final = 1000
"""Hosts with a histogram of their own."""
MAX_REDIRECTS: Final = 50_000
"""Redirects whose chains are followed; further ones are only counted."""


class PageLine(msgspec.Struct, gc=False):
    """The fields of a record that the report reads."""

    url: str = ""
    outcome: str = ""
    reason: str | None = None
    final_url: str = ""
    mime: str | None = None
    bytes_wire: int | None = None
    bytes_body: int | None = None
    fetch_ms: float | None = None
    records: tuple[msgspec.Raw, ...] = ()
    problems: tuple[str, ...] = ()


class PageRecords:
    """Sums over the lines of pages.jsonl."""

    def __init__(self) -> None:
        self.file_read = False
        self.mimes: Counter[str] = Counter()
        self.problems: Counter[str] = Counter()
        self.bytes_body = 0
        self.records = 0
        self.fetch = Histogram()
        self.hosts: dict[str, Histogram] = {}
        self.redirects: dict[str, str] = {}
        self._failed_urls: dict[str, str] = {}  # redirect targets, with reasons
        self._offset = self._line_count = 0  # bytes and lines read so far
        self._slowest: list[tuple[float, str]] = []
        self._largest: list[tuple[float, str]] = []

    def read_file(self, path: Path) -> None:
        """Read a file, without an incomplete last line. Raises FatalError.

        Another call continues where the last one ended: a running crawl may have appended lines.
        """
        decode = msgspec.json.Decoder(PageLine).decode
        try:
            with path.open("rb") as file:
                self.file_read = True
                file.seek(self._offset)
                for text in file:
                    if not text.endswith(b"\n"):
                        return
                    try:
                        line = decode(text)
                    except msgspec.DecodeError as error:
                        raise FatalError(f"{path}:{self._line_count + 1}: {error}") from error
                    self._offset += len(text)
                    self._line_count += 1
                    self.add(line)
        except FileNotFoundError:
            return
        except OSError as error:
            raise FatalError(f"{path}: {error.strerror}") from error

    def add(self, line: PageLine) -> None:
        """Add the figures of one record."""
        self._count_redirect(line)
        if line.outcome == "done":
            self._count_page(line)
        self.bytes_body += line.bytes_body or 0
        if line.fetch_ms is not None:
            self._count_time(line.url, line.fetch_ms)
        if line.bytes_wire:
            _push(self._largest, line.bytes_wire, line.url)

    def _count_redirect(self, line: PageLine) -> None:
        if line.outcome == "moved":
            if len(self.redirects) < MAX_REDIRECTS:
                self.redirects[line.url] = line.final_url
                if line.reason:
                    self._failed_urls[line.url] = line.reason
        elif line.outcome == "failed" and len(self._failed_urls) < MAX_REDIRECTS:
            self._failed_urls[line.url] = line.reason or "failed"

    def _count_page(self, line: PageLine) -> None:
        self.mimes[line.mime or "unknown"] += 1
        self.records += len(line.records)
        if len(self.mimes) > 10_000:
            self.mimes = Counter(dict(self.mimes.most_common(1000)))
        for problem in line.problems:
            if problem in self.problems or len(self.problems) < 1000:
                self.problems[problem] += 1

    def _count_time(self, url: str, fetch_ms: float) -> None:
        self.fetch.add(fetch_ms)
        host = url.split("/", 3)[2]
        histogram = self.hosts.get(host)
        if histogram is None and len(self.hosts) < MAX_HOSTS:
            histogram = self.hosts[host] = Histogram()
        if histogram is not None:
            histogram.add(fetch_ms)
        _push(self._slowest, fetch_ms, url)

    @property
    def slowest(self) -> tuple[PageWeight, ...]:
        """The pages with the longest fetches, in ms."""
        return _ranked(self._slowest)

    @property
    def largest(self) -> tuple[PageWeight, ...]:
        """The pages with the most bytes on the wire."""
        return _ranked(self._largest)

    def chains(self, limit: int = 50) -> tuple[tuple[RedirectChain, ...], int]:
        """Chains of at least two redirects, loops and dead ends: the `limit` longest, and the
        number of all.
        """
        targets = set(self.redirects.values())
        found = []
        for start in self.redirects:
            if start in targets and not self._represents_loop(start):
                continue  # the middle of a longer chain
            urls, seen, end = [start], {start}, ""
            while (target := self.redirects.get(urls[-1])) is not None:
                urls.append(target)
                if target in seen:
                    end = "loop"
                    break
                seen.add(target)
            end = end or next(
                (self._failed_urls[url] for url in urls if url in self._failed_urls), ""
            )
            if len(urls) > 2 or end:
                found.append(RedirectChain(tuple(urls), end))
        found.sort(key=lambda chain: (-len(chain.urls), chain.urls))
        return tuple(found[:limit]), len(found)

    def _represents_loop(self, start: str) -> bool:
        """Whether `start` is the smallest URL of a redirect loop; it represents the loop in the
        list.
        """
        smallest, url, seen = start, self.redirects.get(start), {start}
        while url is not None and url not in seen:
            seen.add(url)
            smallest = min(smallest, url)
            url = self.redirects.get(url)
        return url == start == smallest


def _push(heap: list[tuple[float, str]], value: float, url: str) -> None:
    if len(heap) < MAX_RANKED:
        heapq.heappush(heap, (value, url))
    elif value > heap[0][0]:
        heapq.heapreplace(heap, (value, url))


def _ranked(heap: list[tuple[float, str]]) -> tuple[PageWeight, ...]:
    return tuple(PageWeight(url, value) for value, url in sorted(heap, reverse=True))
