"""Kill a download at any instant, as often as you like: every file is whole, little comes twice.

The small version runs always; `make test-download` kills fifty times. The server counts what it
gives out, so what is fetched again is measured and not believed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest
from downloading import names_in, noise

from crawler.cli.exits import Exit

PIECE = 64 * 1024


class Polled(Protocol):
    """A process that may end."""

    def poll(self) -> int | None: ...


class Files:
    """A server of parts in a thread of its own, slow enough to be interrupted; counts its bytes."""

    def __init__(self, bodies: dict[str, bytes], rate: int) -> None:
        self.bodies = bodies
        self.sent = 0
        self.port = 0
        self._rate = rate
        self._bell = threading.Condition()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode("latin-1").split("\r\n")
                path = lines[0].split(" ")[1]
                fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
                body = self.bodies[path]
                etag = hashlib.md5(body).hexdigest()
                start, end, status = 0, len(body), "200 OK"
                extra = f'ETag: "{etag}"\r\nAccept-Ranges: bytes\r\n'
                if (text := fields.get("range")) and fields.get("if-range") == f'"{etag}"':
                    first, _, last = text.removeprefix("bytes=").partition("-")
                    start, end, status = int(first), int(last or end - 1) + 1, "206 Partial"
                    extra += f"Content-Range: bytes {start}-{end - 1}/{len(body)}\r\n"
                writer.write(
                    f"HTTP/1.1 {status}\r\n{extra}Content-Length: {end - start}\r\n\r\n".encode()
                )
                for at in range(start, end, PIECE):
                    piece = body[at : min(end, at + PIECE)]
                    writer.write(piece)
                    await writer.drain()
                    with self._bell:
                        self.sent += len(piece)
                        self._bell.notify_all()
                    await asyncio.sleep(len(piece) / self._rate)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # killed: that is the point
        finally:
            writer.close()

    def wait_for(self, sent: int, process: Polled) -> None:
        """Until so many bytes are given out, or the process has ended."""
        with self._bell:
            while self.sent < sent and process.poll() is None:
                self._bell.wait(0.05)

    @contextmanager
    def running(self) -> Iterator[Files]:
        loop = asyncio.new_event_loop()

        async def listen() -> asyncio.Server:
            return await asyncio.start_server(self._serve, "127.0.0.1", 0)

        server = loop.run_until_complete(listen())
        self.port = server.sockets[0].getsockname()[1]
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            yield self
        finally:

            async def end() -> None:
                server.close()
                tasks = asyncio.all_tasks() - {asyncio.current_task()}
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

            asyncio.run_coroutine_threadsafe(end(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


def start(listed: Path, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "crawler", "download", "-i", str(listed), "-O", str(folder),
         "--fast", "-q", "-s", "retry.base=0.05", "-x", "3"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip


def check_nothing_unfinished(folder: Path, bodies: dict[str, bytes]) -> None:
    for name in names_in(folder):
        if not name.endswith(".part"):
            assert (folder / name).read_bytes() == bodies[f"/{name}"], f"{name} is not whole"


def kill_and_resume(
    tmp_path: Path, *, kills: int, large: int, small: int, rate: int, seed: int
) -> tuple[int, int]:
    """Bytes given out beyond the files' own, and how many kills hit."""
    dice = random.Random(seed)
    bodies = {f"/small-{n}.bin": noise(dice.randrange(1, 40_000), n) for n in range(small)}
    bodies |= {f"/large-{n}.bin": noise(large, 1000 + n) for n in range(4)}
    total = sum(map(len, bodies.values()))
    files = Files(bodies, rate)
    folder, listed = tmp_path / "out", tmp_path / "list.txt"
    hit = 0
    with files.running():
        paths = list(bodies)
        dice.shuffle(paths)
        listed.write_text("".join(f"http://127.0.0.1:{files.port}{path}\n" for path in paths))
        step = total / (kills + 1)
        for number in range(kills):
            process = start(listed, folder)
            files.wait_for(int(step * (number + dice.random())), process)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                hit += 1
            _, errors = process.communicate(timeout=60)
            assert b"Traceback" not in errors, errors.decode()
            check_nothing_unfinished(folder, bodies)
        process = start(listed, folder)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == Exit.OK, errors.decode()
    assert names_in(folder) == {path[1:] for path in bodies}
    check_nothing_unfinished(folder, bodies)
    return files.sent - total, hit


def test_killed_three_times_every_file_is_whole(tmp_path: Path) -> None:
    twice, hit = kill_and_resume(
        tmp_path, kills=3, large=4_000_000, small=60, rate=4_000_000, seed=7
    )
    assert hit >= 2
    # In flight at a kill: half a second of every connection, and what sockets and buffers hold.
    assert twice < hit * 16_000_000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_fifty_times(tmp_path: Path) -> None:
    large, small = 48_000_000, 400
    twice, hit = kill_and_resume(
        tmp_path,
        kills=50,
        large=large,
        small=small,
        rate=6_000_000,
        seed=int(os.environ.get("SEED", "1")),
    )
    told = f"{hit} kills: {twice:,} bytes again of {4 * large:,}: {twice / hit:,.0f} a kill\n"
    sys.stdout.write(told)
    assert hit >= 40
    assert twice < hit * 0.3 * 4 * 6_000_000  # 0.3 s of what four large files at a time bring
