"""Count the calls and files that one URL takes: `python -m benchmarks.url_walk [--json] [TREE]`

Crawls the demo web by the ordinary command, with its default outputs and robots.txt, under a
profiler (`call_recorder.py`):

    alone   at the default pace, one request at a time: the walk of a single URL, file by file
    busy    without pacing, 16 connections: calls per page, the difference of a crawl and one of
            twice as many pages

Counted are functions of the package that begin, in all threads of the crawl's own process and in
the parse process; C functions, other libraries, and continuing after an `await` are not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median_low
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import msgspec

from crawler.bench.measured_run import BenchError
from crawler.demo.process import DemoWeb
from crawler.errors import CrawlerError

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = 200
"""Of the smaller busy crawl."""
PAGES_ALONE: Final = 24
"""At the default pace four a second."""
WARM_UP: Final = 4
"""Pages that are left out at the start and at the end of the crawl at the default pace."""

MAX_FILES: Final = 25
MAX_CALLS: Final = 175
"""The target, both processes together: files that one URL passes, calls per page in a busy crawl.
175 is half of the 351 calls before the simplification."""

SITECUSTOMIZE: Final = """\
import sys
sys.path.append({root!r})
from benchmarks.call_recorder import install
install({package!r}, {folder!r})
"""


class CallRecord(msgspec.Struct, frozen=True):
    """What one process did for one visit or one batch: calls in order, as (file, function)."""

    walk: tuple[tuple[str, str], ...]
    resumes: int


class ProcessRecords(NamedTuple):
    """Of one crawl: its own process, and its parse process."""

    main: list[CallRecord]
    parse: list[CallRecord]


class ProcessWalk(msgspec.Struct, frozen=True, kw_only=True):
    """One URL in one process. `calls` and `resumes` are of that URL; `busy_calls` is the mean per
    page with many connections. `files` are in the order of their first call.
    """

    calls: int
    resumes: int
    busy_calls: float
    files: tuple[str, ...]
    walk: tuple[tuple[str, str], ...]


class UrlWalk(msgspec.Struct, frozen=True, kw_only=True):
    """One URL in the crawl's own process and in a parse process."""

    main: ProcessWalk
    parse: ProcessWalk

    @property
    def calls(self) -> int:
        return self.main.calls + self.parse.calls

    @property
    def busy_calls(self) -> float:
        return self.main.busy_calls + self.parse.busy_calls

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.main.files, *self.parse.files)))

    def within_target(self) -> bool:
        """Whether files and calls are at most MAX_FILES and MAX_CALLS."""
        return len(self.files) <= MAX_FILES and self.busy_calls <= MAX_CALLS

    def lines(self) -> Iterator[str]:
        """The report: each process with its files in order and the calls into each."""
        for title, part in (("main process", self.main), ("parse process", self.parse)):
            yield (
                f"{title}: {part.calls} calls, {part.resumes} resumptions, {len(part.files)} files "
                f"({part.busy_calls:.1f} calls per page in a busy crawl)"
            )
            for file in part.files:
                functions = [function for name, function in part.walk if name == file]
                yield f"  {len(functions):4}  {file}: {', '.join(_counted(functions))}"
        yield (
            f"both: {self.calls} calls, {len(self.files)} files (target: {MAX_FILES}); "
            f"in a busy crawl {self.busy_calls:.1f} calls per page (target: {MAX_CALLS})"
        )


def _counted(functions: Sequence[str]) -> Iterator[str]:
    for function in dict.fromkeys(functions):
        times = functions.count(function)
        yield function if times == 1 else f"{function} ×{times}"


def measure(tree: Path = ROOT, *, pages: int = PAGES, pages_alone: int = PAGES_ALONE) -> UrlWalk:
    """Crawl with the code of `tree` and summarize. Raises BenchError when a crawl fails."""
    alone = _crawled(tree, pages_alone, "--per-host", "1")
    few, many = (_crawled(tree, number, "--fast", "-c", "16") for number in (pages, 2 * pages))
    return UrlWalk(
        main=_summary(alone.main, (few.main, many.main), pages),
        parse=_summary(alone.parse, (few.parse, many.parse), pages),
    )


def _summary(
    alone: Sequence[CallRecord], busy: tuple[Sequence[CallRecord], Sequence[CallRecord]], pages: int
) -> ProcessWalk:
    """The record with the median number of calls stands for all."""
    steady = alone[WARM_UP:-WARM_UP]
    if not steady:
        raise BenchError(f"only {len(alone)} visits were recorded")
    middle = median_low(len(one.walk) for one in steady)
    record = next(one for one in steady if len(one.walk) == middle)
    few, many = (sum(len(one.walk) for one in records) for records in busy)
    return ProcessWalk(
        calls=middle,
        resumes=record.resumes,
        busy_calls=(many - few) / pages,
        files=tuple(dict.fromkeys(file for file, _ in record.walk)),
        walk=record.walk,
    )


def _crawled(tree: Path, pages: int, *flags: str) -> ProcessRecords:
    """Crawl a web of plain pages once under the profiler. Raises BenchError."""
    with TemporaryDirectory(prefix="url-walk-") as name:
        folder = Path(name)
        site = SITECUSTOMIZE.format(
            root=str(ROOT), package=f"{tree.resolve()}/crawler", folder=name
        )
        (folder / "sitecustomize.py").write_text(site, "utf-8")
        with DemoWeb(pages=pages, broken=0.0, links=10, spread=0.0) as web:
            command = [
                sys.executable, "-P", "-m", "crawler", "crawl", web.url, "--silent",
                "--processes", "1", "-O", str(folder / "crawl"), *flags,
            ]  # fmt: skip
            path = os.pathsep.join([name, str(tree.resolve())])
            environment = {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
            done = subprocess.run(  # noqa: S603 - our own command
                command, env=environment, capture_output=True, text=True, check=False
            )
        if done.returncode:
            raise BenchError(f"the crawl ended with code {done.returncode}: {done.stderr.strip()}")
        return ProcessRecords(_records(folder, "main"), _records(folder, "parse"))


def _records(folder: Path, role: str) -> list[CallRecord]:
    decode = msgspec.json.Decoder(CallRecord).decode
    return [
        decode(line)
        for path in sorted(folder.glob(f"{role}-*.jsonl"))
        for line in path.read_bytes().splitlines()[1:]  # the first is the process's start
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 within the target, 1 above it, 2 not measured."""
    parser = argparse.ArgumentParser("url-walk", description="Calls and files of one URL.")
    parser.add_argument("tree", nargs="?", type=Path, default=ROOT, help="another source tree")
    parser.add_argument("--pages", type=int, default=PAGES, help="of the smaller busy crawl")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")
    given = parser.parse_args(arguments)
    if given.pages < 1:
        parser.error("--pages: 1 or more")
    try:
        walk = measure(given.tree, pages=given.pages)
    except CrawlerError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if given.json:
        totals = {"calls": walk.calls, "busy_calls": walk.busy_calls, "files": len(walk.files)}
        sys.stdout.write(json.dumps({**totals, **msgspec.to_builtins(walk)}) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in walk.lines()))
    return 0 if walk.within_target() else 1


if __name__ == "__main__":
    sys.exit(main())
