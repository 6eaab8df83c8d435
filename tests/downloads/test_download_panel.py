"""What a person sees of a download, through a terminal; and that a host's rate is its own."""

from __future__ import annotations

import asyncio
import fcntl
import io
import os
import pty
import re
import signal
import struct
import sys
import termios
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import pytest
from conftest import OpenSite
from helpers.downloading import get, noise, ranged
from helpers.website import Asked, Reply, busy
from rich.console import Console

from crawler.bootstrap.download_progress import ActiveFile, DownloadProgress, why
from crawler.cli.download_bars import panel
from crawler.cli.exits import Exit
from crawler.downloads.download_request import DownloadResult
from crawler.policy.autothrottle import HostPace

PACE = HostPace("h", width=2, limit=5, in_flight=1, queued=9, delay=0.0)


class Terminal:
    """A command on a terminal of 100 columns; `until` reads what it draws."""

    def __init__(self, *command: str, cwd: Path) -> None:
        self.drawn = ""
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        os.set_blocking(self._ours, False)
        environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "NO_COLOR": "1"}
        self._start = asyncio.create_subprocess_exec(
            sys.executable, "-m", "crawler", *command, cwd=cwd, env=environ,
            stdin=theirs, stdout=theirs, stderr=theirs,
        )  # fmt: skip
        self._theirs = theirs
        self._more = asyncio.Event()
        self.process: Any = None

    async def __aenter__(self) -> Self:
        self.process = await self._start
        os.close(self._theirs)
        asyncio.get_running_loop().add_reader(self._ours, self._read)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        asyncio.get_running_loop().remove_reader(self._ours)
        os.close(self._ours)

    def _read(self) -> None:
        try:
            came = os.read(self._ours, 65536)
        except OSError:  # the other end is closed
            came = b""
        if not came:
            asyncio.get_running_loop().remove_reader(self._ours)
        self.drawn += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", came.decode("utf-8", "replace"))
        self._more.set()

    async def until(self, pattern: str) -> None:
        """Until something is drawn that looks like this."""
        async with asyncio.timeout(40):
            while not re.search(pattern, self.drawn):
                self._more.clear()
                await self._more.wait()


async def test_bars_rates_what_is_left_and_why_a_host_waits(
    website: OpenSite, tmp_path: Path
) -> None:
    goes_on = asyncio.Event()
    body = noise(2_000_000)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, 1_000_000, 50_000):
            yield body[at : at + 50_000]
            await asyncio.sleep(0.05)  # a rate to be shown
        await goes_on.wait()
        yield body[1_000_000:]

    async def big(_: Asked) -> Reply:
        return Reply(200, b"", (), "application/octet-stream", length=len(body), stream=pieces())

    site = await website({"/big.bin": big}, {"/busy.bin": busy(9, retry_after=600, status=429)})
    other = site.at("/busy.bin").replace("127.0.0.1", "127.0.0.2")
    async with Terminal(
        "download", site.at("/big.bin"), other, "-x", "1", "--grace", "0", cwd=tmp_path
    ) as seen:
        await seen.until(r"big\.bin .*━.* of 2\.0 MB\s+\S+ [kM]?B/s")
        await seen.until(r"127\.0\.0\.2:\d+/busy\.bin waits \d+m\d+s: Retry-After \(status 429\)")
        seen.process.send_signal(signal.SIGINT)
        assert await seen.process.wait() == Exit.INTERRUPTED
        await seen.until("the same command")
    goes_on.set()
    async with Terminal("download", site.at("/big.bin"), "-O", "two", cwd=tmp_path) as seen:
        assert await seen.process.wait() == Exit.OK
        await seen.until("finished: 1 file, 0 failed")
    assert (tmp_path / "two/big.bin").read_bytes() == body


@pytest.mark.parametrize(
    ("pace", "said"),
    [
        ({"parked": 90.0, "failures": 4}, "it failed 4 times: tried again in"),
        ({"rest": 30.0}, "it rests for 30"),
        ({"in_flight": 2}, "2 of 2 connections are in use"),
        ({}, "for a free connection"),
    ],
)
def test_why_a_host_waits(pace: dict[str, Any], said: str) -> None:
    values = {name: getattr(PACE, name) for name in PACE.__struct_fields__}
    assert said in why(HostPace(**{**values, **pace}))


def test_the_panel_shows_the_largest_files_and_counts_the_others() -> None:
    running = tuple(
        ActiveFile(f"http://h/{n}", f"{n}.bin", n * 1000 or None, n * 500, n, 100, 5.0 * n or None)
        for n in range(12)
    )
    state = DownloadProgress(61.0, 3, 0, 1, running, 7, 5000, 1200, None, ())
    page = io.StringIO()
    Console(file=page, width=100, no_color=True).print(panel(state))
    lines = page.getvalue().splitlines()
    assert [line.split()[0] for line in lines[:8]] == [f"{n}.bin" for n in range(11, 3, -1)]
    assert "×11" in lines[0]
    assert lines[0].rstrip().endswith("55s")
    assert lines[8] == "… and 4 more"
    assert "12 running, 7 waiting, 1 failed" in lines[9]


async def test_a_hosts_rate_holds_back_that_host_alone(website: OpenSite, tmp_path: Path) -> None:
    """A quarter of a megabyte at 250 kB/s takes a second, however fast the line; the other host's
    file, half of it, does not wait for it.
    """
    body = noise(250_000)
    site = await website({"/a": ranged(body)}, {"/b": ranged(body[:125_000])})
    other = site.at("/b").replace("127.0.0.1", "127.0.0.2")
    began = time.monotonic()
    files: list[DownloadResult] = await get(site.at("/a"), other, into=tmp_path, host_rate=250_000)
    assert time.monotonic() - began >= 0.9
    assert [file.url[-2:] for file in files] == ["/b", "/a"]
    assert {file.status for file in files} == {"done"}
