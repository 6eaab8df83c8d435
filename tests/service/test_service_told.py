"""What the service tells: webhooks, event streams, metrics, logs; and jobs made by the clock."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from conftest import OpenSite
from helpers.places import ROOT
from helpers.serving import Client, service
from helpers.website import missing, page
from prometheus_client.parser import text_string_to_metric_families
from test_service_openapi import idle

from crawler.service.jobs import webhooks
from crawler.service.jobs.cron import next_time
from crawler.service.jobs.request_body import InvalidBody
from crawler.service.jobs.store_tables import Delivery
from crawler.service.monitoring.logs import JOB, JsonLogFormatter, TextLogFormatter

CONFIG = ROOT / "config"

SECRET = "whsec_" + base64.b64encode(b"thirty-two bytes of a good secret").decode()


class Receiver:
    """A webhook's other end: refuses the first `refuse` messages, keeps the others."""

    def __init__(self, refuse: int = 0, location: str = "") -> None:
        self.refuse = refuse
        self.location = location
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.tries = 0
        self.bell = asyncio.Event()
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.tries += 1
        body = await request.read()
        if self.location:
            return web.Response(status=307, headers={"Location": self.location})
        if self.tries <= self.refuse:
            return web.Response(status=503)
        self.got.append(({name.lower(): value for name, value in request.headers.items()}, body))
        self.bell.set()
        return web.Response()

    async def wait_for(self, number: int) -> None:
        async with asyncio.timeout(20):
            while len(self.got) < number:
                self.bell.clear()
                await self.bell.wait()


@asynccontextmanager
async def receiver(**values: Any) -> AsyncIterator[Receiver]:
    made = Receiver(**values)
    app = web.Application()
    app.router.add_post("/hook", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    place = web.TCPSite(runner, "127.0.0.1", 0)
    await place.start()
    port = runner.addresses[0][1]
    made.url = f"http://127.0.0.1:{port}/hook"
    yield made
    await runner.cleanup()


async def test_webhooks_are_signed_retried_and_in_the_end_all_there(
    tmp_path: Path, website: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "RETRY_DELAY_MIN_S", 0.05)
    site = await website({"/": page()})
    async with (
        receiver(refuse=2) as there,
        service(tmp_path) as opened,
        Client(opened.url) as client,
    ):
        hook = {"url": there.url, "secret": SECRET}
        job = await client.start(site.url, pace={"fast": True}, job={"webhooks": [hook]})
        await client.until(job, "finished")
        await there.wait_for(3)
    types = sorted(json.loads(body)["type"] for _, body in there.got)
    assert types == ["job.finished", "job.queued", "job.running"]
    assert there.tries == 5
    for headers, body in there.got:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body.decode()}".encode()
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{mac}"
        assert json.loads(body)["job"]["id"] == job
    assert len({headers["webhook-id"] for headers, _ in there.got}) == 3


async def test_webhooks_survive_a_restart(tmp_path: Path) -> None:
    """What could not be delivered before the end is delivered after the next start."""
    async with service(tmp_path, opener=idle) as opened, Client(opened.url) as client:
        hook = {"url": "http://127.0.0.1:1/hook", "events": ["queued"]}  # a port nobody goes to
        await client.start("https://example.com/", job={"webhooks": [hook]})
        rows = await opened.supervisor.store.events.deliveries()
        assert len(rows) == 1
        await opened.supervisor.store.database.execute("UPDATE delivery SET attempt = 0, due = 0")
    async with receiver() as there, service(tmp_path, opener=idle) as opened:
        store = opened.supervisor.store
        await store.database.execute("UPDATE delivery SET url = ?, due = 0", there.url)
        store.notify()
        await there.wait_for(1)


async def test_webhooks_go_to_no_private_address_and_follow_nobody(tmp_path: Path) -> None:
    async with receiver() as inside, receiver(location=inside.url) as outside:
        async with (
            service(tmp_path, opener=idle, private=False) as opened,
            Client(opened.url) as client,
        ):
            hook = {"url": inside.url}
            job = await client.start("https://example.com/", job={"webhooks": [hook]})
            await client.until(job, "running")
            store = opened.supervisor.store
            async with asyncio.timeout(10):
                while not all(one.attempt for one in await store.events.deliveries()):  # noqa: ASYNC110 - a failed try rings no bell
                    await asyncio.sleep(0.02)
        assert inside.tries == 0
        async with service(tmp_path / "b", opener=idle) as opened, Client(opened.url) as client:
            await client.start("https://example.com/", job={"webhooks": [{"url": outside.url}]})
            async with asyncio.timeout(10):
                while not outside.tries:  # noqa: ASYNC110 - a refused try rings no bell
                    await asyncio.sleep(0.02)
        assert inside.tries == 0


def test_a_message_without_a_secret_is_not_signed() -> None:
    message = Delivery(1, 2, "job", "https://e.com/", None, "{}", 0, 0.0)
    assert "webhook-signature" not in webhooks.signature(message, 1)
    assert webhooks.signing_key("whsec_not base64") == b"whsec_not base64"


async def test_a_stream_goes_on_where_it_was_left(tmp_path: Path) -> None:
    async with service(tmp_path, opener=idle) as opened, Client(opened.url) as client:
        job = await client.start("https://example.com/")
        await client.until(job, "running")
        events = await read_events(client, f"/jobs/{job}/events", "0", 2)
        assert [one["state"] for one in events] == ["queued", "running"]
        await client.post(f"/jobs/{job}/cancel")
        last = str(events[-1]["id"])
        more = await read_events(client, f"/jobs/{job}/events", last, 2)
        assert [one["state"] for one in more] == ["cancelling", "cancelled"]
        assert (await client.ask("GET", "/events", headers={"last-event-id": "x"}))[0] == 422
    async with service(tmp_path, opener=idle) as opened, Client(opened.url) as client:
        again = await read_events(client, "/events", last, 2)
        assert again == more, "also after a restart"


async def read_events(client: Client, path: str, last: str, number: int) -> list[dict[str, Any]]:
    found = []
    async with (
        asyncio.timeout(10),
        client.session.get(path, headers={"last-event-id": last}) as stream,
    ):
        event = ""
        async for line in stream.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                event = value
            elif name == "data" and event == "state":
                found.append(json.loads(value))
                if len(found) == number:
                    break
    return found


async def test_metrics_are_well_formed_bounded_and_never_go_back(
    tmp_path: Path, website: OpenSite
) -> None:
    site = await website({"/": page(links=["/a", "/gone"]), "/a": page(), "/gone": missing})
    async with service(tmp_path) as opened, Client(opened.url) as client:
        before = await client.get("/metrics")
        assert "crawler_build_info" in before
        for _ in range(2):
            job = await client.start(site.url, pace={"fast": True})
            await client.until(job, "finished")
        text = await client.get("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert value(families, "crawler_pages", "crawler_pages_total") == 4
    assert value(families, "crawler_jobs", "crawler_jobs", state="finished") == 2
    assert (
        value(
            families, "crawler_responses", "crawler_responses_total", status_class="4xx", code="404"
        )
        == 2
    )
    buckets = [
        one.value
        for one in families["crawler_request_duration_seconds"].samples
        if one.name.endswith("_bucket") and one.labels["phase"] == "total"
    ]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 6
    assert site.origins[0] not in text
    assert len(text.splitlines()) < 300
    exposed = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line[0] != "#"}
    exposed |= {"crawler_fetch_errors_total", "crawler_skipped_total"}  # appear with their first
    for name in ("alerts.yml", "grafana/crawler.json"):
        asked = set(re.findall(r"\bcrawler_[a-z_]+", (CONFIG / name).read_text("utf-8")))
        assert asked - exposed == set(), f"{name} asks for what there is not"


def value(families: dict[str, Any], family: str, name: str, **labels: str) -> float:
    return next(
        float(one.value)
        for one in families[family].samples
        if one.name == name and labels.items() <= one.labels.items()
    )


async def test_the_same_key_makes_one_job(tmp_path: Path) -> None:
    async with service(tmp_path, opener=idle) as opened, Client(opened.url) as client:
        body = {"seeds": ["https://example.com/"]}
        headers = {"Idempotency-Key": "a-1"}
        first = await client.ask("POST", "/jobs", body, headers=headers)
        second = await client.ask("POST", "/jobs", body, headers=headers)
        assert (first[0], second[0]) == (201, 200)
        assert first[1]["id"] == second[1]["id"]


async def test_a_job_fails_is_retried_and_deleted(tmp_path: Path, website: OpenSite) -> None:
    site = await website({"/": missing})
    async with service(tmp_path) as opened, Client(opened.url) as client:
        job = await client.start(site.url, pace={"fast": True})
        failed = await client.until(job, "failed")
        assert failed["reason"] == "no page: status"
        assert (await client.ask("POST", f"/jobs/{job}/pause"))[0] == 409
        again = await client.post(f"/jobs/{job}/retry")
        assert again["state"] == "queued"
        async with asyncio.timeout(20):
            while (await client.get(f"/jobs/{job}"))["state"] != "failed":  # noqa: ASYNC110 - it has failed before: no new event
                await asyncio.sleep(0.05)
        assert (await client.ask("DELETE", f"/jobs/{job}"))[0] == 204
        assert (await client.ask("GET", f"/jobs/{job}"))[0] == 404
        assert not (tmp_path / "jobs" / job).exists()
        assert not list((tmp_path / "trash").iterdir())


async def test_a_schedule_makes_one_job_for_what_it_missed(tmp_path: Path) -> None:
    body = {
        "cron": "*/5 * * * *",
        "job": {"seeds": ["https://example.com/"], "job": {"name": "again"}},
    }
    async with service(tmp_path, opener=idle) as opened, Client(opened.url) as client:
        assert (await client.ask("PUT", "/schedules/nightly", body))[0] == 200
        assert (await client.ask("PUT", "/schedules/bad", {**body, "cron": "61 * * * *"}))[0] == 422
        assert (await client.ask("PUT", "/schedules/bad", {**body, "zone": "Mars/Base"}))[0] == 422
        assert (await client.ask("PUT", "/schedules/bad", {**body, "job": {"seeds": []}}))[0] == 422
        # As if the service had been down for days.
        await opened.supervisor.store.database.execute("UPDATE schedule SET next_at = 1000")
    async with service(tmp_path, opener=idle) as opened, Client(opened.url) as client:
        async with asyncio.timeout(10):
            while not (jobs := (await client.get("/jobs"))["jobs"]):  # noqa: ASYNC110 - it may have been made already
                await asyncio.sleep(0.02)
        assert [(one["name"], one["schedule"]) for one in jobs] == [("again", "nightly")]
        (schedule,) = (await client.get("/schedules"))["schedules"]
        assert schedule["last_job"] == jobs[0]["id"]
        assert schedule["next_at"] > datetime.now(UTC).isoformat()
        assert (await client.ask("DELETE", "/schedules/nightly"))[0] == 204
        assert len((await client.get("/jobs"))["jobs"]) == 1


def test_cron_is_read_in_its_zone() -> None:
    noon = datetime(2026, 7, 1, 12, tzinfo=UTC).timestamp()
    assert next_time("0 15 * * *", "Europe/Berlin", noon) == noon + 3600
    for cron in ("", "* * *", "0 0 31 2 *", "x" * 500):
        with pytest.raises(InvalidBody):
            next_time(cron, "UTC", noon)


def test_log_lines_name_their_job() -> None:
    record = logging.LogRecord("crawler", logging.INFO, "", 0, "went to %s", ("x\x1b[31m",), None)
    token = JOB.set("0123456789ab")
    try:
        line = json.loads(JsonLogFormatter().format(record))
        assert (line["job"], line["message"], line["level"]) == (
            "0123456789ab",
            "went to x\x1b[31m",
            "info",
        )
        assert "\x1b" not in TextLogFormatter().format(record)
        assert "[0123456789ab]" in TextLogFormatter().format(record)
    finally:
        JOB.reset(token)


async def test_requests_and_jobs_are_traced(tmp_path: Path, website: OpenSite) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - the extra
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import (  # noqa: PLC0415
        InMemorySpanExporter,
    )

    from crawler.service.monitoring.tracing import Tracing  # noqa: PLC0415 - beside its use

    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    site = await website({"/": page()})
    async with (
        service(tmp_path, tracing=Tracing(provider.get_tracer("test"))) as opened,
        Client(opened.url) as client,
    ):
        job = await client.start(site.url, pace={"fast": True})
        await client.until(job, "finished")
    names = {one.name: dict(one.attributes or {}) for one in spans.get_finished_spans()}
    assert {"createJob", "getJob", "job"} <= names.keys()
    assert names["job"]["crawler.job.id"] == job
