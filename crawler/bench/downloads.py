"""Downloads beside aria2c, wget2 and curl: `python -m crawler.bench.downloads`.

nginx serves files on loopback: one large file, ten thousand small ones, a file whose connections
are slow, two hundred hosts with a rate each, and, through `line.py`, lines with latency and a rate.
Every tool gets the same list, one after another, and is measured as a process: wall clock, CPU,
greatest memory. A tool that is not installed is left out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from crawler.bench.line import line

SMALL: Final = 4096
FAR: Final = 1000
"""Small files through a long line."""

MANY: Final = 100
"""Files from which on what a tool has fetched lies until the end: ext4 does not use an inode again
for some minutes after its file was removed, and looks for another, so ten thousand files that were
removed made each file of the next tool five times as expensive (24 and 400 µs of CPU to create)."""

LINES: Final = ((0.05, 20, 64), (0.1, 100, 256))
"""Latency in seconds, Mbit/s a connection, MiB of the file."""

HOSTS: Final = 200

CONF: Final = """
worker_processes 1; daemon off; pid {root}/nginx.pid; error_log {root}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; keepalive_requests 1000000; default_type application/octet-stream;
  client_body_temp_path {root}/t; proxy_temp_path {root}/t; fastcgi_temp_path {root}/t;
  uwsgi_temp_path {root}/t; scgi_temp_path {root}/t;
  server {{
    listen 127.0.0.1:{port}; root {root}/www;
    location /slow/ {{ limit_rate 4m; }}
  }}
  server {{ {listens} root {root}/www; limit_rate 256k; }}
}}
"""


class Case(msgspec.Struct, frozen=True):
    """What is downloaded: a title, URLs, bytes in all."""

    title: str
    urls: tuple[str, ...]
    size: int


class Cost(msgspec.Struct, frozen=True):
    """Seconds of wall clock and of CPU, greatest memory in bytes; `whole`: every byte came."""

    wall: float
    cpu: float
    memory: int
    whole: bool


Tool = Callable[[Path, Path], list[str]]
"""List of URLs and folder → command."""

TOOLS: Final[dict[str, Tool]] = {
    "crawler": lambda urls, out: [
        sys.executable, "-m", "crawler", "download", "-i", str(urls), "-O", str(out),
        "--fast", "-q", "-c", "16",
    ],
    "aria2c": lambda urls, out: [
        "aria2c", "-q", "-i", str(urls), "-d", str(out), "-j16", "-x4", "-s4", "-k8M",
        "--file-allocation=falloc", "--auto-file-renaming=true", "--console-log-level=error",
    ],
    "wget2": lambda urls, out: [
        "wget2", "-q", "-i", str(urls), "-P", str(out), "--max-threads=16",
        "--no-robots", "--force-directories",
    ],
    "curl": lambda urls, out: [
        "curl", "-s", "--parallel", "--parallel-max", "16", "--remote-name-all", "--output-dir",
        str(out), "--create-dirs", "-K", f"{urls}.curl",
    ],
}  # fmt: skip


def measure(command: Sequence[str], out: Path, size: int) -> Cost:
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
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, came == size)


@contextmanager
def served(root: Path, large: int, small: int) -> Iterator[list[Case]]:
    """The files, and nginx to serve them, near and far."""
    (root / "www" / "slow").mkdir(parents=True)
    (root / "www" / "many").mkdir()
    block = os.urandom(1 << 20)
    for name, size in (("large.bin", large), ("slow/slow.bin", 64 << 20), ("share.bin", 1 << 20),
                       *((f"far-{mib}.bin", mib << 20) for _, _, mib in LINES)):  # fmt: skip
        with (root / "www" / name).open("wb") as file:
            for at in range(0, size, 1 << 20):
                file.write(block[: min(1 << 20, size - at)])
    for number in range(small):
        (root / "www" / "many" / f"{number}.bin").write_bytes(block[number : number + SMALL])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    hosts = [f"127.0.1.{n}" for n in range(1, HOSTS + 1)]
    listens = " ".join(f"listen {host}:{port};" for host in hosts)
    (root / "nginx.conf").write_text(CONF.format(root=root, port=port, listens=listens))
    nginx = subprocess.Popen(  # noqa: S603
        [shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin") or "nginx", "-c",
         str(root / "nginx.conf"), "-e", str(root / "error.log")]
    )  # fmt: skip
    try:
        for _ in range(100):
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        with ExitStack() as lines:
            here = f"http://127.0.0.1:{port}"
            cases = [
                Case(f"one file of {large >> 20} MiB", (f"{here}/large.bin",), large),
                Case(f"{small:,} files of 4 KiB", _many(here, small), small * SMALL),
                Case("64 MiB, 4 MiB/s a connection", (f"{here}/slow/slow.bin",), 64 << 20),
                Case(f"{HOSTS} hosts, 1 MiB each at 256 KiB/s",
                     tuple(f"http://{host}:{port}/share.bin?{host}" for host in hosts),
                     HOSTS << 20),
            ]  # fmt: skip
            few = min(small, FAR)
            for latency, rate, mib in LINES:
                there = f"http://127.0.0.1:{lines.enter_context(line(port, latency, rate * 125e3))}"
                far = f"{latency * 1000:.0f} ms, {rate} Mbit/s a connection"
                cases += [
                    Case(f"{mib} MiB, {far}", (f"{there}/far-{mib}.bin",), mib << 20),
                    Case(f"{few:,} files of 4 KiB, {far}", _many(there, few), few * SMALL),
                ]
            yield cases
    finally:
        nginx.terminate()
        nginx.wait(10)


def _many(home: str, count: int) -> tuple[str, ...]:
    return tuple(f"{home}/many/{number}.bin" for number in range(count))


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
                costs: dict[str, list[Cost]] = {}
                for turn in range(rounds):
                    for name, made in TOOLS.items():
                        if name != "crawler" and shutil.which(name) is None:
                            continue
                        out = root / f"{number}-{turn}-{name}"
                        out.mkdir()
                        costs.setdefault(name, []).append(
                            measure(made(listed, out), out, case.size)
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
    if shutil.which("nginx", path=f"/usr/sbin:{os.environ['PATH']}") is None:
        sys.exit("nginx is not installed: nothing is fast enough to measure against")
    sys.stdout.write(table(asked.large << 20, asked.small, asked.rounds, asked.only, asked.folder))


if __name__ == "__main__":
    main()
