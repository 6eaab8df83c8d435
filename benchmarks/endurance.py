"""A long crawl, measured: does the last page cost as much as the first? `make crawl-million`

One crawl of the demo web, everything on that a crawl has by default; only pacing and robots.txt are
off. While it runs, the records in pages.jsonl are counted, and what the crawl and all its processes
have used of the CPU and hold in memory is read from the kernel. CPU a page is what is judged:
pages a second say as much about who else uses the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
import psutil

from crawler.bench import machine
from crawler.bench.measured_run import PROJECT_ROOT, BenchError
from crawler.demo.process import DemoWeb
from crawler.errors import ConfigError, CrawlerError

PARTS: Final = 10
SAMPLE_INTERVAL_S: Final = 0.25  # seconds; half a per cent of a tenth of a million pages
MEMORY_MAX_BYTES: Final = 400_000_000
"""Bytes that the crawl and its processes may hold together; resident, shared pages once for each
process that has them, so it is the strictest of the ways to count."""
MARGIN: Final = 0.10
"""Most that a page of the last tenth may cost more than one of the first."""


class CrawlPart(msgspec.Struct, frozen=True, kw_only=True):
    """What a stretch of the crawl took. Seconds of wall and CPU; bytes at its end.

    `rss` and `pss` are the peaks, over the stretch, of the sums over all processes: resident, and
    resident with what is shared divided among those who share it. `main` is the crawl's own
    process, resident. `loop` is the CPU of that process's first thread, `cpu` of all.
    """

    pages: int
    wall: float
    cpu: float
    loop: float
    site: float  # CPU of the demo web
    rss: int
    pss: int
    main: int
    database: int
    records: int
    graph: int

    @property
    def cost(self) -> float:
        """CPU milliseconds a page."""
        return 1000 * self.cpu / self.pages if self.pages else 0.0


class Endurance(msgspec.Struct, frozen=True, kw_only=True):
    """A whole long crawl. `ending`: from the last record to the exit, the report included."""

    pages: int
    parts: tuple[CrawlPart, ...]
    ending: CrawlPart
    machine: machine.Machine
    revision: str

    @property
    def drift(self) -> float:
        """The last part's CPU a page over the first's; 1.1: a tenth dearer."""
        first = self.parts[0].cost
        return self.parts[-1].cost / first if first else 1.0  # too short to have been looked at

    @property
    def rss(self) -> int:
        return max(part.rss for part in (*self.parts, self.ending))

    def violations(self) -> list[str]:
        """What was promised and is not so; empty: all is kept."""
        found = []
        if self.drift > 1 + MARGIN:
            found.append(f"the last tenth costs {self.drift:.2f} of the first, CPU a page")
        if self.rss >= MEMORY_MAX_BYTES:
            found.append(
                f"{self.rss / 1e6:.0f} MB resident, {MEMORY_MAX_BYTES / 1e6:.0f} are allowed"
            )
        return found

    def __str__(self) -> str:
        rows = [
            (
                "| pages | pages/s | CPU ms a page | resident MB | of which main | proportional MB "
                "| frontier MB | records MB | graph MB |"
            ),
            "|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        ]
        done = 0
        for part in self.parts:
            done += part.pages
            rows.append(
                f"| {done:,} | {part.pages / part.wall:,.0f} | {part.cost:.3f} | {_mb(part.rss)} "
                f"| {_mb(part.main)} | {_mb(part.pss)} | {_mb(part.database)} "
                f"| {_mb(part.records)} | {_mb(part.graph)} |"
            )
        cost = median(part.cost for part in self.parts)
        loop = median(1000 * part.loop / part.pages for part in self.parts)
        site = median(1000 * part.site / part.pages for part in self.parts)
        ending = self.ending
        foot = (
            f"{self.machine}, revision {self.revision or 'unknown'}; median {cost:.3f} ms of CPU "
            f"a page ({loop:.3f} the loop's; the site's {site:.3f}); "
            f"last ÷ first {self.drift:.3f}; "
            f"ending {ending.wall:.1f} s, {ending.cpu:.1f} s of CPU, {_mb(ending.rss)} MB resident."
        )
        rows += ["", foot]
        return "\n".join(rows) + "\n"


def _mb(number: int) -> str:
    return f"{number / 1e6:,.0f}"


class MemoryWatch:
    """Reads what a crawl in a folder has done and used so far; `sample` as often as one likes."""

    def __init__(self, process: psutil.Process, folder: Path, site: psutil.Process) -> None:
        self.pages = 0
        self.cpu = self.loop = self.site = 0.0
        self.rss = self.pss = self.main = 0  # peaks since `reset_peaks`
        self._process = process
        self._web = site
        self._folder = folder
        self._read = 0

    def sample(self) -> None:
        """Take a sample. What has just ended is counted by the kernel in its parent's sum."""
        self.count()
        rss = pss = 0
        cpu = 0.0
        for one in _tree(self._process):
            with contextlib.suppress(psutil.Error, FileNotFoundError, ProcessLookupError):
                cpu += _cpu(one)
                memory = one.memory_full_info()
                rss += memory.rss
                pss += int(getattr(memory, "pss", 0) or memory.rss)
                if one == self._process:
                    self.main = max(self.main, memory.rss)
                    self.loop = _first_thread(one)
        self.cpu = max(self.cpu, cpu)  # between its end and its reaping a child is in no sum
        self.rss, self.pss = max(self.rss, rss), max(self.pss, pss)
        self.site = sum(_cpu(one) for one in _tree(self._web))

    def reset_peaks(self) -> None:
        """A new stretch begins."""
        self.rss = self.pss = self.main = 0

    def size(self, name: str) -> int:
        """Bytes of one of the crawl's files, its write-ahead log included; 0: not there."""
        total = 0
        for path in (self._folder / name, self._folder / f"{name}-wal"):
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def count(self) -> None:
        """Read on in the records."""
        with contextlib.suppress(FileNotFoundError), (self._folder / "pages.jsonl").open("rb") as f:
            f.seek(self._read)
            while piece := f.read(1 << 20):
                self._read += len(piece)
                self.pages += piece.count(b"\n")


def _tree(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def _first_thread(process: psutil.Process) -> float:
    return sum(t.user_time + t.system_time for t in process.threads() if t.id == process.pid)


def endure(
    pages: int, folder: Path, *, hosts: int = 20, size: int = 4000, flags: Sequence[str] = ()
) -> Endurance:
    """Crawl a web of so many pages into a folder. Raises BenchError when not all are there."""
    out = folder / "crawl"
    log = folder / "output.txt"
    with DemoWeb(pages=pages, hosts=hosts, size=size, links=10, spread=0.5, cache=0) as web:
        command = [
            sys.executable, "-m", "crawler", "crawl", web.url, "--fast", "--no-robots", "--silent",
            "--scope", "any", "--allow-network", "127.0.0.0/8", "-O", str(out), *flags,
        ]  # fmt: skip
        with log.open("wb") as output:
            crawl = subprocess.Popen(  # noqa: S603 - our own command
                command,
                stdout=output,
                stderr=output,
                env={**os.environ, "PYTHONPATH": PROJECT_ROOT},
            )
        try:
            parts, ending = _watched(crawl, out, web.pid, pages)
        finally:
            if crawl.poll() is None:
                crawl.kill()
                crawl.wait()
        if crawl.returncode:
            last = log.read_text("utf-8", "replace").strip().rpartition("\n")[2]
            raise BenchError(f"the crawl ended with code {crawl.returncode}: {last}")
    done = sum(part.pages for part in parts)
    if done != pages:
        raise BenchError(f"{done} records of {pages} pages")
    return Endurance(
        pages=pages,
        parts=tuple(parts),
        ending=ending,
        machine=machine.current(os.cpu_count() or 1),
        revision=machine.revision(),
    )


def _watched(
    crawl: subprocess.Popen[bytes], out: Path, site: int, pages: int
) -> tuple[list[CrawlPart], CrawlPart]:
    watch = MemoryWatch(psutil.Process(crawl.pid), out, psutil.Process(site))
    parts: list[CrawlPart] = []
    tenth = 0
    then = time.monotonic()
    began = (0, then, 0.0, 0.0, 0.0)  # pages, wall, CPU, the loop's, the site's

    def part() -> CrawlPart:
        nonlocal began
        now = (watch.pages, time.monotonic(), watch.cpu, watch.loop, watch.site)
        one = CrawlPart(
            pages=now[0] - began[0],
            wall=now[1] - began[1],
            cpu=now[2] - began[2],
            loop=now[3] - began[3],
            site=now[4] - began[4],
            rss=watch.rss,
            pss=watch.pss,
            main=watch.main,
            database=watch.size("frontier.db"),
            records=watch.size("pages.jsonl"),
            graph=watch.size("graph.bin"),
        )
        began = now
        watch.reset_peaks()
        return one

    while crawl.poll() is None:
        watch.sample()
        if watch.pages * PARTS // pages > tenth:  # a short crawl passes several between two looks
            tenth = watch.pages * PARTS // pages
            parts.append(part())
        time.sleep(SAMPLE_INTERVAL_S)
    # It can end between two looks: what was not seen belongs to the last part.
    watch.count()
    if watch.pages > began[0]:
        parts.append(part())
    return parts, part()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 kept, 1 dearer or larger than promised, 2 not usable."""
    parser = argparse.ArgumentParser("crawl-million", description="A long crawl, watched.")
    parser.add_argument("--pages", type=int, default=1_000_000)
    parser.add_argument("--hosts", type=int, default=20, help="addresses 127.0.0.1, 127.0.0.2 …")
    parser.add_argument("--size", type=int, default=4000, help="mean bytes of a page")
    parser.add_argument("--keep", type=Path, help="a new folder for the crawl; else it is removed")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("flags", nargs="*", help="more flags for the crawl, after --")
    given = parser.parse_args(arguments)
    try:
        with contextlib.ExitStack() as stack:
            if given.keep is None:
                folder = Path(stack.enter_context(TemporaryDirectory(prefix="crawler-endurance-")))
            else:
                folder = given.keep
                try:
                    folder.mkdir(parents=True)
                except OSError as error:
                    raise ConfigError(f"--keep {folder}: {error.strerror}") from error
            found = endure(
                given.pages, folder, hosts=given.hosts, size=given.size, flags=given.flags
            )
        if given.json is not None:
            given.json.write_bytes(msgspec.json.encode(found))
    except (CrawlerError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(str(found))
    violations = found.violations()
    for violation in violations:
        sys.stdout.write(f"not kept: {violation}\n")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
