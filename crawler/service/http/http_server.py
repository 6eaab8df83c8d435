"""The HTTP server: its socket, its URL, and uvicorn with the limits of this service."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from crawler.errors import FatalError


class HttpServer(uvicorn.Server):
    """A uvicorn server that leaves signals to `serve`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def http_server(app: ASGIApp) -> HttpServer:
    """The server, with its limits and without access log, WebSockets and lifespan events."""
    return HttpServer(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
            limit_concurrency=1000,
            h11_max_incomplete_event_size=64 * 1024,
            http="h11",
            ws="none",
        )
    )


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket; port 0: any free port. Raises FatalError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family, backlog=256)
    except OSError as error:
        raise FatalError(f"cannot listen on {host}:{port}: {error.strerror}") from error


def url_of(host: str, listener: socket.socket) -> str:
    """The URL of a listening socket; an IPv6 address is put in brackets."""
    name = f"[{host.strip('[]')}]" if ":" in host else host
    return f"http://{name}:{listener.getsockname()[1]}"
