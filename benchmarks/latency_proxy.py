"""A long, narrow line to a server: a relay that delays and slows each connection.

`python -m benchmarks.latency_proxy PORT --latency 0.05 --rate 2500000` prints the port
that it listens on, and ends with its standard input. What netem does, where the kernel has it:
bytes arrive half the latency after they were sent, each way; a new connection costs one more, as
its handshake would; the server's bytes come no faster than the rate. Nothing is lost, and nothing
grows slowly as TCP does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

PIECE: Final = 32 * 1024
"""Bytes that arrive at once: 2.6 ms of 100 Mbit/s."""

AHEAD: Final = 0.25
"""Seconds of bytes under way beyond the latency, after which the sender is stopped."""


class ProxyLane(asyncio.Protocol):
    """One direction of a connection; `other` is the way back, and whose transport bytes go to."""

    def __init__(self, delay: float, rate: float | None) -> None:
        self.transport: Any = None
        self.other: ProxyLane | None = None
        self.due = 0.0  # when the last byte arrives, on the loop's clock
        self._delay = delay
        self._rate = rate
        self._early: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.other is None or self.other.transport is None:
            self._early.append(data)  # the way on is being made
            return
        now = self._loop.time()
        for at in range(0, len(data), PIECE):
            piece = data[at : at + PIECE]
            cost = len(piece) / self._rate if self._rate else 0.0
            self.due = max(self.due + cost, now + self._delay)
            self._loop.call_at(self.due, self._arrive, piece)
        ahead = self.due - now - self._delay
        if ahead > AHEAD:
            self.transport.pause_reading()
            self._loop.call_at(self.due - self._delay, self._resume)

    def opened(self) -> None:
        """The way on is there."""
        early, self._early = self._early, []
        for data in early:
            self.data_received(data)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        if self.other is not None and self.other.transport is not None:
            when = max(self.due, self._loop.time() + self._delay)
            self._loop.call_at(when, self.other.transport.close)

    def _arrive(self, piece: bytes) -> None:
        assert self.other is not None
        if not self.other.transport.is_closing():
            self.other.transport.write(piece)

    def _resume(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()


class ProxyEntry(ProxyLane):
    """The client's side: makes the connection to the server."""

    def __init__(self, port: int, latency: float, rate: float | None) -> None:
        super().__init__(latency / 2, None)
        self._server = ProxyLane(latency / 2, rate)
        self._port = port
        self._latency = latency
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._task = asyncio.create_task(self._on())

    async def _on(self) -> None:
        await asyncio.sleep(self._latency)  # the handshake's round trip
        self._server.other = self
        try:
            await self._loop.create_connection(lambda: self._server, "127.0.0.1", self._port)
        except OSError:
            self.transport.close()
            return
        self.other = self._server
        self.opened()


async def _serve(port: int, latency: float, rate: float | None) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: ProxyEntry(port, latency, rate), "127.0.0.1", 0)
    async with server:
        sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        await loop.run_in_executor(None, sys.stdin.read)


@contextmanager
def line(port: int, latency: float, rate: float | None = None) -> Iterator[int]:
    """The port of such a line to a port of this machine; `latency` in seconds there and back,
    `rate` in bytes a second of each connection.
    """
    command = [
        sys.executable,
        "-m",
        "benchmarks.latency_proxy",
        str(port),
        "--latency",
        str(latency),
    ]
    if rate is not None:
        command += ["--rate", str(rate)]
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def main() -> None:
    """Relay until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--rate", type=float)
    asked = parser.parse_args()
    factory: Any = asyncio.new_event_loop
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(asked.port, asked.latency, asked.rate))


if __name__ == "__main__":
    main()
