"""A Redis or Valkey of a crawl's own, for several loops on one machine.

with LocalServer(folder) as server:
    ...  server.url

It listens on a unix socket in a folder that only its owner may enter, keeps its data there as an
append-only file, and ends with the process that started it, however that dies. Started again on the
same folder it has what it had: `kill -9` of everything loses nothing.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self
from urllib.parse import quote

from crawler.errors import ConfigError, FrontierError
from crawler.utils.parent_death import tethered

if TYPE_CHECKING:
    from crawler.frontier.redis.redis_client import RedisClient

PROGRAMS: Final = ("valkey-server", "redis-server")
"""The first that is installed is used. Debian has them in packages of these names, Valkey
since 13."""

PATIENCE: Final = 30.0
"""Seconds to start and to stop; while it reads its data it says so, and is waited for."""

SHARE: Final = 0.5
"""Of the machine's memory, at most; then nothing is added until there is room."""

LONGEST: Final = 100
"""Bytes of a socket's path: the kernel takes 108 (Linux), 104 (BSD)."""


def program() -> str:
    """The server to start. Raises ConfigError when there is none."""
    for name in PROGRAMS:
        if path := shutil.which(name):
            return path
    raise ConfigError(
        f"several loops share a queue on Redis 7 or Valkey, and neither {' nor '.join(PROGRAMS)} "
        f"is on PATH: apt install redis-server, or name one that runs with --frontier"
    )


class LocalServer:
    """Started by `with`, in a thread that outlives it. Raises ConfigError (no program) and
    FrontierError (it did not start, in its own words).
    """

    def __init__(
        self,
        folder: Path,
        *,
        durable: Literal["process", "power"] = "process",
        held: Sequence[int] = (),
    ) -> None:
        """`held` are file descriptors that it keeps open: locks that are to outlive us with it."""
        self._folder = folder.resolve()
        self._durable = durable
        self._program = ""
        self._child: subprocess.Popen[bytes] | None = None
        self._open = ExitStack()
        self._socket = self._folder / "socket"
        self._held = tuple(held)

    @property
    def url(self) -> str:
        """For `frontier.url`."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def pid(self) -> int:
        if self._child is None:
            raise RuntimeError("the server is not started")
        return self._child.pid

    @property
    def folder(self) -> Path:
        """Where its data lies."""
        return self._folder

    def ended(self) -> bool:
        """Whether it is gone without having been told to."""
        return self._child is not None and self._child.poll() is not None

    def start(self) -> None:
        """Start it, again too, and wait until it answers with all its data."""
        self._socket.unlink(missing_ok=True)
        log = self._folder / "log"
        with log.open("wb") as file:
            self._child = subprocess.Popen(  # noqa: S603 - our own interpreter, then the server
                tethered([self._program, "-"]),
                stdin=subprocess.PIPE, stdout=file, stderr=file, pass_fds=self._held,
                process_group=0,  # Ctrl-C is for us: it would leave before the loops do
            )  # fmt: skip
        assert self._child.stdin is not None
        try:
            with self._child.stdin as words:
                words.write(self._settings().encode())
        except BrokenPipeError:
            pass  # what it said is in its log
        deadline = time.monotonic() + PATIENCE
        while not (said := self._ping()).startswith(b"+PONG"):
            if said.startswith(b"-LOADING"):
                deadline = time.monotonic() + PATIENCE
            if self._child.poll() is not None or time.monotonic() > deadline:
                self.stop()
                last = log.read_text("utf-8", "replace").strip().rpartition("\n")[2]
                raise FrontierError(f"{self._program}: {last or 'did not start'}")
            time.sleep(0.01)

    def stop(self) -> None:
        """As an operator would: what it has not written yet, it writes now."""
        child, self._child = self._child, None
        if child is None:
            return
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def __enter__(self) -> Self:
        self._program = program()
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if len(os.fsencode(self._socket)) > LONGEST:
                room = self._open.enter_context(tempfile.TemporaryDirectory(prefix="crawler-"))
                self._socket = Path(room) / "socket"
            self.start()
        except OSError as error:
            self._open.close()
            raise FrontierError(f"{error.filename or self._folder}: {error.strerror}") from error
        except BaseException:
            self.stop()
            self._open.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._open.close()

    def _settings(self) -> str:
        """Its configuration, on stdin: nothing of it is seen in the list of processes."""
        memory = int(SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        lines = {
            "port": "0",
            "unixsocket": _quoted(self._socket),
            "unixsocketperm": "600",  # the folder is closed to others, too
            "dir": _quoted(self._folder),
            "daemonize": "no",
            "appendonly": "yes",
            # `no`: what it answers is in the kernel's hands, and survives any kill. With `everysec`
            # it is not while an fsync of its own takes long (decision 82).
            "appendfsync": "always" if self._durable == "power" else "no",
            "save": '""',
            "maxmemory": str(memory),
            "maxmemory-policy": "noeviction",
            "set-max-intset-entries": "16384",
        }
        return "".join(f"{name} {value}\n" for name, value in lines.items())

    def _ping(self) -> bytes:
        """What it says; nothing when it does not listen yet."""
        try:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(1.0)
                line.connect(str(self._socket))
                line.sendall(b"PING\r\n")
                return line.recv(64)
        except OSError:
            return b""

    def __repr__(self) -> str:
        return f"<LocalServer {self.url} {'up' if self._child else 'down'}>"


async def end_leases(wire: RedisClient, job: str) -> None:
    """For one who knows that no worker of the job is left: their links come back now. Hosts stay
    owed what they are owed.
    """
    for shard in range(wire.shards):
        key = f"{wire.tag(shard)}{job}:lease"
        await wire.plain("ZUNIONSTORE", key, 1, key, "WEIGHTS", 0)


def _quoted(path: Path) -> str:
    """A path as one word of a configuration file."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
