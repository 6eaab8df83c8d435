"""The service as coordinator: jobs on a real Redis, run by worker processes that may be killed.

`make test-cluster` runs all of it, `make test` all but the slow ones.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import OpenSite
from helpers.cluster_processes import coordinator, every, there, workers
from helpers.places import ROOT, TESTS
from helpers.redis_server import RedisServer, a_server
from helpers.serving import Client, service
from helpers.website import Website, gate, missing, page

from crawler.service.settings import read

CONFIG = ROOT / "config"
ALERTS = TESTS / "alerts" / "cluster.yml"
FAST = {"pace": {"delay": 0, "per_host": 4}, "robots": {"obey": False}, "scope": {"trap": "off"}}


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with a_server() as server:
        yield server


def free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])


def tree(number: int) -> dict[str, Any]:
    """A binary tree of pages, and one link that is broken."""
    made = {
        f"/{n}": page(links=[f"/{m}" for m in (2 * n + 1, 2 * n + 2) if m < number])
        for n in range(1, number)
    }
    return {"/": page(links=["/1", "/2", "/gone"]), **made, "/gone": missing}


def urls(records: list[dict[str, Any]]) -> list[str]:
    return sorted(one["url"] for one in records)


def expected(site: Website, number: int) -> list[str]:
    return sorted([site.url, site.at("/gone"), *(site.at(f"/{n}") for n in range(1, number))])


async def told_while_one_waits(client: Client, job: str, site: Website) -> None:
    """What the service tells of the links of a job while /7 is under way, and all else is done."""
    async with asyncio.timeout(60):  # what workers said of their leases may be older
        while True:
            (host,) = (await client.get(f"/jobs/{job}/hosts"))["hosts"]
            if host["queued"] == 1:
                break
            await asyncio.sleep(0.05)
    assert host["done"] is None
    story = await client.get(f"/jobs/{job}/why", url=site.at("/7"))
    assert (story["link"]["state"], story["ahead"]) == ("queued", 0)
    assert story["path"] == [site.url, site.at("/1"), site.at("/3"), site.at("/7")]
    status, told = await client.ask("GET", f"/jobs/{job}/links?state=queued,done")
    assert (status, "queued are not stored" in str(told)) == (409, True), told


async def told_at_the_end(client: Client, job: str, site: Website) -> None:
    """… and when its queue is gone: what records tell."""
    assert urls(await every(client, job, what="links")) == expected(site, 60)
    (gone,) = (await client.get(f"/jobs/{job}/errors"))["links"]
    assert (gone["url"], gone["status"], gone["via"]) == (site.at("/gone"), 404, site.url)
    story = await client.get(f"/jobs/{job}/why", url=site.at("/6"))
    assert story["path"] == [site.url, site.at("/2"), site.at("/6")]
    assert story["link"]["state"] == "done"
    assert (await client.ask("GET", f"/jobs/{job}/why?url={site.at('/no')}"))[0] == 404
    for kind, word in (("skipped", "by reason"), ("hosts", "its queue was deleted")):
        status, told = await client.ask("GET", f"/jobs/{job}/{kind}")
        assert (status, word in str(told)) == (409, True), told


@pytest.mark.timeout(120)
async def test_a_job_is_run_by_two_workers_and_one_dies(
    tmp_path: Path, website: OpenSite, redis: RedisServer
) -> None:
    door = gate(page(links=["/15", "/16"]))
    site = await website({**tree(60), "/7": door})
    with workers(tmp_path / "shares", redis.url) as crew:
        async with coordinator(tmp_path, redis.url) as client:
            crew.start("one")
            crew.start("two")
            await there(client, idle=2)
            job = await client.start(site.url, **FAST)
            await site.wait_for("/7")
            # Whoever has the page that hangs is killed: it is the other's after the lease.
            await told_while_one_waits(client, job, site)
            found = await there(client, working=2)
            async with asyncio.timeout(60):
                while sum(one["leased"] for one in found) != 1:
                    found = await there(client, working=2)
            (holder,) = [Path(one["place"]).name for one in found if one["leased"]]
            crew.kill(holder)
            door.open()
            done = await client.until(job, "finished", "failed")
            assert (done["state"], done["reason"]) == ("finished", "finished"), done
            assert done["totals"]["pages"] == 60
            assert done["totals"]["failed"] == 1
            assert done["totals"]["bytes_wire"] > 0
            assert site.hits["/7"] == 2
            records = await every(client, job)
            assert urls(records) == expected(site, 60)
            written = await client.get(f"/jobs/{job}/files/pages.jsonl")
            lines = [json.loads(line) for line in written.splitlines()]
            assert lines == records
            broken = await client.get(f"/jobs/{job}/pages", outcome="failed", status=404)
            assert urls(broken["pages"]) == [site.at("/gone")]
            await told_at_the_end(client, job, site)
            dead: set[str] = set()  # on a slow machine a live one may be silent for a moment
            async with asyncio.timeout(30):
                while holder not in dead:
                    found = await there(client, dead=1)
                    dead = {Path(one["place"]).name for one in found if one["state"] == "dead"}
            figures = await client.get("/metrics")
            assert re.search(r'^crawler_workers{state="dead"} [1-9]', figures, re.MULTILINE)
            assert re.search(r"^crawler_workers_died_total [1-9]", figures, re.MULTILINE)
            exposed = {re.split("[{ ]", line)[0] for line in figures.splitlines()}
            alerts = (CONFIG / "alerts-cluster.yml").read_text("utf-8")
            assert set(re.findall(r"\bcrawler_[a-z_]+", alerts)) <= exposed
            (left,) = crew.alive
            assert crew.end(left) == 0, crew.log(left)
            assert redis.say("HLEN", "crawler:jobs") == b":0\r\n"  # a finished job leaves no keys
            status, _ = await client.ask("DELETE", f"/jobs/{job}")
            assert status == 204
            assert not list((tmp_path / "shares").glob(f"*/{job}"))


@pytest.mark.timeout(120)
async def test_verbs_and_a_service_that_restarts_reach_the_workers(
    tmp_path: Path, website: OpenSite, redis: RedisServer
) -> None:
    door, second = gate(page(links=["/b"])), gate(page())
    site = await website({"/": page(links=["/a"]), "/a": door, "/b": second})
    with workers(tmp_path / "shares", redis.url) as crew:
        async with coordinator(tmp_path, redis.url) as client:
            job = await client.start(site.url, **FAST)
            port = free_port()
            crew.start("one", "--metrics", str(port))
            await site.wait_for("/a")
            async with Client(f"http://127.0.0.1:{port}") as worker:
                figures = await worker.get("/metrics")
                assert "crawler_jobs_in_hand 1.0" in figures
                assert "crawler_redis_up 1.0" in figures
                assert "crawler_pages_total 1.0" in figures
                assert (await worker.get("/healthz"))["status"] == "ok"
            assert (await client.post(f"/jobs/{job}/pause"))["state"] == "pausing"
            door.open()
            paused = await client.until(job, "paused")
            assert paused["totals"]["pages"] == 2
            assert paused["totals"]["queued"] == 1
            assert site.hits["/b"] == 0
        # The service is away, and comes back: what was paused is, what is resumed goes on.
        async with coordinator(tmp_path, redis.url) as client:
            assert (await client.get(f"/jobs/{job}"))["state"] == "paused"
            await client.post(f"/jobs/{job}/resume")
            await site.wait_for("/b")
            # What is cancelled is let go, and can be tried again.
            await client.post(f"/jobs/{job}/cancel")
            await client.until(job, "cancelled")
            await there(client, idle=1)
            await client.post(f"/jobs/{job}/retry")
            await site.wait_for("/b", 2)
        # Stopped again: the worker goes on alone, and the next service finds what it did.
        second.open()
        async with coordinator(tmp_path, redis.url) as client:
            done = await client.until(job, "finished")
            assert (done["totals"]["pages"], done["runs"]) == (3, 4)
            assert urls(await every(client, job)) == sorted(
                [site.url, site.at("/a"), site.at("/b")]
            )


async def test_what_many_machines_cannot_do_is_said(tmp_path: Path, redis: RedisServer) -> None:
    async with coordinator(tmp_path, redis.url) as client:
        for body, words in (
            ({"fetch": {"headers": {"Authorization": "Basic eA=="}}}, "through Redis"),
            ({"pace": {"group": "ip"}}, "one machine"),
            ({"output": {"skipped": True}}, "one machine"),
            ({"output": {"jsonl": False}}, "merged from"),
        ):
            job = await client.start("http://127.0.0.1:1/", **body)
            failed = await client.until(job, "failed", "finished")
            assert failed["reason"].startswith("configuration: "), failed
            assert words in failed["reason"]
        status, answer = await client.ask(
            "POST", "/jobs", {"seeds": ["http://127.0.0.1:1/"], "frontier": {"job": "other"}}
        )
        assert (status, "not open" in str(answer) or "frontier" in str(answer)) == (422, True)


async def test_a_redis_that_is_away_is_said_and_the_service_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crawler.service.cluster.cluster.REDIS_PATIENCE_S", 0.1)
    async with coordinator(tmp_path, f"unix://{tmp_path}/nobody") as client:
        async with asyncio.timeout(30):
            while True:
                found = await client.get("/workers")
                if "nobody" in found["trouble"]:
                    break
                await asyncio.sleep(0.05)
        assert found["shared"]
        assert "crawler_redis_up 0.0" in await client.get("/metrics")


def test_prometheus_reads_the_alerts_and_they_fire() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool on this machine: Debian's package prometheus has it")
    rules = [str(CONFIG / name) for name in ("alerts.yml", "alerts-cluster.yml")]
    for words in (["check", "rules", *rules], ["test", "rules", str(ALERTS)]):
        done = subprocess.run([promtool, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_guides_commands_are_understood() -> None:
    from crawler.cli.main import crawler  # noqa: PLC0415 - all commands

    text = (CONFIG.parent / "docs" / "guide" / "cluster.md").read_text("utf-8")
    lines = re.findall(r"^\$ crawler (.*?)(?: #.*)?$", text, re.MULTILINE)
    assert len(lines) == 4
    for line in lines:
        words = shlex.split(line)
        with crawler.make_context("crawler", words) as outer:
            name, command, rest = crawler.resolve_command(outer, words)
            assert command is not None
            command.make_context(name, rest, parent=outer).close()


def test_the_service_is_told_of_redis_by_file_variable_or_flag() -> None:
    for environ, flags in (
        ({"CRAWLER_SERVICE_FRONTIER": "redis://a/0"}, {}),
        ({}, {"frontier": "redis://a/0"}),
    ):
        config, tree = read("[frontier]\nlease = 5.0\n", "x", environ, flags)
        assert (config.frontier, tree["frontier"]) == (
            "redis://a/0", {"url": "redis://a/0", "lease": 5.0},
        )  # fmt: skip
    assert read("", "x", {"CRAWLER_SERVICE_FRONTIER": ""}, {})[1] == {}


@pytest.mark.slow
@pytest.mark.timeout(90)
async def test_who_waits_for_redis_still_ends_when_told(
    tmp_path: Path, website: OpenSite, redis: RedisServer
) -> None:
    site = await website({"/": gate(page())})
    with workers(tmp_path / "shares", redis.url) as crew:
        async with coordinator(tmp_path, redis.url, grace=1.0) as client:
            crew.start("one")
            job = await client.start(site.url, **FAST)
            await site.wait_for("/")
            redis.kill()
            async with asyncio.timeout(30):
                while True:
                    if (await client.get("/workers"))["trouble"]:
                        break
                    await asyncio.sleep(0.05)
            assert (await client.get(f"/jobs/{job}"))["state"] == "running"
        ended = await asyncio.to_thread(crew.end, "one")
        assert ended == 0, crew.log("one")
        assert "Traceback" not in crew.log("one")
    # A service that waits for it while it opens the job: the second signal ends that, too.
    defaults = {"frontier": {"url": redis.url}}
    async with service(tmp_path, defaults=defaults) as opened, Client(opened.url) as client:
        await client.until(job, "running")
        opened.stop()
    async with service(tmp_path, defaults=defaults) as opened:
        async with Client(opened.url) as client:
            assert (await client.get(f"/jobs/{job}"))["state"] in {"queued", "running"}
        opened.stop()
