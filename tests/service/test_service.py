"""Jobs over HTTP, in a real server with real crawls: what the service is for."""

from __future__ import annotations

import asyncio
from pathlib import Path

from conftest import OpenSite
from helpers.crawling import by_path
from helpers.serving import Client, service
from helpers.website import gate, missing, page

FAST = {"pace": {"fast": True}}


async def test_a_job_runs_to_its_end_and_tells_what_it_found(
    tmp_path: Path, website: OpenSite
) -> None:
    site = await website({"/": page(links=["/a", "/b", "/gone"]), "/a": page(), "/b": page()})
    async with service(tmp_path) as opened, Client(opened.url) as client:
        job = await client.start(site.url, **FAST, job={"name": "first"})
        done = await client.until(job, "finished")
        assert done["name"] == "first"
        assert done["totals"]["pages"] == 3
        assert done["runs"] == 1
        pages = await client.get(f"/jobs/{job}/pages", outcome="done")
        assert {one["url"] for one in pages["pages"]} == {site.url, site.at("/a"), site.at("/b")}
        (broken,) = (await client.get(f"/jobs/{job}/errors"))["links"]
        assert (broken["url"], broken["via"], broken["status"]) == (site.at("/gone"), site.url, 404)
        story = await client.get(f"/jobs/{job}/why", url=site.at("/gone"))
        assert story["path"] == [site.url, site.at("/gone")]
        assert (await client.get("/jobs"))["jobs"][0]["id"] == job


async def test_pause_resume_and_cancel(tmp_path: Path, website: OpenSite) -> None:
    door = gate(page(links=["/c"]))
    site = await website({"/": page(links=["/a"]), "/a": door, "/c": page()})
    async with service(tmp_path) as opened, Client(opened.url) as client:
        job = await client.start(site.url, **FAST)
        await site.wait_for("/a")
        assert (await client.post(f"/jobs/{job}/pause"))["state"] == "pausing"
        door.open()
        paused = await client.until(job, "paused")
        assert paused["live"] is None
        await client.post(f"/jobs/{job}/resume")
        done = await client.until(job, "finished")
        assert done["runs"] == 2
        assert set(by_path(tmp_path / "jobs" / job)) == {"/", "/a", "/c"}


_ = (asyncio, missing)
