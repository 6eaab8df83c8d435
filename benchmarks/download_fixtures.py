"""The files of the download benchmark, and the nginx on loopback that serves them.

One large file, many small ones, a file with slow connections, two hundred hosts with a rate each;
links with latency and a rate, through `latency_proxy.py`; and small files whose responses nginx'
echo module delays, which takes no CPU.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.latency_proxy import line
from crawler.bench.sites import ECHO_MODULE, binary

SMALL: Final = 4096
FAR: Final = 1000
"""Small files through a long line."""

LINES: Final = ((0.05, 20, 64), (0.1, 100, 256))
"""Latency in seconds, Mbit/s a connection, MiB of the file."""

LATE: Final = (20, 50, 100)
"""Milliseconds that answers are kept back."""

LATE_FILES: Final = (1000, 5000)

MAX_OWN_WAIT: Final = 300
"""Thousands of files × milliseconds from which the tools' own defaults are not measured."""

HOSTS: Final = 200

CONF: Final = """
{echo}
worker_processes 1; daemon off; pid {root}/nginx.pid; error_log {root}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; keepalive_requests 1000000; default_type application/octet-stream;
  client_body_temp_path {root}/t; proxy_temp_path {root}/t; fastcgi_temp_path {root}/t;
  uwsgi_temp_path {root}/t; scgi_temp_path {root}/t;
  server {{
    listen 127.0.0.1:{port} backlog=1024; root {root}/www;
    location /slow/ {{ limit_rate 4m; }}
    {late}
    location @file {{ }}
  }}
  server {{ {listens} root {root}/www; limit_rate 256k; }}
}}
"""


class Case(msgspec.Struct, frozen=True):
    """What is downloaded: a title, URLs, bytes in all. `own`: each tool by its own defaults, where
    else all have the same connections.
    """

    title: str
    urls: tuple[str, ...]
    size: int
    own: bool = False


@contextmanager
def served(root: Path, large: int, small: int) -> Iterator[list[Case]]:
    """The files, and nginx to serve them, near and far. `large` in bytes, `small` a number."""
    www = root / "www"
    for name in ("slow", "many"):
        (www / name).mkdir(parents=True)
    for wait in LATE:
        (www / f"late-{wait}").symlink_to(".")
    block = os.urandom(1 << 20)
    for name, size in (("large.bin", large), ("slow/slow.bin", 64 << 20), ("share.bin", 1 << 20),
                       *((f"far-{mib}.bin", mib << 20) for _, _, mib in LINES)):  # fmt: skip
        with (www / name).open("wb") as file:
            for at in range(0, size, 1 << 20):
                file.write(block[: min(1 << 20, size - at)])
    for number in range(HOSTS):
        (www / f"share-{number}.bin").symlink_to("share.bin")
    for number in range(small):
        (www / "many" / f"{number}.bin").write_bytes(block[number : number + SMALL])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    waits = [
        f"location /late-{wait}/ {{ echo_sleep {wait / 1000}; echo_exec @file; }}" for wait in LATE
    ]
    keeps = ECHO_MODULE.exists()
    if not keeps:
        sys.stderr.write(f"{ECHO_MODULE}: not there, so no late answers\n")
    (root / "nginx.conf").write_text(
        CONF.format(
            root=root,
            port=port,
            listens=" ".join(f"listen {host}:{port};" for host in _hosts()),
            echo=f'load_module "{ECHO_MODULE}";' if keeps else "",
            late=" ".join(waits) if keeps else "",
        )
    )
    nginx = subprocess.Popen(  # noqa: S603
        [binary() or "nginx", "-c", str(root / "nginx.conf"), "-e", str(root / "error.log")]
    )
    try:
        for _ in range(100):
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        with ExitStack() as lines:
            here = f"http://127.0.0.1:{port}"
            cases = _near(here, large, small)
            few = min(small, FAR)
            for latency, rate, mib in LINES:
                relay = lines.enter_context(line(port, latency, rate * 125e3))
                there = f"http://127.0.0.1:{relay}"
                far = f"{latency * 1000:.0f} ms, {rate} Mbit/s a connection"
                cases += [
                    Case(f"{mib} MiB, {far}", (f"{there}/far-{mib}.bin",), mib << 20),
                    Case(f"{few:,} files of 4 KiB, {far}", _many(there, few), few * SMALL),
                ]
            yield [*cases, *(_late(here, small) if keeps else [])]
    finally:
        nginx.terminate()
        nginx.wait(10)


def _near(here: str, large: int, small: int) -> list[Case]:
    hosts = tuple(here.replace("127.0.0.1", host) for host in _hosts())
    return [
        Case(f"one file of {large >> 20} MiB", (f"{here}/large.bin",), large),
        Case(f"{small:,} files of 4 KiB", _many(here, small), small * SMALL),
        Case("64 MiB, 4 MiB/s a connection", (f"{here}/slow/slow.bin",), 64 << 20),
        Case(f"{HOSTS} hosts, 1 MiB each at 256 KiB/s",
             tuple(f"{host}/share-{number}.bin" for number, host in enumerate(hosts)),
             HOSTS << 20),
    ]  # fmt: skip


def _late(here: str, small: int) -> list[Case]:
    """Small files whose answers come late: with as many connections, and with one's own number."""
    cases = []
    for own in (False, True):
        for few in sorted({min(small, count) for count in LATE_FILES}):
            for wait in LATE:
                if own and few / 1000 * wait > MAX_OWN_WAIT:
                    continue
                whose = "own defaults" if own else "16 connections"
                title = f"{few:,} files of 4 KiB, answers after {wait} ms, {whose}"
                cases.append(Case(title, _many(f"{here}/late-{wait}", few), few * SMALL, own))
    return cases


def _hosts() -> list[str]:
    return [f"127.0.1.{number}" for number in range(1, HOSTS + 1)]


def _many(home: str, count: int) -> tuple[str, ...]:
    return tuple(f"{home}/many/{number}.bin" for number in range(count))
