"""CPU time of reading a page in a parse process: `make bench-reading AGAINST=main`

Every page of a site is read once, in the order of its name, by one reader in a process of its own:
the caches are as warm as in a crawl, nothing is read twice. The trees take turns, round by round,
and what counts is the median of the rounds' ratios; the figures are CPU microseconds a page.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.guard import checked_out
from crawler.bench.measured_run import PROJECT_ROOT
from crawler.bench.sites import documentation
from crawler.config.model import Config
from crawler.demo.pages import html
from crawler.demo.web import Web
from crawler.errors import ConfigError, CrawlerError
from crawler.parse.reader import PageReader
from crawler.parse.workers.reader_settings import ReaderSettings
from crawler.policy.scope import Scope
from crawler.policy.urls import Urls, host_key
from crawler.records import CrawlUrl

ROUNDS: Final = 7
DEMO: Final = Web(pages=2500, size=8000, port=8080)
MOST: Final = 2500
"""Pages of a site, spread evenly over it."""

HEADERS: Final = (
    ("Server", "nginx"),
    ("Date", "Mon, 01 Jan 2024 00:00:00 GMT"),
    ("Content-Type", "text/html; charset=utf-8"),
    ("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
    ("Connection", "keep-alive"),
    ("ETag", '"65920080-2a1"'),
    ("Accept-Ranges", "bytes"),
)


def pages(site: str, most: int = MOST) -> Iterator[tuple[str, bytes]]:
    """URLs and bodies. Raises ConfigError when the site is not on this computer."""
    if site == "demo":
        yield from ((DEMO.url(number), html(DEMO, number)) for number in range(DEMO.pages)[:most])
        return
    folder = documentation().get(site)
    if folder is None:
        raise ConfigError(f"bench-reading: {site} is not installed")
    files = sorted(folder.resolve().rglob("*.html"))
    for file in files[:: -(-len(files) // most)]:
        name = file.relative_to(folder.resolve())
        yield f"http://127.0.0.1:8080/{name.as_posix()}", file.read_bytes()


def cost(site: str, most: int) -> float:
    """CPU microseconds a page, in this process, by the code that it has loaded."""
    config = Config()
    scope = Scope(config.scope, ["http://127.0.0.1:8080/"])
    rules = ReaderSettings(
        Urls(config.urls), scope, limits=config.scope, parse=config.parse, fetch=config.fetch
    )
    read = PageReader(rules).read
    every = [(CrawlUrl(url, host_key(url)), body) for url, body in pages(site, most)]
    for link, body in every[:20]:  # what is imported and compiled at first use
        PageReader(rules).read(link, HEADERS, body)
    began = time.process_time()
    for link, body in every:
        read(link, HEADERS, body)
    return (time.process_time() - began) / len(every) * 1e6


def compare(
    before: Path, now: Path, site: str, *, rounds: int, most: int = MOST
) -> tuple[list[float], list[float]]:
    """Costs by both trees in turn, each in a process of its own."""
    spent: dict[Path, list[float]] = {before: [], now: []}
    for number in range(rounds):
        for tree in (before, now) if number % 2 else (now, before):
            spent[tree].append(_measured(tree, site, most))
    return spent[before], spent[now]


def _measured(tree: Path, site: str, most: int) -> float:
    # This very file, so that both trees are measured alike, even one that does not have it.
    script = f"import sys; sys.path.insert(0, {str(tree)!r}); {_ALONE.format(file=__file__)}"
    command = [sys.executable, "-P", "-c", script, site, str(most)]
    env = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "268435456", "MALLOC_TOP_PAD_": "16777216"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)  # noqa: S603
    if done.returncode:
        raise ConfigError(f"bench-reading: {tree}: {done.stderr.strip().rpartition(chr(10))[2]}")
    return float(done.stdout)


_ALONE: Final = (
    "import runpy; cost = runpy.run_path({file!r})['cost']; "
    "print(cost(sys.argv[1], int(sys.argv[2])))"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 measured, 2 not usable."""
    parser = argparse.ArgumentParser("bench-reading", description="What reading a page costs.")
    parser.add_argument("revision", help="what to compare the working tree with: main, HEAD~1 …")
    parser.add_argument("sites", nargs="*", default=["demo", "postgresql", "openjdk"])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args(arguments)
    try:
        with checked_out(given.revision) as before:
            for site in given.sites:
                then, now = compare(before, Path(PROJECT_ROOT), site, rounds=given.rounds)
                ratio = median(b / a for a, b in zip(then, now, strict=True))
                sys.stdout.write(
                    f"{site}: {median(then):.0f} → {median(now):.0f} µs a page (×{ratio:.2f}), "
                    f"best {min(then):.0f} → {min(now):.0f}\n"
                )
                sys.stdout.flush()
    except CrawlerError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
