"""A website made from a dict, on loopback, in the test's own loop.

    async with Website({"/": page(links=["/a", "/b"]), "/a": redirect("/b"), "/b": page()}) as site:
        ...  site.url, site.hits["/a"], await site.wait_for("/b")

An answer is an async callable that gets the request and says what to send; the functions of
`answers.py`, to be had from here, make the common ones. What is not in the dict is a 404. `{0}`,
`{1}` … in a link or a redirect stand for the origin of the first, second … host.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

from helpers.answers import (
    Answer,
    Asked,
    Gate,
    Reply,
    busy,
    drip,
    endless,
    gate,
    gzip_bomb,
    hangup,
    missing,
    packed,
    page,
    raw,
    redirect,
    reply,
    sequence,
    slow,
    text,
    truncated,
)

__all__ = [
    "Answer",
    "Asked",
    "Gate",
    "Reply",
    "Website",
    "busy",
    "drip",
    "endless",
    "gate",
    "gzip_bomb",
    "hangup",
    "missing",
    "packed",
    "page",
    "raw",
    "redirect",
    "reply",
    "sequence",
    "slow",
    "text",
    "truncated",
]

PATIENCE = 120.0  # seconds that a test waits for something before it fails
HEAD_LIMIT = 128 * 1024


class Website:
    """Serves `answers` at 127.0.0.1, and each of `others` at 127.0.0.2 …, all on one free port."""

    def __init__(self, answers: Mapping[str, Answer], *others: Mapping[str, Answer]) -> None:
        self.hosts = [dict(answers), *(dict(other) for other in others)]
        self.hits: Counter[str] = Counter()  # by path, all hosts together
        self.log: list[Asked] = []
        self.open = 0  # requests being answered at this moment
        self.peak = 0  # the most there ever were
        self.peaks: Counter[str] = Counter()  # the same, by address
        self.connections = 0  # that were ever made
        self.port = 0
        self._open_at: Counter[str] = Counter()
        self._servers: list[asyncio.Server] = []
        self._crew: set[asyncio.Task[None]] = set()
        self._bell = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Website {self.url} hits={self.hits.total()} open={self.open}>"

    @property
    def origins(self) -> list[str]:
        """Scheme, address and port of each host."""
        return [f"http://127.0.0.{i + 1}:{self.port}" for i in range(len(self.hosts))]

    @property
    def url(self) -> str:
        """The home page of the first host."""
        return self.origins[0] + "/"

    def at(self, path: str, host: int = 0) -> str:
        """The URL of a path."""
        return self.origins[host] + path

    def fill(self, link: str) -> str:
        """A link with `{0}` … replaced by the hosts' origins."""
        for number, origin in enumerate(self.origins):
            link = link.replace(f"{{{number}}}", origin)
        return link

    def put(self, path: str, answer: Answer, host: int = 0) -> None:
        """Add or replace an answer while the site is up."""
        self.hosts[host][path] = answer

    async def wait_for(self, path: str, times: int = 1) -> None:
        """Wait until a path has been asked for so often; TimeoutError when that never happens."""
        async with asyncio.timeout(PATIENCE):
            while self.hits[path] < times:
                await self._bell.wait()

    async def __aenter__(self) -> Self:
        for line in _bound(len(self.hosts)):
            self._servers.append(
                await asyncio.start_server(self._greet, sock=line, limit=HEAD_LIMIT)
            )
            self.port = line.getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in self._servers:
            server.close()
        for task in self._crew:
            task.cancel()
        failures = [
            failure
            for failure in await asyncio.gather(*self._crew, return_exceptions=True)
            if isinstance(failure, Exception)
        ]
        for server in self._servers:
            await server.wait_closed()
        if failures and error is None:
            raise ExceptionGroup("an answer of the website failed", failures)

    def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._converse(reader, writer))
        self._crew.add(task)
        task.add_done_callback(self._part)

    def _part(self, task: asyncio.Task[None]) -> None:
        """Forget a connection that ended well; one that failed is reported at the end."""
        if task.cancelled() or task.exception() is None:
            self._crew.discard(task)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (asked := await self._hear(reader, writer)) is not None:
                with self._counted(asked):
                    answer = self.hosts[int(asked.address[8:]) - 1].get(asked.path, missing)
                    if not await self._say(writer, asked, await answer(asked)):
                        break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the crawler went away: its right
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _hear(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Asked | None:
        """The next request; None at the end of the connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return None
        line, *rest = head.split("\r\n")
        method, path, _ = line.split(" ")
        pairs = (each.partition(":") for each in rest if each)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        if length := int(headers.get("content-length", "0")):
            await reader.readexactly(length)
        address = writer.get_extra_info("sockname")[0]
        return Asked(time.time(), path, headers.get("host", ""), headers, method, address, self)

    @contextlib.contextmanager
    def _counted(self, asked: Asked) -> Iterator[None]:
        self.log.append(asked)
        self.hits[asked.path] += 1
        self.open += 1
        self._open_at[asked.address] += 1
        self.peak = max(self.peak, self.open)
        self.peaks[asked.address] = max(self.peaks[asked.address], self._open_at[asked.address])
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()
        try:
            yield
        finally:
            self.open -= 1
            self._open_at[asked.address] -= 1

    async def _say(self, writer: asyncio.StreamWriter, asked: Asked, said: Reply) -> bool:
        """Send a reply; whether the connection can be used again."""
        if said.exact is not None:
            writer.write(said.exact)
            await writer.drain()
            if said.reset:
                line = writer.get_extra_info("socket")
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                writer.transport.abort()
            return False
        length = len(said.body) if said.length is None else said.length
        fields = [
            f"HTTP/1.1 {said.status} X",
            *(f"{name}: {value}" for name, value in said.headers),
        ]
        if said.status not in {204, 304}:
            fields.append(f"Content-Type: {said.mime}")
            if said.stream is None or said.length is not None:
                fields.append(f"Content-Length: {length}")
        last = said.stream is not None or length != len(said.body)
        last = last or asked.headers.get("connection", "").lower() == "close"
        if last:
            fields.append("Connection: close")
        writer.write(("\r\n".join(fields) + "\r\n\r\n").encode("latin-1"))
        if asked.method != "HEAD" and said.status not in {204, 304}:
            writer.write(said.body)
            if said.stream is not None:
                async for piece in said.stream:
                    writer.write(piece)
                    await writer.drain()
        await writer.drain()
        return not last


def _bound(hosts: int) -> list[socket.socket]:
    """A listening socket a host, all on one port that is free on each of them."""
    for _ in range(20):
        sockets: list[socket.socket] = []
        port = 0
        try:
            for host in range(hosts):
                sockets.append(socket.create_server((f"127.0.0.{host + 1}", port), backlog=512))
                port = sockets[-1].getsockname()[1]
        except OSError:
            for one in sockets:
                one.close()
        else:
            return sockets
    raise OSError("no port is free on all hosts")
