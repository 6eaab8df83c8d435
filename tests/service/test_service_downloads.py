"""Downloads as jobs: what may be asked for, what becomes of it, also after kills; what is told."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from pathlib import Path
from typing import Any

import pytest
from conftest import OpenSite
from helpers.downloading import noise, ranged
from helpers.serving import Client, Process, service
from helpers.website import redirect
from hypothesis import given
from hypothesis import strategies as st
from test_download_kill import Files
from test_service_doors import TOKENS

from crawler.config.loader import fields
from crawler.service.jobs.download_job_request import (
    FILES_MAX,
    SETTABLE,
    is_settable,
    read_download_request,
)
from crawler.service.jobs.job import JobLimits
from crawler.service.jobs.job_store import JobStore
from crawler.service.jobs.request_body import InvalidBody

FAST = {"pace": {"fast": True}, "retry": {"retries": 1, "base": 0.01}}


async def fetch(client: Client, *files: Any, **body: Any) -> str:
    """A new download's id."""
    made = await client.post("/jobs", {"files": files, **FAST, **body}, expect=201)
    assert made["kind"] == "download"
    return str(made["id"])


async def test_files_arrive_and_are_listed_fetched_and_deleted(
    tmp_path: Path, website: OpenSite
) -> None:
    body = noise(300_000)
    right = hashlib.sha256(body).hexdigest()
    site = await website({
        "/a.bin": ranged(body),
        "/b.html": ranged(b"<script>alert(1)</script>", mime="text/html"),
        "/wrong.bin": ranged(b"other"),
    })  # fmt: skip
    async with service(tmp_path) as opened, Client(opened.url) as client:
        job = await fetch(
            client,
            {"url": site.at("/a.bin"), "name": "deep/ä.bin", "checksum": f"sha256:{right}"},
            site.at("/b.html"),
            {"url": site.at("/wrong.bin"), "checksum": f"sha256:{right}"},
            site.at("/gone.zip"),
            job={"name": "files"},
        )
        done = await client.until(job, "finished", "failed")
        assert (done["state"], done["name"]) == ("failed", "files")
        assert done["reason"].startswith("2 of 4 files: ")
        totals = {name: done["totals"][name] for name in ("files", "failed", "queued", "pages")}
        assert totals == {"files": 2, "failed": 2, "queued": 0, "pages": 0}
        assert done["download"] is None
        assert done["live"] is None
        rows = (await client.get(f"/jobs/{job}/downloads"))["downloads"]
        assert [row["state"] for row in rows] == ["done", "done", "failed", "failed"]
        assert rows[0]["path"] == "deep/ä.bin"
        assert (rows[0]["bytes"], rows[0]["checksum"]) == (len(body), f"sha256:{right}")
        assert (rows[3]["reason"], rows[3]["status"]) == ("status:404", 404)
        assert "sha256" in rows[2]["reason"]
        page_one = await client.get(f"/jobs/{job}/downloads", state="failed", limit=1)
        page_two = await client.get(
            f"/jobs/{job}/downloads", state="failed", limit=1, cursor=page_one["next"]
        )
        assert [one["number"] for one in (*page_one["downloads"], *page_two["downloads"])] == [3, 4]
        assert page_two["next"] is None

        listed = (await client.get(f"/jobs/{job}/files"))["files"]
        assert {one["path"]: one["bytes"] for one in listed}["deep/ä.bin"] == len(body)
        async with client.session.get(
            f"/jobs/{job}/files/deep/ä.bin", headers={"Range": "bytes=100-199"}
        ) as answer:
            assert answer.status == 206
            assert await answer.read() == body[100:200]
        async with client.session.get(f"/jobs/{job}/files/b.html") as answer:
            fields_ = answer.headers
            assert b"<script>" in await answer.read()
        assert fields_["content-type"] == "application/octet-stream"
        assert fields_["content-disposition"].startswith("attachment;")
        assert fields_["x-content-type-options"] == "nosniff"
        assert fields_["content-security-policy"].startswith("sandbox;")
        for path in (
            "wrong.bin", "wrong.bin.wrong", ".crawler-download/frontier.db", "gone.zip",
            "..%2ffiles%2fb.html", "%2e%2e/%2e%2e/jobs.db", "deep",
        ):  # fmt: skip
            assert (await client.ask("GET", f"/jobs/{job}/files/{path}"))[0] == 404, path
        assert (await client.ask("GET", f"/jobs/{job}/report"))[0] == 404
        assert (await client.get(f"/jobs/{job}/pages"))["pages"] == []
        assert [one["id"] for one in (await client.get("/jobs", kind="download"))["jobs"]] == [job]
        assert (await client.get("/jobs", kind="crawl"))["jobs"] == []
        text = await client.get("/metrics")
        assert 'crawler_files_total{status="done"} 2.0' in text
        assert 'crawler_files_total{status="failed"} 2.0' in text
        assert (await client.ask("DELETE", f"/jobs/{job}"))[0] == 204
        assert not (tmp_path / "jobs" / job).exists()


async def test_what_failed_is_retried_and_what_is_there_is_not_asked_for(
    tmp_path: Path, website: OpenSite
) -> None:
    site = await website({"/a.bin": ranged(noise(10_000))})
    async with service(tmp_path) as opened, Client(opened.url) as client:
        job = await fetch(client, site.at("/a.bin"), site.at("/c.bin"))
        assert (await client.until(job, "failed"))["totals"]["files"] == 1
        site.put("/c.bin", ranged(noise(20_000)))
        assert (await client.post(f"/jobs/{job}/retry"))["state"] == "queued"
        done = await client.until(job, "finished")
        assert (done["totals"]["files"], done["totals"]["failed"]) == (2, 0)
        assert done["totals"]["bytes_wire"] == 30_000
        assert site.hits["/a.bin"] == 1


async def test_paused_told_about_and_gone_on_with(tmp_path: Path, website: OpenSite) -> None:
    body = noise(3_000_000)
    site = await website({"/slow.bin": ranged(body, pause=0.02)})
    async with service(tmp_path) as opened, Client(opened.url) as client:
        job = await fetch(client, site.at("/slow.bin"), limits={"grace": 0})
        row: dict[str, Any] = {}
        async with asyncio.timeout(30):
            while row.get("received", 0) < 200_000:
                await asyncio.sleep(0.02)
                (row,) = (await client.get(f"/jobs/{job}/downloads"))["downloads"]
        assert (row["state"], row["path"]) == ("running", None)
        assert (await client.ask("GET", f"/jobs/{job}/files/slow.bin"))[0] == 404
        assert (await client.ask("GET", f"/jobs/{job}/files/slow.bin.part"))[0] == 404
        shown = (await client.get(f"/jobs/{job}"))["download"]
        assert shown["running"][0]["received"] >= 200_000
        assert shown["running"][0]["size"] == len(body)
        await client.post(f"/jobs/{job}/pause")
        paused = await client.until(job, "paused")
        assert paused["totals"]["bytes_wire"] > 0
        (row,) = (await client.get(f"/jobs/{job}/downloads"))["downloads"]
        assert row["state"] == "waiting"
        await client.post(f"/jobs/{job}/resume")
        done = await client.until(job, "finished", "failed")
        assert done["state"] == "finished", done
        assert done["totals"]["bytes_wire"] < len(body) + 1_000_000
        assert (tmp_path / "jobs" / job / "files" / "slow.bin").read_bytes() == body


@pytest.mark.timeout(90)
def test_killed_it_goes_on_and_fetches_nothing_good_again(tmp_path: Path) -> None:
    bodies = {f"/{n}.bin": noise(40_000, n) for n in range(20)}
    bodies["/large.bin"] = noise(6_000_000, 99)
    wanted = sum(map(len, bodies.values()))
    home = tmp_path / "service"
    job = ""

    async def start(url: str, port: int) -> str:
        files = [
            {"url": f"http://127.0.0.1:{port}{path}",
             "checksum": f"sha256:{hashlib.sha256(body).hexdigest()}"}
            for path, body in bodies.items()
        ]  # fmt: skip
        async with Client(url) as client:
            made = await client.post("/jobs", {"files": files}, expect=201)
            return str(made["id"])

    async def end(url: str) -> dict[str, Any]:
        async with Client(url) as client:
            return await client.until(job, "finished", "failed")

    with Files(bodies, rate=4_000_000).running() as web:
        for share in (0.3, 0.6):
            with Process(home) as running:
                job = job or asyncio.run(start(running.url, web.port))
                web.wait_for(int(wanted * share), running)
                running.kill()
        with Process(home) as running:
            done = asyncio.run(end(running.url))
            assert running.end() == 0
    assert (done["state"], done["totals"]["files"], done["runs"]) == ("finished", 21, 3)
    folder = home / "jobs" / job / "files"
    for path, body in bodies.items():
        assert (folder / path[1:]).read_bytes() == body
    print(f"fetched again: {web.sent - wanted} of {wanted} bytes")  # noqa: T201 - with -s
    assert web.sent < wanted * 1.6  # what was in flight, of two kills


async def test_private_addresses_are_refused_wherever_they_come_from(
    tmp_path: Path, website: OpenSite
) -> None:
    site = await website({"/r.bin": redirect("http://127.0.0.1:1/x"), "/a.bin": ranged(b"x")})
    async with service(tmp_path, private=False) as opened, Client(opened.url) as client:
        job = await fetch(
            client,
            site.at("/a.bin"),
            {"url": "https://a.invalid/b.bin", "mirrors": [site.at("/r.bin")]},
        )
        done = await client.until(job, "failed", "finished")
        rows = (await client.get(f"/jobs/{job}/downloads"))["downloads"]
        assert [row["state"] for row in rows] == ["failed", "failed"]
        assert all(row["reason"].startswith("forbidden") for row in rows), rows
        assert done["totals"]["bytes_wire"] == 0
    assert not site.log


async def test_more_bytes_than_a_job_may_have_end_it(tmp_path: Path, website: OpenSite) -> None:
    site = await website({
        "/large.bin": ranged(noise(400_000)),
        **{f"/{n}.bin": ranged(noise(90_000, n), pause=0.4) for n in range(5)},
    })  # fmt: skip
    async with service(tmp_path, max_bytes=200_000) as opened, Client(opened.url) as client:
        one = await fetch(client, site.at("/large.bin"))
        done = await client.until(one, "failed", "finished")
        assert done["reason"] == "1 of 1 files: too-large"
        many = await fetch(client, *(site.at(f"/{n}.bin") for n in range(5)))
        done = await client.until(many, "failed", "finished")
        assert done["state"] == "failed"
        assert done["reason"].startswith("size-limit: "), done
        assert done["totals"]["files"] < 5


async def test_one_key_one_download_and_readers_only_read(tmp_path: Path) -> None:
    body = {"files": ["https://example.invalid/a"], "limits": {"concurrency": 1}}
    async with service(tmp_path, TOKENS) as opened:
        async with Client(opened.url, "a" * 20) as admin:
            made = [
                await admin.ask("POST", "/jobs", body, headers={"Idempotency-Key": "k"})
                for _ in range(2)
            ]
            assert [status for status, _ in made] == [201, 200]
            job = made[0][1]["id"]
        async with Client(opened.url, "r" * 20) as reader:
            assert (await reader.ask("POST", "/jobs", body))[0] == 403
            assert len((await reader.get(f"/jobs/{job}/downloads"))["downloads"]) == 1


URL = "https://example.com/a.zip"

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"files": []}, "/files"),
    ({"files": URL}, "/files"),
    ({"files": [URL] * (FILES_MAX + 1)}, "/files"),
    ({"files": ["file:///etc/passwd"]}, "/files/0/url"),
    ({"files": [URL, "ftp://example.com/a"]}, "/files/1/url"),
    ({"files": [{"name": "x"}]}, "/files/0"),
    ({"files": [{"url": URL, "path": "/etc"}]}, "/files/0"),
    ({"files": [{"url": URL, "mirrors": ["gopher://x"]}]}, "/files/0/mirrors"),
    ({"files": [{"url": URL, "name": "../../x"}]}, "/files/0/name"),
    ({"files": [{"url": URL, "name": "/etc/passwd"}]}, "/files/0/name"),
    ({"files": [{"url": URL, "name": ".crawler-download/frontier.db"}]}, "/files/0/name"),
    ({"files": [{"url": URL, "name": "a\nb"}]}, "/files/0/name"),
    ({"files": [{"url": URL, "name": "b.part"}]}, "/files/0/name"),
    ({"files": [{"url": URL, "checksum": "sha256:12"}]}, "/files/0/checksum"),
    ({"files": [{"url": URL, "headers": {"Host": "x"}}]}, "/files/0/headers"),
    ({"files": [{"url": URL, "headers": {"range": "bytes=0-1"}}]}, "/files/0/headers"),
    ({"files": [{"url": URL, "headers": {"X": "a\r\nY: b"}}]}, "/files/0/headers"),
    ({"files": [URL], "seeds": [URL]}, "/seeds"),
    ({"files": [URL], "output": {"dir": "/tmp"}}, "/output/dir"),
    ({"files": [URL], "download": {"exists": "replace"}}, "/download/exists"),
    ({"files": [URL], "download": {"name": "{n:099999999999}"}}, "/download/name"),
    ({"files": [URL], "download": {"name": "{name.__class__:{n}}"}}, "/download/name"),
    ({"files": [URL], "download": {"name": "../{name}"}}, "/download/name"),
    ({"files": [URL], "fetch": {"proxy": "http://127.0.0.1"}}, "/fetch/proxy"),
    ({"files": [URL], "fetch": {"private": "any"}}, "/fetch/private"),
    ({"files": [URL], "limits": {"concurrency": 5000}}, ""),
    ({"files": [URL], "nonsense": 1}, ""),
]


@pytest.mark.parametrize(("body", "pointer"), REFUSED)
def test_what_a_download_may_not_say(body: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InvalidBody) as caught:
        read_download_request(body, defaults={}, limits=JobLimits())
    assert caught.value.pointer.startswith(pointer)


def test_ceilings_and_defaults() -> None:
    limits = JobLimits(pages=2, bytes=1000, disk=500)
    made = read_download_request(
        {"files": [URL], "fetch": {"timeout": "1h"}}, defaults={}, limits=limits
    )
    assert made.config.limits.size_limit == 1000
    assert made.config.download.max_filesize == 500
    assert (made.config.fetch.timeout, made.config.robots.obey) == (3600.0, False)
    with pytest.raises(InvalidBody, match="more than 2 files"):
        read_download_request({"files": [URL] * 3}, defaults={}, limits=limits)


def test_whatever_is_new_stays_closed() -> None:
    for key in fields():
        section = key.partition(".")[0]
        named = key in SETTABLE or f"{section}.*" in SETTABLE
        assert is_settable(key) == (named and key != "output.dir"), key
    assert not is_settable("parse.plugins", ("parse.plugins",))
    assert is_settable("fetch.proxy", ("fetch.proxy",))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_any_files_at_all_are_read_or_refused(files: Any) -> None:
    with contextlib.suppress(InvalidBody):  # and nothing else
        read_download_request(
            {"files": [files, {"url": URL, "name": files}]}, defaults={}, limits=JobLimits()
        )


async def test_a_register_of_the_version_before_is_taken_over(tmp_path: Path) -> None:
    import sqlite3  # noqa: PLC0415 - made as the version before made it

    async with JobStore(tmp_path) as store:
        old, _ = await store.create(name="x", owner="me", config={"seeds": [URL]})
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.db")) as db:
        db.executescript("ALTER TABLE job DROP COLUMN files; PRAGMA user_version = 1;")
    async with JobStore(tmp_path) as store:
        found = await store.get(old.id)
        assert found is not None
        assert found.kind == "crawl"
        assert await store.download_requests(old.id) == ()


async def test_a_schedule_tells_no_secret_of_its_files(tmp_path: Path) -> None:
    file = {"url": "https://me:word@example.invalid/a", "headers": {"X-Key": "word"}}
    body = {"cron": "15 3 * * *", "job": {"files": [file, "https://me:word@example.invalid/b"]}}
    async with service(tmp_path) as opened, Client(opened.url) as client:
        status, made = await client.ask("PUT", "/schedules/nightly", body)
        assert status == 200
        assert [one if isinstance(one, str) else one["url"] for one in made["job"]["files"]] == [
            "https://…@example.invalid/a",
            "https://…@example.invalid/b",
        ]
        listed = await client.get("/schedules")
        assert "word" not in str(made) + str(listed)
        job = await fetch(client, file)
        await client.until(job, "failed")
        told = [await client.get(f"/jobs/{job}{path}") for path in ("", "/downloads", "/hosts")]
        assert "word" not in str(told)
