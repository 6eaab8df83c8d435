"""A coordinator and its workers as processes."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from helpers.serving import Client, service

LEASE = 1.0


class Workers:
    """Processes that stand by, each in a folder below the service's `shares`."""

    def __init__(self, root: Path, url: str) -> None:
        self.root = root
        self.alive: dict[str, subprocess.Popen[bytes]] = {}
        self._url = url

    def start(self, name: str, *flags: str) -> None:
        with (self.root.parent / f"{name}.log").open("ab") as log:
            self.alive[name] = subprocess.Popen(
                [
                    sys.executable, "-m", "crawler", "worker", "--stand-by", "--frontier",
                    self._url, "-s", f"frontier.lease={LEASE}", "--private", "any", "-O",
                    str(self.root / name), *flags,
                ],
                stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self, name: str) -> None:
        child = self.alive.pop(name)
        child.send_signal(signal.SIGKILL)
        child.wait()

    def end(self, name: str) -> int:
        """SIGTERM, and the exit code."""
        child = self.alive.pop(name)
        child.terminate()
        return child.wait(30)

    def log(self, name: str) -> str:
        return (self.root.parent / f"{name}.log").read_text()


@contextmanager
def workers(root: Path, url: str) -> Iterator[Workers]:
    root.mkdir(parents=True)
    crew = Workers(root, url)
    try:
        yield crew
    finally:
        for name in list(crew.alive):
            crew.kill(name)


@asynccontextmanager
async def coordinator(folder: Path, url: str, **values: Any) -> AsyncIterator[Client]:
    defaults = {"frontier": {"url": url, "lease": LEASE}}
    async with (
        service(folder, defaults=defaults, shares=str(folder / "shares"), **values) as opened,
        Client(opened.url) as client,
    ):
        yield client


async def there(client: Client, **wanted: int) -> list[dict[str, Any]]:
    """Wait until so many workers are in each of these states."""
    async with asyncio.timeout(60):
        while True:
            found = (await client.get("/workers"))["workers"]
            if Counter(one["state"] for one in found) >= Counter(wanted):
                return list(found)
            await asyncio.sleep(0.05)  # another process's doing: nobody rings


async def every(
    client: Client, job: str, limit: int = 7, what: str = "pages"
) -> list[dict[str, Any]]:
    """All records, or links, page by page."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while True:
        some = await client.get(f"/jobs/{job}/{what}", limit=limit, **cursor)
        found += some[what]
        if some["next"] is None:
            return found
        cursor = {"cursor": some["next"]}
