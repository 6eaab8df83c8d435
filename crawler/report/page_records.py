"""What pages.jsonl adds to the frontier, in one pass, bounded: times, types, redirects."""

from __future__ import annotations

import heapq
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec

from crawler.engine.stats import Histogram
from crawler.errors import FatalError
from crawler.report.data import PageWeight, RedirectChain

TOP: Final = 20
MAX_HOSTS: Final = 1000
MAX_REDIRECTS: Final = 50_000
"""Redirects whose chains are looked at; the rest are counted."""


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
    """Sums over the lines."""

    def __init__(self) -> None:
        self.read = False
        self.mimes: Counter[str] = Counter()
        self.problems: Counter[str] = Counter()
        self.bytes_body = 0
        self.records = 0
        self.fetch = Histogram()
        self.hosts: dict[str, Histogram] = {}
        self.redirects: dict[str, str] = {}
        self._dead: dict[str, str] = {}  # targets of redirects that are no pages, and why
        self._at = self._number = 0  # bytes and lines of the file that were taken
        self._slow: list[tuple[float, str]] = []
        self._large: list[tuple[float, str]] = []

    def take(self, path: Path) -> None:
        """Read a file; a last line that is not whole is left out. Raises FatalError.

        Asked again, it reads on from there: a crawl may still write a few.
        """
        decode = msgspec.json.Decoder(PageLine).decode
        try:
            with path.open("rb") as file:
                self.read = True
                file.seek(self._at)
                for text in file:
                    if not text.endswith(b"\n"):
                        return
                    try:
                        line = decode(text)
                    except msgspec.DecodeError as error:
                        raise FatalError(f"{path}:{self._number + 1}: {error}") from error
                    self._at += len(text)
                    self._number += 1
                    self.add(line)
        except FileNotFoundError:
            return
        except OSError as error:
            raise FatalError(f"{path}: {error.strerror}") from error

    def add(self, line: PageLine) -> None:
        self._note_redirect(line)
        if line.outcome == "done":
            self._note_reading(line)
        self.bytes_body += line.bytes_body or 0
        if line.fetch_ms is not None:
            self._note_time(line.url, line.fetch_ms)
        if line.bytes_wire:
            _keep(self._large, line.bytes_wire, line.url)

    def _note_redirect(self, line: PageLine) -> None:
        if line.outcome == "moved":
            if len(self.redirects) < MAX_REDIRECTS:
                self.redirects[line.url] = line.final_url
                if line.reason:
                    self._dead[line.url] = line.reason
        elif line.outcome == "failed" and len(self._dead) < MAX_REDIRECTS:
            self._dead[line.url] = line.reason or "failed"

    def _note_reading(self, line: PageLine) -> None:
        self.mimes[line.mime or "unknown"] += 1
        self.records += len(line.records)
        if len(self.mimes) > 10_000:
            self.mimes = Counter(dict(self.mimes.most_common(1000)))
        for problem in line.problems:
            if problem in self.problems or len(self.problems) < 1000:
                self.problems[problem] += 1

    def _note_time(self, url: str, fetch_ms: float) -> None:
        self.fetch.add(fetch_ms)
        host = url.split("/", 3)[2]
        histogram = self.hosts.get(host)
        if histogram is None and len(self.hosts) < MAX_HOSTS:
            histogram = self.hosts[host] = Histogram()
        if histogram is not None:
            histogram.add(fetch_ms)
        _keep(self._slow, fetch_ms, url)

    @property
    def slowest(self) -> tuple[PageWeight, ...]:
        return _ranked(self._slow)

    @property
    def largest(self) -> tuple[PageWeight, ...]:
        return _ranked(self._large)

    def chains(self, most: int = 50) -> tuple[tuple[RedirectChain, ...], int]:
        """Chains of two redirects and more, loops, dead ends; the longest first; their number."""
        targets = set(self.redirects.values())
        found = []
        for start in self.redirects:
            if start in targets and not self._in_loop(start):
                continue  # the middle of a longer chain
            urls, seen, end = [start], {start}, ""
            while (after := self.redirects.get(urls[-1])) is not None:
                urls.append(after)
                if after in seen:
                    end = "loop"
                    break
                seen.add(after)
            end = end or next((self._dead[url] for url in urls if url in self._dead), "")
            if len(urls) > 2 or end:
                found.append(RedirectChain(tuple(urls), end))
        found.sort(key=lambda chain: (-len(chain.urls), chain.urls))
        return tuple(found[:most]), len(found)

    def _in_loop(self, start: str) -> bool:
        """Whether `start` is the least URL of a loop of redirects: it stands for the loop."""
        least, url, seen = start, self.redirects.get(start), {start}
        while url is not None and url not in seen:
            seen.add(url)
            least = min(least, url)
            url = self.redirects.get(url)
        return url == start == least


def _keep(heap: list[tuple[float, str]], value: float, url: str) -> None:
    if len(heap) < TOP:
        heapq.heappush(heap, (value, url))
    elif value > heap[0][0]:
        heapq.heapreplace(heap, (value, url))


def _ranked(heap: list[tuple[float, str]]) -> tuple[PageWeight, ...]:
    return tuple(PageWeight(url, value) for value, url in sorted(heap, reverse=True))
