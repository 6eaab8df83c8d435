"""The cost of each output: CPU seconds per 1000 pages beside the plain crawl.

    python -m benchmarks.sink_cost            # a table; 5 rounds, the outputs in turn in each

The CPU of the whole process tree counts, parse processes included: each crawl runs below a
subreaper process (Linux), which inherits orphaned descendants, so `getrusage` counts them all.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from crawler.demo.process import DemoWeb

PAGES: Final = 2000
SIZE: Final = 25_000
ROUNDS: Final = 5

OUTPUTS: Final = {
    "plain (no output)": ("-s", "output.jsonl=false"),
    "pages.jsonl": (),
    "--save all": ("--save", "all"),
    "--warc": ("--warc",),
    "--warc, zstd": ("--warc", "--warc-compression", "zstd"),
    "--warc, not packed": ("--warc", "--warc-compression", "none"),
    "--mirror": ("--mirror",),
}

PR_SET_CHILD_SUBREAPER: Final = 36  # PR_SET_CHILD_SUBREAPER, linux/prctl.h


def cpu_of(url: str, folder: Path, flags: tuple[str, ...]) -> float:
    """CPU seconds, user and system, of one crawl and everything it started."""
    watched = [sys.executable, "-m", "benchmarks.sink_cost", url, str(folder), *flags]
    return float(subprocess.check_output(watched, text=True))  # noqa: S603 - as below


def watch(url: str, folder: str, *flags: str) -> float:
    """Run the crawl as its subreaper and wait for all orphaned descendants; CPU seconds."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    command = [sys.executable, "-m", "crawler", "crawl", url, "-O", folder, "--fast", "-q"]
    subprocess.run([*command, *flags], check=True)  # noqa: S603 - our own interpreter and module
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """The table, or with arguments one measurement for it."""
    if len(sys.argv) > 1:
        sys.stdout.write(f"{watch(*sys.argv[1:])}\n")
        return
    seconds: dict[str, list[float]] = {name: [] for name in OUTPUTS}
    sizes: dict[str, int] = {}
    with DemoWeb(pages=PAGES, size=SIZE) as web:
        for number in range(ROUNDS):
            for name, flags in OUTPUTS.items():
                with tempfile.TemporaryDirectory() as scratch:
                    folder = Path(scratch) / "crawl"
                    seconds[name].append(cpu_of(web.url, folder, flags))
                    sizes[name] = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
            sys.stderr.write(f"round {number + 1} of {ROUNDS}\n")
    plain = statistics.median(seconds["plain (no output)"])
    sys.stdout.write(f"{'output':20} CPU s/1000 pages   beside plain   folder MB\n")
    for name, each in seconds.items():
        middle = statistics.median(each)
        sys.stdout.write(
            f"{name:20} {middle * 1000 / PAGES:16.2f}   {(middle - plain) * 1000 / PAGES:+12.2f}"
            f"   {sizes[name] / 1e6:9.1f}\n"
        )


if __name__ == "__main__":
    main()
