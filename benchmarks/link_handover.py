"""The cost of handing links over to another process with acknowledgment, on a Unix socket.

The other design for several loops on one machine (decision 76): each owns hosts, and whoever finds
a link of another's hands it over and waits until it is taken in before the page is crossed off. So
this sends batches of links as the frontier has them, one after the other, and counts both ends' CPU
and the time until the acknowledgment. What the other does with a link (dedup, queue) is not in it:
that costs the same in every design.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from crawler.bench.nonblocking import run_loop
from crawler.policy.urls import fingerprint, host_key
from crawler.records import Kind, Outlink

SIZES: Final = (1, 16, 64)
HEAD: Final = 4  # bytes that say how long a batch is


class Passed(msgspec.Struct, frozen=True):
    """Of one size of batches. Seconds; CPU is of user and system together."""

    size: int
    links: int
    wall: float
    sender: float
    receiver: float


def links(number: int) -> Iterator[Outlink]:
    """Links as pages have them: addresses of about 60 characters."""
    for page in range(number):
        url = f"https://host{page % 50}.example/section/{page:08d}-a-title-of-some-words.html"
        yield url, host_key(url), fingerprint(url, host_key(url)), Kind.PAGE.value, ""


async def send(line: socket.socket, batches: Sequence[Sequence[Outlink]]) -> None:
    """One after the other: the next leaves when the last was acknowledged."""
    reader, writer = await asyncio.open_unix_connection(sock=line)
    encode = msgspec.msgpack.Encoder().encode
    for batch in batches:
        body = encode(batch)
        writer.write(len(body).to_bytes(HEAD) + body)
        await writer.drain()
        taken = int.from_bytes(await reader.readexactly(HEAD))
        assert taken == len(batch), "the other lost some"
    writer.write_eof()
    await reader.read()
    writer.close()
    await writer.wait_closed()


async def take(line: socket.socket) -> None:
    """The other end: take in what comes, until it ends."""
    reader, writer = await asyncio.open_unix_connection(sock=line)
    decode = msgspec.msgpack.Decoder(list[Outlink]).decode
    while head := await reader.read(HEAD):
        head += await reader.readexactly(HEAD - len(head)) if len(head) < HEAD else b""
        batch = decode(await reader.readexactly(int.from_bytes(head)))
        writer.write(len(batch).to_bytes(HEAD))
        await writer.drain()
    writer.close()
    await writer.wait_closed()


def measure(size: int, number: int) -> Passed:
    """Pass `number` links in batches of `size` to a process of its own."""
    every = list(links(number))
    batches = [every[start : start + size] for start in range(0, number, size)]
    ours, theirs = socket.socketpair()
    with theirs:
        child = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "benchmarks.link_handover", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),), stdout=subprocess.PIPE,
        )  # fmt: skip
    assert child.stdout is not None
    child.stdout.readline()  # it is there
    before, began = time.process_time(), time.monotonic()
    run_loop(send(ours, batches))
    wall, sender = time.monotonic() - began, time.process_time() - before
    receiver = float(child.communicate()[0])
    return Passed(size, number, wall, sender, receiver)


def table(number: int = 20_000, sizes: Sequence[int] = SIZES) -> str:
    """In Markdown."""
    text = (
        f"\nLinks passed on to another process, acknowledged, {number:,} for each row:\n\n"
        "| links in a batch | until acknowledged, µs | CPU a link, µs: sender | receiver |\n"
        "|--:|--:|--:|--:|\n"
    )
    for size in sizes:
        one = measure(size, number)
        each = 1e6 * one.wall / (number / size)
        text += (
            f"| {size} | {each:,.0f} | {1e6 * one.sender / number:.1f} "
            f"| {1e6 * one.receiver / number:.1f} |\n"
        )
    return text


def main(descriptor: str) -> None:
    """The other process: says that it is there, and in the end what it cost."""
    with socket.socket(fileno=int(descriptor)) as line:
        os.write(1, b"\n")
        before = time.process_time()
        run_loop(take(line))
        os.write(1, str(time.process_time() - before).encode())


if __name__ == "__main__":
    main(sys.argv[1])
