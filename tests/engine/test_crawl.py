"""The whole crawl against real servers on loopback."""

from __future__ import annotations

import asyncio
import os
import tomllib
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from helpers.crawling import by_path, crawl, outcomes, records, settings
from helpers.website import (
    Website,
    busy,
    endless,
    gate,
    gzip_bomb,
    hangup,
    packed,
    page,
    raw,
    redirect,
    reply,
    sequence,
    text,
    truncated,
)

from crawler.bootstrap.crawl_setup import open_crawl
from crawler.engine.committer import Committer
from crawler.errors import ConfigError, FatalError, FolderLocked, SinkError
from crawler.records import CrawlResult, Outcome

Open = Callable[..., Awaitable[Website]]


async def test_a_site_is_crawled_whole_each_page_once(website: Open, tmp_path: Path) -> None:
    site = await website(
        {
            "/": page(links=["/a", "/b", "/a#part", "/missing", "mailto:x@y.z"]),
            "/a": page(links=["/", "/b", "/c?x=1&utm_source=mail", "/C"]),
            "/b": page(links=["/moved", "/c?x=1"]),
            "/moved": redirect("/a"),
            "/c?x=1": page(),
            "/C": page(),
        }
    )
    running = await crawl(settings(site.url), tmp_path)
    assert outcomes(tmp_path) == {
        "/": "done",
        "/a": "done",
        "/b": "done",
        "/c?x=1": "done",
        "/C": "done",
        "/moved": "moved",
        "/missing": "failed",
    }
    assert running.finish_reason == "finished"
    assert all(times == 1 for times in site.hits.values()), site.hits
    counts = tomllib.loads((tmp_path / "crawl.toml").read_text("utf-8"))
    assert counts["seeds"] == [site.url]


async def test_a_record_says_what_came(website: Open, tmp_path: Path) -> None:
    site = await website(
        {
            "/": page(links=["/z"], title="Home  of\n things"),
            "/z": packed(b"<title>z</title>" + b"<p>word " * 3000),
        }
    )
    await crawl(settings(site.url), tmp_path)
    found = by_path(tmp_path)
    home, packed_page = found["/"], found["/z"]
    assert home["title"] == "Home of things"
    assert (home["status"], home["depth"], home["via"], home["attempts"]) == (200, 0, None, 1)
    assert packed_page["via"] == site.url
    assert packed_page["depth"] == 1
    assert packed_page["bytes_wire"] < packed_page["bytes_body"]
    assert packed_page["digest"].startswith("sha256:")
    assert packed_page["mime"] == "text/html"
    assert packed_page["ip"] == "127.0.0.1"
    assert packed_page["fetch_ms"] >= packed_page["ttfb_ms"] > 0


async def test_robots_is_asked_first_and_obeyed(website: Open, tmp_path: Path) -> None:
    site = await website(
        {
            "/robots.txt": text("User-agent: *\nDisallow: /private\nAllow: /private/open\n"),
            "/": page(links=["/private/x", "/private/open/y", "/z"]),
            "/private/open/y": page(),
            "/z": page(),
        }
    )
    await crawl(settings(site.url), tmp_path)
    assert site.log[0].path == "/robots.txt"
    assert site.hits["/robots.txt"] == 1
    assert site.hits["/private/x"] == 0
    assert outcomes(tmp_path)["/private/x"] == "refused"
    assert by_path(tmp_path)["/private/x"]["reason"] == "robotsTxt"
    assert outcomes(tmp_path)["/private/open/y"] == "done"


async def test_robots_that_cannot_answer_forbids_everything(website: Open, tmp_path: Path) -> None:
    site = await website({"/robots.txt": busy(times=99), "/": page()})
    await crawl(settings(site.url, retries=1), tmp_path)
    assert site.hits["/"] == 0
    assert by_path(tmp_path)["/"]["reason"] == "robotsUnreachable:status:503"


async def test_a_busy_page_is_tried_again(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page(links=["/busy"]), "/busy": busy(times=2)})
    await crawl(settings(site.url), tmp_path)
    assert by_path(tmp_path)["/busy"]["attempts"] == 3
    assert outcomes(tmp_path)["/busy"] == "done"


async def test_a_page_that_stays_busy_fails_with_its_reason(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page(links=["/busy"]), "/busy": busy(times=99)})
    await crawl(settings(site.url, retries=2), tmp_path)
    record = by_path(tmp_path)["/busy"]
    assert (record["outcome"], record["reason"], record["attempts"]) == ("failed", "status:503", 3)


async def test_what_goes_wrong_on_the_wire_is_a_record_and_costs_nobody_else(
    website: Open, tmp_path: Path
) -> None:
    bad = {
        "/hangup": hangup(),
        "/truncated": truncated(),
        "/garbage": raw(b"this is not HTTP\r\n\r\n"),
        "/endless": endless(),
        "/bomb": gzip_bomb(),
    }
    good = {f"/good{number}": page() for number in range(30)}
    site = await website({"/": page(links=[*bad, *good]), **bad, **good})
    config = settings(site.url, retries=1, max_body=2_000_000)
    await crawl(config, tmp_path)
    found = by_path(tmp_path)
    assert {found[path]["outcome"] for path in good} == {"done"}
    assert {path: str(found[path]["reason"]).partition(":")[0] for path in bad} == {
        "/hangup": "connection",
        "/truncated": "truncated",
        "/garbage": "garbled",
        "/endless": "too-large",
        "/bomb": "parse",
    }
    assert not list((tmp_path / "spool").iterdir())


async def test_redirects_are_bounded_and_stay_in_scope(website: Open, tmp_path: Path) -> None:
    chain = {f"/hop{n}": redirect(f"/hop{n + 1}") for n in range(20)}
    site = await website(
        {
            "/": page(links=["/hop0", "/loop", "/away"]),
            "/loop": redirect("/loop"),
            "/away": redirect("http://127.0.0.9:1/"),
            **chain,
        }
    )
    await crawl(settings(site.url, max_redirects=5), tmp_path)
    found = by_path(tmp_path)
    assert found["/hop5"]["reason"] == "redirect:too many"
    assert "/hop6" not in found
    assert (found["/loop"]["outcome"], found["/loop"]["reason"]) == ("failed", "redirect:loop")
    assert site.hits["/loop"] == 1
    assert found["/away"]["reason"] == "redirectToExcluded:outOfScope"


async def test_max_pages_is_exact_with_64_workers(website: Open, tmp_path: Path) -> None:
    leaves = {f"/{n}": page() for n in range(100)}
    site = await website({"/": page(links=list(leaves)), **leaves})
    running = await crawl(settings(site.url, max_pages=15, concurrency=64, workers=64), tmp_path)
    assert len(records(tmp_path)) == 15
    assert sum(site.hits.values()) - site.hits["/robots.txt"] == 15
    assert running.finish_reason == "max-pages"
    config = settings(site.url, max_pages=40)
    await crawl(config, tmp_path, "resume")
    assert len(records(tmp_path)) == 40
    assert sum(site.hits.values()) - site.hits["/robots.txt"] == 40


async def test_max_depth_takes_the_shortest_way_whatever_comes_first(
    website: Open, tmp_path: Path
) -> None:
    late = gate(page(links=["/x"]))
    site = await website(
        {
            "/": page(links=["/fast", "/late"]),
            "/fast": page(links=["/detour"]),
            "/detour": page(links=["/x"]),
            "/late": late,
            "/x": page(links=["/y"]),
            "/y": page(links=["/z"]),
            "/z": page(),
        }
    )
    task = asyncio.create_task(crawl(settings(site.url, max_depth=3), tmp_path))
    await site.wait_for("/fast")
    late.open()
    await task
    depths = {path: record["depth"] for path, record in by_path(tmp_path).items()}
    assert depths == {"/": 0, "/fast": 1, "/late": 1, "/detour": 2, "/x": 2, "/y": 3}


async def test_size_limit_is_never_exceeded(website: Open, tmp_path: Path) -> None:
    leaves = {f"/{n}": text("x" * 1000) for n in range(50)}
    site = await website({"/": page(links=list(leaves)), **leaves})
    running = await crawl(settings(site.url, size_limit=20_000), tmp_path)
    total = sum(record["bytes_wire"] for record in records(tmp_path))
    assert running.finish_reason == "size-limit"
    assert 15_000 < total <= 20_000
    await crawl(settings(site.url), tmp_path, "resume")
    assert len(records(tmp_path)) == 51


async def test_time_limit_ends_what_hangs(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page(links=["/never", "/x"]), "/never": gate(), "/x": page()})
    running = await crawl(settings(site.url, time_limit=1.5), tmp_path)
    assert running.finish_reason == "time-limit"
    assert set(outcomes(tmp_path)) == {"/", "/x"}


async def test_stop_finishes_what_is_in_hand(website: Open, tmp_path: Path) -> None:
    late = gate(page(links=["/more"]))
    site = await website({"/": page(links=["/late"]), "/late": late, "/more": page()})
    config = settings(site.url)
    async with asyncio.timeout(20), open_crawl(config, dir=tmp_path) as running:
        task = asyncio.create_task(running.run())
        await site.wait_for("/late")
        running.stop()
        late.open()
        await task
    assert running.finish_reason == "interrupted"
    assert set(outcomes(tmp_path)) == {"/", "/late"}
    await crawl(config, tmp_path, "resume")
    assert set(outcomes(tmp_path)) == {"/", "/late", "/more"}
    assert site.hits["/late"] == 1


async def test_abort_leaves_what_is_in_hand_for_the_next_time(
    website: Open, tmp_path: Path
) -> None:
    late = gate(page(links=["/more"]))
    site = await website({"/": page(links=["/late"]), "/late": late, "/more": page()})
    config = settings(site.url)
    async with asyncio.timeout(20), open_crawl(config, dir=tmp_path) as running:
        task = asyncio.create_task(running.run())
        await site.wait_for("/late")
        running.abort()
        await task
    assert running.finish_reason == "aborted"
    assert set(outcomes(tmp_path)) == {"/"}
    late.open()
    await crawl(config, tmp_path, "resume")
    assert set(outcomes(tmp_path)) == {"/", "/late", "/more"}


async def test_a_folder_that_holds_a_crawl_is_not_touched_unasked(
    website: Open, tmp_path: Path
) -> None:
    site = await website({"/": page(links=["/a"]), "/a": page()})
    config = settings(site.url)
    await crawl(config, tmp_path)
    with pytest.raises(FolderLocked, match="crawler resume"):
        await crawl(config, tmp_path)
    await crawl(config, tmp_path, "resume")
    assert len(records(tmp_path)) == 2, "nothing was left to do"
    await crawl(config, tmp_path, "fresh")
    assert len(records(tmp_path)) == 2
    assert site.hits["/a"] == 2


async def test_one_folder_one_crawl_at_a_time(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page()})
    config = settings(site.url)
    async with open_crawl(config, dir=tmp_path):
        with pytest.raises(FolderLocked, match="another process"):
            async with open_crawl(config, dir=tmp_path, mode="resume"):
                pass


async def test_several_crawls_share_one_loop(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page(links=["/a"]), "/a": page()}, {"/": page()})
    first, second = site.url, site.at("/", 1)
    async with asyncio.TaskGroup() as group:
        group.create_task(crawl(settings(first), tmp_path / "one"))
        group.create_task(crawl(settings(second), tmp_path / "two"))
    assert len(records(tmp_path / "one")) == 2
    assert len(records(tmp_path / "two")) == 1


async def test_per_host_width_and_delay_are_kept(website: Open, tmp_path: Path) -> None:
    leaves = {f"/{n}": page() for n in range(6)}
    site = await website({"/": page(links=list(leaves)), **leaves})
    await crawl(settings(site.url, fast=False, per_host=1, delay=0.05), tmp_path)
    moments = sorted(asked.time for asked in site.log)
    assert all(b - a >= 0.05 for a, b in pairwise(moments))
    assert site.peak == 1


async def test_a_slow_host_holds_back_no_other(website: Open, tmp_path: Path) -> None:
    never = gate()
    many = {f"/{n}": page() for n in range(40)}
    site = await website(
        {
            "/": page(links=[f"/slow{n}" for n in range(20)]),
            **{f"/slow{n}": never for n in range(20)},
        },
        {"/": page(links=list(many)), **many},
    )
    config = settings(
        site.url, site.at("/", 1), fast=False, per_host=1, delay=0, concurrency=4, workers=4
    )
    async with asyncio.timeout(20), open_crawl(config, dir=tmp_path) as running:
        task = asyncio.create_task(running.run())
        await site.wait_for("/39")
        running.abort()
        await task
    assert site.hits["/slow1"] == 0


async def test_a_full_disk_is_an_error_and_loses_nothing(website: Open, tmp_path: Path) -> None:
    leaves = {f"/{n}": page() for n in range(50)}
    site = await website({"/": page(links=list(leaves)), **leaves})
    config = settings(site.url)

    class FullAfter:
        """A sink whose disk is full after some records."""

        name = "full"

        async def append(self, visits: Sequence[CrawlResult]) -> int:
            if any(visit.link.depth for visit in visits):
                raise SinkError("full: No space left on device")
            return 0

        async def cut(self, mark: int) -> None: ...

    with pytest.raises(SinkError, match="No space left"):
        async with open_crawl(config, dir=tmp_path, sinks=[FullAfter()]) as running:
            await running.run()
    await crawl(config, tmp_path, "resume")
    assert len(by_path(tmp_path)) == 51


async def test_a_bug_in_a_worker_ends_the_crawl_loudly(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page()})
    async with open_crawl(settings(site.url), dir=tmp_path) as running:
        running.tally.count = lambda _visit: 1 / 0  # type: ignore[assignment,method-assign]
        with pytest.raises(ZeroDivisionError):
            await running.run()


@pytest.mark.parametrize("url", ["ftp://a.test/", "not a url", "http://", "javascript:1"])
async def test_a_seed_that_is_no_web_address_is_named(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="seed"):
        await crawl(settings(url), tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
async def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(FatalError, match="ermission"):
        await crawl(settings("http://127.0.0.1:1/"), tmp_path / "x")


async def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("")
    with pytest.raises(FatalError, match="x: "):
        await crawl(settings("http://127.0.0.1:1/"), path)


async def test_a_private_address_behind_a_link_is_not_connected_to(
    website: Open, tmp_path: Path
) -> None:
    site = await website({"/": page(links=["{1}/secret"])}, {"/secret": page()})
    await crawl(settings(site.url, scope="any", obey=False), tmp_path)
    assert site.hits["/secret"] == 0
    found = by_path(tmp_path)
    assert found["/secret"]["reason"] == "forbidden:address 127.0.0.2 is loopback"


async def test_bodies_are_saved_on_request(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page(links=["/a"]), "/a": packed(b"<p>hello")})
    await crawl(settings(site.url, save="html"), tmp_path)
    saved = [path.read_bytes() for path in (tmp_path / "html").rglob("*.html")]
    assert b"<p>hello" in saved
    assert len(saved) == 2


@pytest.mark.parametrize("save", ["html", "all"])
async def test_large_bodies_are_saved_by_way_of_the_spool(
    save: str, website: Open, tmp_path: Path
) -> None:
    """Whole, also where the sink does not want them: none is left behind."""
    large, data = b"<p>large" + b"x" * 700_000, b"\0\1" * 400_000
    site = await website(
        {"/": page(links=["/large", "/data"]), "/large": reply(large),
         "/data": reply(data, mime="application/octet-stream")}
    )  # fmt: skip
    await crawl(settings(site.url, save=save), tmp_path)
    assert set(outcomes(tmp_path).values()) == {"done"}
    saved = {path.read_bytes() for path in (tmp_path / "html").rglob("*") if path.is_file()}
    assert large in saved
    assert (data in saved) is (save == "all")
    assert list((tmp_path / "spool").iterdir()) == []
    assert not list((tmp_path / "html").rglob("*.part"))


async def test_a_page_that_first_breaks_and_then_works_is_done(
    website: Open, tmp_path: Path
) -> None:
    site = await website({"/": page(links=["/x"]), "/x": sequence(truncated(), page())})
    await crawl(settings(site.url), tmp_path)
    assert by_path(tmp_path)["/x"]["attempts"] == 2


def test_the_ledger_and_outcomes_are_what_the_documentation_says() -> None:
    assert {outcome.value for outcome in Outcome} == {
        "done", "moved", "unchanged", "refused", "retry", "failed",
    }  # fmt: skip
    assert Committer.__doc__


async def test_only_bodies_of_the_types_that_were_asked_for_are_read(
    website: Open, tmp_path: Path
) -> None:
    """robots.txt and sitemaps are no matter of --mime."""
    site = await website(
        {
            "/": page(links=["/text", "/image", "/untold", "/secret"]),
            "/text": text("plain"),
            "/image": reply(b"x" * 100_000, mime="image/png"),
            "/untold": reply(b"<p>x", mime=""),
            "/secret": page(),
            "/robots.txt": text("User-agent: *\nDisallow: /secret"),
        }
    )
    await crawl(settings(site.url, mime=("text/*",)), tmp_path)
    found = by_path(tmp_path)
    assert {path for path, one in found.items() if one["outcome"] == "done"} == {
        "/",
        "/text",
        "/untold",
    }
    assert (found["/image"]["outcome"], found["/image"]["reason"]) == ("refused", "mime:image/png")
    assert found["/secret"]["reason"] == "robotsTxt"


async def test_each_visit_is_a_line_of_the_log(
    website: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = await website({"/": page(links=["/a", "/gone"]), "/a": redirect("/")})
    with caplog.at_level("INFO", "crawler"):
        await crawl(settings(site.url), tmp_path)
    for line in (
        f"done 200 {site.url}",
        f"moved 302 {site.at('/a')} -> {site.url}",
        f"failed 404 {site.at('/gone')} (status:404)",
    ):
        assert caplog.messages.count(line) == 1
