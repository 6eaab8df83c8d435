"""A service in a test: opened in the test's own loop, or as a process that can be killed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp

from crawler.cli.flags import HELP
from crawler.service.http.access import AccessToken
from crawler.service.server import Service, open_service
from crawler.service.settings import ServiceConfig

PATIENCE = 120.0


class Client:
    """Asks a service; answers are (status, JSON or text)."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self.session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self.session = aiohttp.ClientSession(self.url, headers=self._headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        if body is not None:
            more["json"] = body
        async with self.session.request(method, path, **more) as answer:
            text = await answer.text()
            is_json = "json" in answer.headers.get("content-type", "")
            return answer.status, json.loads(text) if is_json and text else text

    async def get(self, path: str, **params: Any) -> Any:
        status, found = await self.ask("GET", path, params=params)
        assert status == 200, (path, status, found)
        return found

    async def post(self, path: str, body: Any = None, expect: int = 200) -> Any:
        status, found = await self.ask("POST", path, body)
        assert status == expect, (path, status, found)
        return found

    async def start(self, *seeds: str, **body: Any) -> str:
        """A new job's id."""
        made = await self.post("/jobs", {"seeds": seeds, **body}, expect=201)
        return str(made["id"])

    async def until(self, job: str, *states: str) -> dict[str, Any]:
        """Wait for a job's state, told by the event stream."""
        async with (
            asyncio.timeout(PATIENCE),
            self.session.get(f"/jobs/{job}/events", headers={"last-event-id": "0"}) as stream,
        ):
            assert stream.status == 200, await stream.text()
            event = ""
            async for line in stream.content:
                text = line.decode().rstrip("\n")
                if text.startswith("event: "):
                    event = text.removeprefix("event: ")
                elif text.startswith("data: ") and event == "state":
                    state = json.loads(text.removeprefix("data: "))["state"]
                    if state in states:
                        found: dict[str, Any] = await self.get(f"/jobs/{job}")
                        if found["state"] in states:
                            return found
        raise AssertionError(f"job {job} never was {states}")


@asynccontextmanager
async def service(
    folder: Path,
    tokens: tuple[AccessToken, ...] = (),
    defaults: dict[str, Any] | None = None,
    **values: Any,
) -> AsyncIterator[Service]:
    """A running service on a free port, private addresses and no pacing allowed."""
    settings = {
        "dir": str(folder), "port": 0, "private": True, "allow": ("pace.fast", "retry.base"),
        "rate": 10_000.0, "burst": 10_000, "min_free": 0, "grace": 5.0,
    }  # fmt: skip
    more = {
        name: values.pop(name)
        for name in ("free", "opener", "download_opener", "tracing")
        if name in values
    }
    config = ServiceConfig(**{**settings, **values})
    async with open_service(
        config, tokens=tokens, defaults=defaults or {}, help_texts=HELP, **more
    ) as opened:
        running = asyncio.create_task(opened.run())
        try:
            yield opened
        finally:
            opened.stop()
            async with asyncio.timeout(PATIENCE):
                await running


class Process:
    """`crawler serve` as a process of its own. Started on entering, ended whatever happens."""

    def __init__(self, folder: Path, *flags: str, env: Mapping[str, str] | None = None) -> None:
        self._command = [
            sys.executable, "-m", "crawler", "serve", "--dir", str(folder), "--port", "0",
            "--private", "--allow", "pace.fast", *flags,
        ]  # fmt: skip
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        self.url = ""
        self.lines: list[str] = []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stderr=subprocess.PIPE, text=True, env=self._env
        )
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append(line)
            if match := re.search(r"serving (http://\S+)", line):
                self.url = match[1]
                return self
        raise AssertionError(f"it did not start: {self.lines}")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit code; None: it runs."""
        assert self._process is not None
        return self._process.poll()

    def kill(self) -> None:
        """As a power cut does it to a process."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def end(self) -> int:
        """SIGTERM, and the exit code."""
        assert self._process is not None
        self._process.terminate()
        _, errors = self._process.communicate(timeout=PATIENCE)
        self.lines += errors.splitlines()
        assert "Traceback" not in errors, errors
        return self._process.returncode

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
