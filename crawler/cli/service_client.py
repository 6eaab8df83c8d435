"""A running service, asked over HTTP. Blocking: each command asks a few questions and ends."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from typing import Any, BinaryIO, Final

from crawler.config.loader import SERVICE
from crawler.errors import ConfigError, CrawlerError, FatalError, Unreachable

SERVER: Final = "http://127.0.0.1:8080"

PATIENCE: Final = 30.0
"""Seconds for an answer; event streams say something each second."""


class ServiceClient:
    """One server and one token. Raises Unreachable, ConfigError (4xx), FatalError (5xx)."""

    def __init__(self, server: str, environ: Mapping[str, str]) -> None:
        self._server = server.rstrip("/")
        if urllib.parse.urlsplit(self._server).scheme not in {"http", "https"}:
            raise ConfigError(f"--server {server}: expected http://… or https://…")
        self._token = environ.get(f"{SERVICE}TOKEN", "") or environ.get(f"{SERVICE}READ_TOKEN", "")

    def ask(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """The answer's JSON; None when there is none."""
        with self.open(method, path, body, **params) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def open(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **params: Any,
    ) -> Any:
        """The answer, to be read and closed by the caller."""
        query = {name: value for name, value in params.items() if value is not None}
        url = f"{self._server}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        request = urllib.request.Request(url, method=method, headers=dict(headers or {}))  # noqa: S310 - scheme checked
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            return _OPENER.open(request, timeout=PATIENCE)
        except urllib.error.HTTPError as error:
            raise _refusal(error) from error
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise Unreachable(f"{self._server}: {reason}; is `crawler serve` running?") from error

    def pages(self, path: str, key: str, limit: int, **params: Any) -> Iterator[Any]:
        """Rows of a list, page after page, `limit` at most."""
        cursor: str | None = None
        while limit > 0:
            page = self.ask("GET", path, cursor=cursor, limit=min(limit, 1000), **params)
            yield from page[key]
            limit -= len(page[key])
            cursor = page["next"]
            if cursor is None:
                return

    def events(self, job: str, after: int = 0) -> Iterator[tuple[str, Any]]:
        """The job's event stream: (state or live, data). It ends when the server does."""
        last = {"Last-Event-ID": str(after)}
        with self.open("GET", f"/jobs/{job}/events", headers=last) as stream:
            kind = ""
            for line in stream:
                name, _, value = line.decode().rstrip("\r\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    yield kind, json.loads(value)

    def save(self, path: str, file: BinaryIO) -> int:
        """Download; the number of bytes."""
        total = 0
        with self.open("GET", path) as answer:
            while piece := answer.read(1 << 16):
                total += file.write(piece)
        return total


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""No proxy from the environment: the service is a neighbour, and the token is for it alone."""


def _refusal(error: urllib.error.HTTPError) -> CrawlerError:
    try:
        problem = json.loads(error.read())
        words = problem.get("detail") or problem["title"]
    except (ValueError, KeyError, AttributeError):
        words = error.reason
    if error.code == 401:
        words = f"{words}; set {SERVICE}TOKEN"
    kind = FatalError if error.code >= 500 else ConfigError
    return kind(f"the service says {error.code}: {words}")
