"""Serves the demo web on loopback: `python -m crawler.demo.demo_server --pages 2000 --port 0`.

    options ──▶ bind ──▶ fork ──▶ one loop a process ──▶ a `DemoConnection` for each that comes
              (once)   (N − 1)

The first line on stdout is the address of the home page, written when connections are taken.
SIGTERM and SIGINT end it with code 0; a port in use or a wrong option, with one line and code 2.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import gc
import os
import signal
import socket
import ssl
import stat
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import monotonic

import msgspec

from crawler.demo.connection import ConnectionLimit, DemoConnection
from crawler.demo.options import FLAGS, SWITCHES, DemoOptions, options
from crawler.demo.response_cache import ResponseCache
from crawler.demo.web import Web, literal
from crawler.errors import ConfigError

BACKLOG = 1024
SHUTDOWN_GRACE_S = 2.0  # seconds that answers in hand may still take when the web is stopped
LOG_FLUSH_INTERVAL_S = 0.2  # seconds; the most that is missing from the log while the web is up
PORT_TRIES = 20  # a port that is free on 127.0.0.1 may be taken on 127.0.0.2
READY = b"r"


def serve(options: DemoOptions, *, ready: Callable[[str], None] | None = None) -> int:
    """Serve until a signal; returns the exit code. `ready` is called once with the home page's URL.

    None: the URL is printed. Raises ConfigError when the port is taken or the log cannot be
    written. Forks when there is more than one process: call it where there are no other threads.
    """
    if options.until_eof and not stat.S_ISFIFO(os.fstat(0).st_mode):
        raise ConfigError("demo web: --until-eof wants a pipe on stdin")
    log = Path(options.log) if options.log else None
    if log is not None:
        try:
            log.open("ab").close()
        except OSError as error:
            raise ConfigError(f"demo web: {log}: {error.strerror}") from error
    ssl_context = None if options.tls is None else _ssl_context(options.tls)
    sockets = bind(options.web, shared=options.processes > 1)
    web = msgspec.structs.replace(options.web, port=sockets[0].getsockname()[1])
    responses = ResponseCache(web, options.behaviour, log)
    responses.warm()
    gc.freeze()  # the kept answers are never garbage: collections skip them, forks share them
    children = [_fork(responses, sockets, ssl_context) for _ in range(options.processes - 1)]
    # A socket that is bound but does not listen gets no connections, so nothing is lost till here.
    started = all(parent_socket.recv(1) == READY for _, parent_socket in children)
    watched = [parent_socket.fileno() for _, parent_socket in children] + [0] * options.until_eof
    announce = ready or partial(print, flush=True)
    try:
        if started:
            _run(responses, sockets, watched, lambda: announce(web.origin() + "/"), ssl_context)
    finally:
        for _, parent_socket in children:
            parent_socket.close()
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child, _ in children]
    return 1 if any(codes) else 0


def _ssl_context(path: str) -> ssl.SSLContext:
    """Raises ConfigError when the file is not what it should be."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(path)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"demo web: {path}: {error.strerror or error}") from error
    return context


def _fork(
    responses: ResponseCache, sockets: Sequence[socket.socket], ssl_context: ssl.SSLContext | None
) -> tuple[int, socket.socket]:
    """One more process on the same port: its id, and a socket that ends when either side does."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child:
        theirs.close()
        return child, ours
    code = 1
    try:
        ours.close()
        for taken in sockets:
            taken.close()
        own = bind(responses.web, shared=True, alone_first=False)
        _run(responses, own, [theirs.fileno()], lambda: theirs.send(READY), ssl_context)
        code = 0
    finally:
        os._exit(code)  # the caller's stack belongs to the first process


def bind(web: Web, *, shared: bool, alone_first: bool = True) -> list[socket.socket]:
    """One bound socket a host, all on one port. Raises ConfigError when the port is taken.

    SO_REUSEPORT lets strangers share a port without a word, so a `shared` port is first taken
    alone for a moment.
    """
    for left in reversed(range(PORT_TRIES)):
        sockets: list[socket.socket] = []
        port = web.port
        try:
            for host in range(web.hosts):
                if shared and alone_first:
                    with _socket() as alone:
                        alone.bind((literal(host), port))
                        port = alone.getsockname()[1]
                sockets.append(_socket())
                if shared:
                    sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                sockets[-1].bind((literal(host), port))
                port = sockets[-1].getsockname()[1]
        except OSError as error:
            for one in sockets:
                one.close()
            if error.errno == errno.EADDRINUSE and not web.port and left:
                continue
            raise ConfigError(f"demo web: port {port}: {error.strerror}") from error
        return sockets
    raise AssertionError("the last try returns or raises")


def _socket() -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return one


def _run(
    responses: ResponseCache,
    sockets: Sequence[socket.socket],
    watched: Sequence[int],
    ready: Callable[[], object],
    ssl_context: ssl.SSLContext | None,
) -> None:
    try:
        import uvloop  # noqa: PLC0415  (not on every platform)
    except ImportError:
        factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve_until_stopped(responses, sockets, watched, ready, ssl_context))


async def _serve_until_stopped(
    responses: ResponseCache,
    sockets: Sequence[socket.socket],
    watched: Sequence[int],
    ready: Callable[[], object],
    ssl_context: ssl.SSLContext | None,
) -> None:
    """Serve until a signal comes or one of the watched descriptors ends."""
    loop, stop, connections = asyncio.get_running_loop(), asyncio.Event(), ConnectionLimit()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    for descriptor in watched:
        loop.add_reader(descriptor, _on_readable, descriptor, stop)
    responses.open()
    try:
        servers = [
            await loop.create_server(
                partial(DemoConnection, responses, connections),
                sock=one,
                backlog=BACKLOG,
                ssl=ssl_context,
            )
            for one in sockets
        ]
        ready()
        while not stop.is_set():
            await _wait(stop, LOG_FLUSH_INTERVAL_S)
            responses.flush()
            connections.close_idle(since=monotonic() - responses.behaviour.idle)
        for server in servers:
            server.close()
        await connections.shut_down(SHUTDOWN_GRACE_S)
    finally:
        for descriptor in watched:
            loop.remove_reader(descriptor)
        responses.close()


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


def _on_readable(descriptor: int, stop: asyncio.Event) -> None:
    """Something came, or the other side has ended."""
    if not os.read(descriptor, 4096):
        stop.set()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser("demo-web", description="A web to crawl, on loopback.")
    for name, meaning in FLAGS.items():
        if name in SWITCHES:
            parser.add_argument(
                f"--{name}", action="store_true", default=argparse.SUPPRESS, help=meaning
            )
        else:
            parser.add_argument(f"--{name}", default=argparse.SUPPRESS, help=meaning)
    try:
        return serve(options(vars(parser.parse_args(arguments))))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
