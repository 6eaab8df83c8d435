"""Description and server agree: requests made from /openapi.json find nothing undocumented."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.serving import Client, service

from crawler.engine.stats import StatsCollector
from crawler.policy.autothrottle import HostPace
from crawler.records import Counts
from crawler.service.http.access import AccessToken, Role, token_hash

ADMIN = AccessToken("admin", token_hash("a" * 20), Role.ADMIN)


class Idle:
    """A crawl that does nothing until it is stopped: made-up seeds are asked for nowhere."""

    def __init__(self) -> None:
        self.tally = StatsCollector()
        self.finish_reason = ""
        self.frontier = self
        self.pending = 0
        self._end = asyncio.Event()

    async def counts(self) -> Counts:
        return Counts()

    def paces(self, most: int = 10) -> list[HostPace]:  # noqa: ARG002 - as a frontier has it
        return []

    async def run(self) -> StatsCollector:
        await self._end.wait()
        return self.tally

    def stop(self, reason: str = "interrupted") -> None:
        self.finish_reason = reason
        self._end.set()

    def abort(self) -> None:
        self.stop("aborted")


@asynccontextmanager
async def idle(*_: Any, **__: Any) -> AsyncIterator[Idle]:
    yield Idle()


@asynccontextmanager
async def idle_depot(*_: Any, **__: Any) -> AsyncIterator[Any]:
    """A download that does nothing until it is stopped."""
    book = SimpleNamespace(progress={})
    desk = SimpleNamespace(running={}, wire=0, book=book)
    yield SimpleNamespace(crawl=Idle(), desk=desk, here=[])


async def test_every_operation_is_described(tmp_path: Path) -> None:
    async with service(tmp_path, (ADMIN,), opener=idle) as opened:
        async with Client(opened.url) as client:
            found = await client.get("/openapi.json")
        operations = {
            one["operationId"] for path in found["paths"].values() for one in path.values()
        }
        assert len(operations) == sum(len(path) for path in found["paths"].values())
        assert {"createJob", "pauseJob", "streamEvents", "getMetrics", "explainUrl"} <= operations
        body = found["paths"]["/jobs"]["post"]["requestBody"]["content"]["application/json"]
        schemas = found["components"]["schemas"]
        properties = schemas["Job"]["properties"]
        assert {"files", "download", "job"} <= schemas["Download"]["properties"].keys()
        assert "exists" not in schemas["Download"]["properties"]["download"]["properties"]
        async with Client(opened.url, "a" * 20) as client:
            made = await client.post("/jobs", body["example"], expect=201)
            schema = await client.get("/schema")
        assert made["state"] == "queued"
        assert schema["properties"].keys() == properties.keys()
        assert "dir" not in properties["output"]["properties"]
        assert "plugins" not in properties.get("parse", {}).get("properties", {})
        assert properties["limits"]["properties"]["max_pages"]["description"]


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_requests_made_from_the_description(tmp_path: Path) -> None:
    if importlib.util.find_spec("schemathesis") is None:
        pytest.skip("schemathesis is not installed: make test-service")
    async with service(
        tmp_path, (ADMIN,), opener=idle, download_opener=idle_depot, running=3, queued=100_000
    ) as opened:
        run = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("schemathesis")),
            "run", f"{opened.url}/openapi.json",
            "--header", f"Authorization: Bearer {'a' * 20}", "--checks", "all",
            # A schema cannot say all that is refused: a regular expression or a cron expression
            # that is none, a host name that is none. That is a 422, and documented.
            "--exclude-checks", "positive_data_acceptance",
            "--exclude-operation-id", "streamEvents", "--exclude-operation-id", "streamJobEvents",
            "--max-examples", "25", "--no-color", "--request-timeout", "10", "--workers", "2",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path,
        )  # fmt: skip
        text, _ = await run.communicate()
        print(text.decode()[-6000:])  # noqa: T201 - what the run is for
        assert run.returncode == 0, text.decode()[-20_000:]
