"""Is this working tree slower than a revision? `make bench-guard AGAINST=main`

The same crawl by both, interleaved, each run metered with all its processes. What is compared is
CPU a page: it repeats within a few per cent even where other work makes wall time worthless. The
margin is on the median of the rounds' ratios, and the guard fails only when most rounds agree.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from benchmarks.native_build import compile_in
from crawler.bench.measured_run import PROJECT_ROOT, BenchError, metered
from crawler.bench.plan import WORKLOADS
from crawler.demo.process import DemoWeb
from crawler.errors import ConfigError, CrawlerError

MARGIN: Final = 0.05
"""Most that a page may cost more. Two equal trees differed by up to 4 % over seven rounds, on a
machine with a load of eight."""

ROUNDS: Final = 7
PAGES: Final = {"latency-0": 2500, "cpu": 400}
"""Small pages measure the loop, the frontier and the committer; large pages the parsing."""


class Finding(msgspec.Struct, frozen=True):
    """CPU milliseconds a page, before and now, round by round."""

    workload: str
    before: tuple[float, ...]
    now: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Above 1: slower now."""
        return median(b / a for a, b in zip(self.before, self.now, strict=True))

    def too_slow(self, margin: float) -> bool:
        """Whether the median is over the margin, and two thirds of the rounds are above 1."""
        worse = sum(b > a for a, b in zip(self.before, self.now, strict=True))
        return self.ratio > 1 + margin and worse * 3 >= 2 * len(self.now)

    def __str__(self) -> str:
        return (
            f"{self.workload}: {median(self.before):.3f} → {median(self.now):.3f} ms of CPU a page "
            f"(×{self.ratio:.3f})"
        )


@contextlib.contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """A revision's tree in a folder that goes again, its extension compiled as ours is.

    Raises ConfigError when there is no such revision, or it does not compile.
    """
    with TemporaryDirectory(prefix="crawler-guard-") as name:
        folder = Path(name)
        command = ["git", "-C", PROJECT_ROOT, "archive", "--format=tar", revision, "crawler"]
        try:
            archive = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
        except OSError as error:
            raise ConfigError(f"bench-guard: {revision}: git: {error.strerror}") from error
        if archive.returncode:
            complaint = archive.stderr.decode(errors="replace").strip()
            raise ConfigError(f"bench-guard: {revision}: {complaint}")
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tree:
            tree.extractall(folder, filter="data")
        compile_in(folder)
        yield folder


def compare(before: Path, now: Path, *, workload: str, pages: int, rounds: int) -> Finding:
    """Crawl one web by both trees in turn. Raises BenchError when one of them fails."""
    spent: dict[Path, list[float]] = {before: [], now: []}
    for tree in spent:  # else the first run of a tree would pay for its bytecode
        compileall.compile_dir(tree / "crawler", quiet=2)
    with DemoWeb(**WORKLOADS[workload].flags(pages)) as web:
        for number in range(rounds):
            for tree in (before, now) if number % 2 else (now, before):
                spent[tree].append(_crawled(tree, web.url, pages))
    return Finding(workload, tuple(spent[before]), tuple(spent[now]))


def _crawled(tree: Path, url: str, pages: int) -> float:
    """CPU milliseconds a page of a whole crawl by a tree's own code."""
    with TemporaryDirectory(prefix="crawler-guard-") as name:
        folder = Path(name)
        command = [
            sys.executable, "-m", "crawler", "crawl", url, "--fast", "--no-robots", "--silent",
            "-O", str(folder / "crawl"),
        ]  # fmt: skip
        log = folder / "output.txt"
        cost = metered(command, folder, import_path=str(tree), log=log)
        if cost.code:
            last = log.read_text("utf-8", "replace").strip().rpartition("\n")[2]
            raise BenchError(f"{tree}: the crawl ended with code {cost.code}: {last}")
        records = (folder / "crawl" / "pages.jsonl").read_bytes().count(b"\n")
        if records != pages:
            raise BenchError(f"{tree}: {records} records of {pages} pages")
        return (cost.user + cost.system) * 1000 / pages


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 as fast as before, 1 slower, 2 not usable."""
    parser = argparse.ArgumentParser("bench-guard", description="Slower than a revision?")
    parser.add_argument("revision", help="what to compare the working tree with: main, HEAD~1 …")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--margin", type=float, default=MARGIN, help="0.05: five per cent")
    given = parser.parse_args(arguments)
    try:
        slow = []
        with checked_out(given.revision) as before:
            for workload, pages in PAGES.items():
                finding = compare(
                    before, Path(PROJECT_ROOT), workload=workload, pages=pages, rounds=given.rounds
                )
                sys.stdout.write(f"{finding}\n")
                if finding.too_slow(given.margin):
                    slow.append(workload)
    except CrawlerError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if slow:
        sys.stdout.write(
            f"slower than {given.revision} by more than {given.margin:.0%}: {', '.join(slow)}\n"
        )
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
