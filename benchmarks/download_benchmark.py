"""Downloads beside aria2c, wget2 and curl: `python -m benchmarks.download_benchmark`.

nginx serves files on loopback (`download_fixtures.py`). Every tool downloads the same list, one
after another, and is measured as a process: wall clock, CPU, peak memory. Tools that are not
installed are left out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.download_fixtures import served
from crawler.bench.sites import binary

MANY: Final = 100
"""Files from which on what a tool has fetched lies until the end: ext4 does not use an inode again
for some minutes after its file was removed, and looks for another, so ten thousand files that were
removed made each file of the next tool five times as expensive (24 and 400 µs of CPU to create)."""


class DownloadCost(msgspec.Struct, frozen=True):
    """Seconds of wall clock and of CPU, greatest memory in bytes; `whole`: every byte came."""

    wall: float
    cpu: float
    memory: int
    whole: bool


Tool = Callable[[Path, Path], list[str]]
"""List of URLs and folder → command, without how many connections there may be."""

TOOLS: Final[dict[str, Tool]] = {
    "crawler": lambda urls, out: [
        sys.executable, "-m", "crawler", "download", "-i", str(urls), "-O", str(out), "-q",
    ],
    "aria2c": lambda urls, out: [
        "aria2c", "-q", "-i", str(urls), "-d", str(out), "--file-allocation=falloc",
        "--auto-file-renaming=true", "--console-log-level=error",
    ],
    "wget2": lambda urls, out: [
        "wget2", "-q", "-i", str(urls), "-P", str(out), "--no-robots", "--force-directories",
    ],
    "curl": lambda urls, out: [
        "curl", "-s", "--parallel", "--remote-name-all", "--output-dir", str(out), "--create-dirs",
        "-K", f"{urls}.curl",
    ],
}  # fmt: skip

SAME: Final = {
    "crawler": ["--fast", "-c", "16"],
    "aria2c": ["-j16", "-x4", "-s4", "-k8M"],
    "wget2": ["--max-threads=16"],
    "curl": ["--parallel-max", "16"],
}
"""Sixteen connections, ours and aria2c's up to four to one file. Their own defaults are 16 (from 2
on, as answers allow), 5, 5 and 50.
"""


def measure(command: Sequence[str], out: Path, size: int) -> DownloadCost:
    """Run one tool to its end; what earlier ones left to be written is written before."""
    os.sync()
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    _, _, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    process.returncode = 0  # waited for above
    came = sum(
        path.stat().st_size
        for path in out.rglob("*")
        if path.is_file() and ".crawler-download" not in path.parts
    )
    return DownloadCost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, came == size)


def table(large: int, small: int, rounds: int, only: str = "", folder: str | None = None) -> str:
    """Markdown; the median of `rounds` by wall clock, and the fastest and slowest of them.

    `only`: rows with this in their title. `folder`: where to download to; None: the usual one for
    what is temporary.
    """
    lines = ["| download | tool | seconds | least … most | CPU s | memory MB | whole |",
             "|---|---|---:|---:|---:|---:|---|"]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="downloads-", dir=folder) as scratch:
        root = Path(scratch)
        root.chmod(0o755)  # nginx's workers may be somebody else
        with served(root, large, small) as cases:
            for number, case in enumerate(cases):
                if only not in case.title:
                    continue
                listed = root / "list.txt"
                listed.write_text("\n".join(case.urls) + "\n")
                Path(f"{listed}.curl").write_text("".join(f'url = "{u}"\n' for u in case.urls))
                costs: dict[str, list[DownloadCost]] = {}
                for round_number in range(rounds):
                    for name, made in TOOLS.items():
                        if name != "crawler" and shutil.which(name) is None:
                            continue
                        out = root / f"{number}-{round_number}-{name}"
                        more = [] if case.own else SAME[name]
                        out.mkdir()
                        costs.setdefault(name, []).append(
                            measure([*made(listed, out), *more], out, case.size)
                        )
                        if len(case.urls) < MANY:
                            shutil.rmtree(out)
                for name, several in costs.items():
                    several.sort(key=lambda cost: cost.wall)
                    one = several[len(several) // 2]
                    lines.append(
                        f"| {case.title} | {name} | {one.wall:.2f} | "
                        f"{several[0].wall:.2f} … {several[-1].wall:.2f} | {one.cpu:.2f} | "
                        f"{one.memory / 1e6:.0f} | {'yes' if one.whole else 'no'} |"
                    )
                    sys.stderr.write(lines[-1] + "\n")
    if len(lines) == 2:
        sys.stderr.write(f"no row has {only!r} in its title\n")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", type=int, default=2048, help="MiB of the large file")
    parser.add_argument("--small", type=int, default=10_000, help="how many small files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose title has this")
    parser.add_argument("--folder", help="where to download to: /dev/shm leaves the disk out")
    asked = parser.parse_args()
    if binary() is None:
        sys.exit("nginx is not installed: nothing is fast enough to measure against")
    if min(asked.large, asked.small, asked.rounds) < 1:
        sys.exit("--large, --small and --rounds: 1 at least")
    if asked.folder is not None and not Path(asked.folder).is_dir():
        sys.exit(f"--folder {asked.folder}: no such folder")
    sys.stdout.write(table(asked.large << 20, asked.small, asked.rounds, asked.only, asked.folder))


if __name__ == "__main__":
    main()
