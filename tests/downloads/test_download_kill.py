"""Kill a download at any instant, as often as you like: every file is whole, little comes twice.

The small version runs always; `make test-download` kills fifty times. The server writes down which
bytes of which file it gives out to which run, and after each kill the book is read: so what comes
again though it was safe, and what was in flight, are measured apart and not believed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest
from helpers.downloading import names_in, noise

from crawler.cli.exits import Exit
from crawler.downloads import progress_store
from crawler.downloads.byte_ranges import ByteRanges

PIECE = 64 * 1024


class Polled(Protocol):
    """A process that may end."""

    def poll(self) -> int | None: ...


class Files:
    """A server of parts in a thread of its own, slow enough to be interrupted; counts its bytes."""

    def __init__(self, bodies: dict[str, bytes], rate: int) -> None:
        self.bodies = bodies
        self.sent = 0
        self.run = 0  # whoever connects is the run of this number
        self.given: dict[tuple[int, str], list[tuple[int, int]]] = {}  # by run and path
        self.port = 0
        self._rate = rate
        self._bell = threading.Condition()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        run = self.run
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
                        given = self.given.setdefault((run, path), [])
                        given.append((at, at + len(piece)))
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


def safe_in(folder: Path) -> dict[str, ByteRanges]:
    """What a killed run has told the book of, by path: those bytes may not be asked for again."""
    ours = folder / ".crawler-download"
    looked = folder.with_name("looked-at")
    shutil.rmtree(looked, ignore_errors=True)
    if not (ours / "frontier.db").exists():
        return {}
    shutil.copytree(ours, looked)  # opening it would clear up after the kill
    db = sqlite3.connect(looked / "frontier.db")
    try:
        rows = db.execute("SELECT url, ordered, progress FROM file").fetchall()
    except sqlite3.OperationalError:
        return {}  # killed before there was a table
    finally:
        db.close()
    safe = {}
    for url, ordered, blob in rows:
        _, progress = progress_store.decode_row(ordered, blob)
        there = [folder / progress.name, folder / f"{progress.name}.part"]
        if progress.name and any(path.exists() for path in there):
            whole = any(path.exists() and path.stat().st_size == progress.size for path in there)
            spans = progress.spans if whole or not progress.finished else ()
            safe["/" + url.split("/", 3)[3]] = ByteRanges(spans)
    return safe


def overlap(given: list[tuple[int, int]], safe: ByteRanges) -> int:
    """Bytes given out that were safe already, each as often as it was given out."""
    return sum(
        max(0, min(end, high) - max(start, low))
        for start, end in given
        for low, high in safe.as_tuple()
    )


class Toll(NamedTuple):
    """What kills cost, in bytes: `again` were safe and came once more, `flown` were on their way or
    held in memory. `hits` of the kills found somebody alive.
    """

    hits: int
    again: int
    flown: int


def kill_and_resume(
    tmp_path: Path, *, kills: int, large: int, small: int, rate: int, seed: int
) -> Toll:
    dice = random.Random(seed)
    bodies = {f"/small-{n}.bin": noise(dice.randrange(1, 40_000), n) for n in range(small)}
    bodies |= {f"/large-{n}.bin": noise(large, 1000 + n) for n in range(4)}
    total = sum(map(len, bodies.values()))
    files = Files(bodies, rate)
    folder, listed = tmp_path / "out", tmp_path / "list.txt"
    hits = 0
    safe: list[dict[str, ByteRanges]] = [{}]  # before each run

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
                hits += 1
            _, errors = process.communicate(timeout=60)
            assert b"Traceback" not in errors, errors.decode()
            check_nothing_unfinished(folder, bodies)
            safe.append(safe_in(folder))
            files.run += 1
        process = start(listed, folder)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == Exit.OK, errors.decode()
    assert names_in(folder) == {path[1:] for path in bodies}
    check_nothing_unfinished(folder, bodies)
    again = sum(
        overlap(given, safe[run].get(path, ByteRanges()))
        for (run, path), given in files.given.items()
    )
    return Toll(hits, again, files.sent - total - again)


def test_killed_three_times_every_file_is_whole(tmp_path: Path) -> None:
    toll = kill_and_resume(tmp_path, kills=3, large=4_000_000, small=60, rate=4_000_000, seed=7)
    assert toll.hits >= 2
    assert toll.again == 0
    # In flight at a kill: half a second of every connection, and what sockets and buffers hold.
    assert toll.flown < toll.hits * 16_000_000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_fifty_times(tmp_path: Path) -> None:
    large, small, rate = 48_000_000, 400, 6_000_000
    seed = int(os.environ.get("SEED", "1"))
    toll = kill_and_resume(tmp_path, kills=50, large=large, small=small, rate=rate, seed=seed)
    sys.stdout.write(
        f"{toll.hits} kills of a download of {4 * large:,} bytes: {toll.again:,} that were safe "
        f"came again; {toll.flown:,} were in flight, {toll.flown / toll.hits:,.0f} a kill\n"
    )
    assert toll.hits >= 40
    assert toll.again < 0.01 * 4 * large
    assert toll.flown < toll.hits * 0.3 * 4 * rate  # 0.3 s of what four large files at a time bring
