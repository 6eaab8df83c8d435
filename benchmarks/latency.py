"""How well a distant site's time is used: `make bench-latency`, `python -m benchmarks.latency`

nginx serves a manual and waits before each response, without CPU time. A slot
can make one exchange every `delay` seconds at most, so connections ÷ delay is what cannot be
beaten. Counted twice: of the whole run, start and end included, and by the site's log, from the
first answer's end to the last one's, which still has the ramp in it: one page, then its links.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from crawler.bench.measured_run import BenchError, metered
from crawler.bench.sites import ECHO_MODULE, Nginx, documentation, unavailable_reason
from crawler.errors import ConfigError

CRAWL_TIMEOUT_S: Final = 600.0
"""Seconds that one crawl may take."""


class FarCrawl(msgspec.Struct, frozen=True):
    """One crawl. `pages` were asked for in `span` seconds by the site's log, in `wall` by ours;
    `cpu` is the crawl's, all processes.
    """

    pages: int
    span: float
    wall: float
    cpu: float


def crawl(root: Path, delay: float, connections: int, pages: int, folder: Path) -> FarCrawl:
    """Raises BenchError when the crawl fails."""
    with Nginx(root, delay=delay) as site:
        command = [
            sys.executable, "-m", "crawler", "crawl", site.url, "--fast", "--no-robots", "--silent",
            "-c", str(connections), "--max-pages", str(pages), "-O", str(folder / "out"),
        ]  # fmt: skip
        cost = metered(command, folder, limit=CRAWL_TIMEOUT_S)
        if cost.code:
            raise BenchError(f"{connections} connections: the crawl ended with code {cost.code}")
        ends = [float(line.split("\t", 1)[0]) for line in site.lines()]
    return FarCrawl(len(ends), max(ends) - min(ends), cost.wall, cost.user + cost.system)


def rows(root: Path, delay: float, wide: Sequence[int], each: int, rounds: int) -> Iterator[str]:
    """The table, in Markdown."""
    yield (
        "| connections | requests | used, by the log | least … most | used, whole run "
        "| cores used |\n|--:|--:|--:|--:|--:|--:|\n"
    )
    for connections in wide:
        runs = []
        for _ in range(rounds):
            with TemporaryDirectory(prefix="bench-latency-") as folder:
                runs.append(crawl(root, delay, connections, each * connections, Path(folder)))
        limit = connections / delay
        used = [run.pages / run.span / limit for run in runs]
        whole = median(run.pages / run.wall / limit for run in runs)
        busy = median(run.cpu / run.wall for run in runs)
        yield (
            f"| {connections} | {runs[0].pages:,} | {median(used):.3f} "
            f"| {min(used):.3f} … {max(used):.3f} | {whole:.3f} | {busy:.2f} |\n"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0; 1 when a crawl failed or something is not installed."""
    parser = argparse.ArgumentParser("bench-latency", description="A far site's time, used.")
    add = parser.add_argument
    add("--docs", default="openjdk", help="the manual that is served")
    add("--delay", type=float, default=0.1, help="seconds before each answer")
    add("--connections", type=int, nargs="+", default=[1, 4, 16, 64, 128, 256])
    add("--each", type=int, default=200, help="pages for each connection, as far as there are any")
    add("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    reason = unavailable_reason(given.docs)
    if reason is None and not ECHO_MODULE.exists():
        reason = f"{ECHO_MODULE}: not there (apt install libnginx-mod-http-echo)"
    if reason is not None:
        sys.stderr.write(f"{reason}\n")
        return 1
    try:
        for row in rows(
            documentation()[given.docs], given.delay, given.connections, given.each, given.rounds
        ):
            sys.stdout.write(row)
            sys.stdout.flush()
    except (BenchError, ConfigError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
