"""Traps in whole crawls: they end by themselves, honest sites are left alone, nothing is lost."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from helpers import crawling
from helpers.crawling import by_path, crawl, records, settings
from helpers.website import Reply, Website, page, redirect, reply, text
from test_kill import command, crawl_args, finish, wait_for_records

from crawler.bench.sites import Nginx, documentation, unavailable_reason
from crawler.bootstrap.crawl_setup import open_crawl
from crawler.config.model import Config
from crawler.demo.process import DemoWeb
from crawler.policy.trap_rules import GALLERY

Open = Callable[..., Awaitable[Website]]
TRAPS = ("/calendar/", "/session/", "/shop", "/mirror/")


def braked(folder: Path) -> Counter[str]:
    """Parked links by reason, as the frontier has them."""
    with closing(sqlite3.connect(folder / "frontier.db")) as db, db:
        rows = db.execute("SELECT reason FROM link WHERE state = 8").fetchall()
    db.close()
    return Counter(reason for (reason,) in rows)


def split(folder: Path) -> tuple[set[str], Counter[str]]:
    """The real pages that were done, and the number of wasted ones in each trap."""
    real, wasted = set(), Counter[str]()
    for path, record in by_path(folder).items():
        if record["kind"] != "page":
            continue  # the sitemap
        trap = next((one for one in TRAPS if path.startswith(one)), None)
        if trap is None:
            real.add(path)
        else:
            wasted[trap] += 1
    return real, wasted


async def test_a_web_of_traps_ends_by_itself_with_every_real_page(tmp_path: Path) -> None:
    with DemoWeb(pages=400, size=1500, traps=True) as demo:
        running = await crawl(settings(demo.url, skipped=True, concurrency=16), tmp_path)
        wanted = {"/" + url.split("/", 3)[3] for url in demo.web.urls()}
    real, wasted = split(tmp_path)
    assert running.finish_reason == "finished"
    assert real == wanted
    # Each trap's patience is 40 pages; what is in hand when it is out is visited as well.
    assert set(wasted) == set(TRAPS)
    assert wasted.total() < 600
    assert set(braked(tmp_path)) == {
        "trap:calendar", "trap:session", "trap:query", "trap:repeats",
    }  # fmt: skip
    told = Counter(line["reason"] for line in crawling.lines(tmp_path / "skipped.jsonl"))
    assert {reason: told[reason] for reason in braked(tmp_path)} == braked(tmp_path)


async def test_what_a_brake_learned_survives_being_stopped(tmp_path: Path) -> None:
    """Stopped every few pages, the traps cost hardly more than at one go, and all is found."""
    with DemoWeb(pages=150, size=1000, traps=True) as demo:
        mode: Any = "new"
        for most in range(60, 3000, 60):
            config = settings(demo.url, max_pages=most, concurrency=4, workers=8)
            running = await crawl(config, tmp_path, mode)
            mode = "resume"
            if running.finish_reason == "finished":
                break
        wanted = {"/" + url.split("/", 3)[3] for url in demo.web.urls()}
    real, wasted = split(tmp_path)
    assert running.finish_reason == "finished"
    assert real == wanted
    assert wasted.total() < 500


@pytest.mark.parametrize("mode", ["off", "warn"])
async def test_without_the_brake_a_calendar_goes_on(
    mode: str, website: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = await website({"/": page(links=["/m/1"]), **months(90)})
    caplog.set_level("WARNING")
    await crawl(settings(site.url, trap=mode), tmp_path)
    assert len(records(tmp_path)) == 91
    assert not braked(tmp_path)
    warned = [one for one in caplog.messages if "trap" in one]
    assert bool(warned) == (mode == "warn")
    assert len(warned) < 5


async def test_the_brake_stops_it(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page(links=["/m/1"]), **months(250)})
    await crawl(settings(site.url, concurrency=8), tmp_path)
    assert len(records(tmp_path)) < 100
    assert set(braked(tmp_path)) == {"trap:novelty"}


def months(number: int) -> dict[str, Any]:
    """Pages that say the same and lead on to each other."""
    return {
        f"/m/{n}": page(
            text=f"Month {n}", links=[f"/m/{m}" for m in range(n, min(n + 12, number + 1))]
        )
        for n in range(1, number + 1)
    }


@pytest.mark.parametrize(
    "asset",
    [
        "<img src='/px.gif?r={0}'>", "<img src='/px/{0}.gif'>", "<script src='/a.js?{0}'></script>",
        "<img src='/{0}/{0}'>", "<link rel=stylesheet href='/s-{0}.css'>",
        "<img src='/a{0}'><img src='/b?{0}'><script src='/c/{0}.js'></script>",
    ],
)  # fmt: skip
@pytest.mark.parametrize("requisites", [False, True])
async def test_a_calendar_whose_pages_have_assets_of_their_own_ends_too(
    website: Open, tmp_path: Path, asset: str, requisites: bool
) -> None:
    """Tracking pixels and cache busters; letters, so that no template of theirs is seen."""
    letters = "".join

    async def month(asked: Any) -> Any:
        number = int(asked.path.rpartition("/")[2] or 0)
        own = letters(chr(97 + int(digit)) for digit in f"{number * 7919:05}")
        links = "".join(f"<a href='/cal/2026/{number + step}'>x</a>" for step in (1, 2))
        return await reply(f"<h1>Month</h1>No events. {links}{asset.format(own)}")(asked)

    pages = {f"/cal/2026/{number}": month for number in range(1500)}
    site = await website({"/": page(links=["/cal/2026/0"]), **pages})
    await crawl(settings(site.url, requisites=requisites), tmp_path)
    visited = [path for path in by_path(tmp_path) if path.startswith("/cal/")]
    assert len(visited) < GALLERY + 150
    assert sum(braked(tmp_path).values()) > 0


async def test_a_gallery_without_words_is_read(website: Open, tmp_path: Path) -> None:
    photos = {
        f"/photo/{n}": page("Photo", [f"/photo/{n + 1}"], head=f"<img src=/i/{n}.jpg>")
        for n in range(150)
    }
    site = await website({"/": page(links=["/photo/0"]), **photos, "/photo/150": page("Photo")})
    await crawl(settings(site.url), tmp_path)
    assert len([path for path in by_path(tmp_path) if path.startswith("/photo/")]) == 151


async def test_one_page_under_many_sessions_is_one_page(website: Open, tmp_path: Path) -> None:
    session = "jsessionid=0123456789abcdef{:04d}"
    site = await website(
        {
            "/": page(links=[f"/a;{session.format(n)}" for n in range(20)]),
            **{f"/a;{session.format(n)}": page(text="the same") for n in range(20)},
        }
    )
    await crawl(settings(site.url), tmp_path)
    assert len(records(tmp_path)) == 2
    assert braked(tmp_path) == {"trap:session": 19}


async def test_a_long_honest_list_is_not_braked(website: Open, tmp_path: Path) -> None:
    """Pages of numbers that say nothing of their own, but lead to items that do."""
    lists = {
        f"/list/{n}": page(text=f"Page {n}", links=[f"/list/{n + 1}", f"/item/{n}"])
        for n in range(60)
    }
    items = {f"/item/{n}": page(text=f"{' '.join(f'{n:x}w{i}' for i in range(40))}")
             for n in range(60)}  # fmt: skip
    site = await website({"/": page(links=["/list/0"]), **lists, **items, "/list/60": page()})
    await crawl(settings(site.url), tmp_path)
    assert len(records(tmp_path)) == 122
    assert not braked(tmp_path)


async def test_a_demo_web_has_no_page_braked(tmp_path: Path) -> None:
    with DemoWeb(pages=1500, size=800) as demo:
        await crawl(settings(demo.url), tmp_path)
    assert len([one for one in records(tmp_path) if one["kind"] == "page"]) == 1500
    assert not braked(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_ten_thousand_pages_have_none_braked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crawling, "PATIENCE", 600)
    with DemoWeb(pages=10_000, size=2000) as demo:
        await crawl(settings(demo.url), tmp_path)
    assert len([one for one in records(tmp_path) if one["kind"] == "page"]) == 10_000
    assert not braked(tmp_path)


HONEST = [
    pytest.param(name, marks=[] if name == "postgresql" else pytest.mark.slow)
    for name in ("postgresql", "python", "apache", "openjdk")
]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", HONEST)
async def test_documentation_has_no_page_braked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := unavailable_reason(name):
        pytest.skip(reason)
    monkeypatch.setattr(crawling, "PATIENCE", 600)
    with Nginx(documentation()[name]) as site:
        await crawl(settings(site.url), tmp_path)
    assert len(records(tmp_path)) > 500
    assert not braked(tmp_path)


# ── duplicates and redirects ─────────────────────────────────────────────────────────────────


async def test_equal_pages_name_the_first_whatever_happens_between(
    website: Open, tmp_path: Path
) -> None:
    """Stopped in between, still exactly one page of each kind is the first, and all name it."""
    pages = {f"/{kind}/{n}": page(text=f"{kind * 9}") for kind in "abc" for n in range(12)}
    site = await website(
        {
            "/": page(links=list(pages)), **pages,
            "/empty": text(""), "/e": text(""), "/x": page(links=["/empty", "/e"]),
        }
    )  # fmt: skip
    for most, mode in ((7, "new"), (19, "resume"), (100, "resume")):
        running = await crawl(settings(site.url, max_pages=most), tmp_path, mode)  # type: ignore[arg-type]
    lines = by_path(tmp_path)
    assert len(lines) == 37
    for kind in "abc":
        group = [line for path, line in lines.items() if path.startswith(f"/{kind}/")]
        firsts = [line["url"] for line in group if line["duplicate_of"] is None]
        assert len(firsts) == 1
        assert {line["duplicate_of"] for line in group} == {None, firsts[0]}
        assert len({line["simhash"] for line in group}) == 1
    assert running.tally.duplicates > 0


async def test_redirects_know_their_loops(website: Open, tmp_path: Path) -> None:
    site = await website(
        {
            "/": page(links=["/1", "/2", "/self", "/wall", "/moved"]),
            "/1": redirect("/2"), "/2": redirect("/3"), "/3": redirect("/1"),
            "/self": redirect("/self"), "/wall": wall, "/moved": redirect("/there", status=301),
            "/there": page(),
        }
    )  # fmt: skip
    await crawl(settings(site.url), tmp_path)
    lines = by_path(tmp_path)
    assert [lines[f"/{n}"]["outcome"] for n in (1, 2, 3)] == ["moved"] * 3
    assert (lines["/self"]["outcome"], lines["/self"]["reason"]) == ("failed", "redirect:loop")
    assert (lines["/wall"]["outcome"], lines["/wall"]["title"]) == ("done", "in")
    assert lines["/wall"]["attempts"] == 2
    assert site.hits["/self"] == site.hits["/1"] == site.hits["/moved"] == 1
    assert site.hits["/wall"] == 2
    with closing(sqlite3.connect(tmp_path / "frontier.db")) as db, db:
        failed = db.execute("SELECT url FROM link WHERE reason = 'redirect:loop' ORDER BY id")
        ends = {url.rpartition("/")[2] for (url,) in failed}
        target = db.execute(
            "SELECT t.url FROM link JOIN link AS t ON t.id = link.target "
            "WHERE link.url LIKE '%/moved'"
        ).fetchone()
    db.close()
    assert ends == {"1", "2", "3", "self"}
    assert target == (site.at("/there"),)


async def wall(asked: Any) -> Any:
    """Lets in who brings the cookies that it set."""
    if asked.headers.get("cookie") == "a=1; b=2":
        return Reply(200, b"<title>in</title>")
    cookies = (("Set-Cookie", "a=1; Path=/; HttpOnly"), ("Set-Cookie", "b=2"))
    return Reply(302, headers=(("Location", "/wall"), *cookies))


async def test_a_wall_that_takes_no_cookie_is_a_loop(website: Open, tmp_path: Path) -> None:
    async def never(_asked: Any) -> Any:
        return Reply(302, headers=(("Location", "/wall"), ("Set-Cookie", "a=1")))

    site = await website({"/": page(links=["/wall"]), "/wall": never})
    await crawl(settings(site.url), tmp_path)
    assert by_path(tmp_path)["/wall"]["reason"] == "redirect:loop"
    assert site.hits["/wall"] == 2


# ── skipped.jsonl ────────────────────────────────────────────────────────────────────────────


async def test_every_refusal_is_written_once(website: Open, tmp_path: Path) -> None:
    site = await website(
        {
            "/": page(links=["/a", "/b", "http://other.test/", "/no/x", "/" + "y" * 3000]),
            "/a": page(links=["/b", "http://other.test/", "/no/x", "/private"]),
            "/b": page(links=["/x/x/x/x/x"]),
            "/robots.txt": text("User-agent: *\nDisallow: /private\n"),
        }
    )
    config = settings(site.url, skipped=True, exclude=("/no/",), max_pages=1)
    await crawl(config, tmp_path)
    await crawl(settings(site.url, skipped=True, exclude=("/no/",)), tmp_path, "resume")
    lines = crawling.lines(tmp_path / "skipped.jsonl")
    told = {line["url"].removeprefix(site.url)[:20]: line["reason"] for line in lines}
    assert told == {
        "http://other.test/": "outOfScope",
        "no/x": "excluded",
        "y" * 20: "tooLong",
        "private": "robotsTxt",
        "x/x/x/x/x": "trap:repeats",
    }
    assert len(lines) == 5
    assert set(lines[0]) == {"url", "seedUrl", "via", "depth", "reason", "ts"}
    assert {line["seedUrl"] for line in lines} == {site.url}
    by_reason = {line["reason"]: line for line in lines}
    assert by_reason["trap:repeats"]["via"] == site.at("/b")
    assert by_reason["robotsTxt"]["depth"] == 2


async def test_asked_for_later_it_tells_what_was_before(website: Open, tmp_path: Path) -> None:
    site = await website(
        {"/": page(links=["http://one.test/", "/a"]), "/a": page(links=["http://two.test/"])}
    )
    await crawl(settings(site.url, max_pages=1), tmp_path)
    for _ in range(2):  # and not again the next time
        await crawl(settings(site.url, skipped=True), tmp_path, "resume")
    urls = [line["url"] for line in crawling.lines(tmp_path / "skipped.jsonl")]
    assert urls == ["http://one.test/", "http://two.test/"]


async def test_a_crash_writes_no_refusal_twice(website: Open, tmp_path: Path) -> None:
    """Cancelled in the middle, the file is cut to its mark and the rest comes from the frontier."""
    site = await website(
        {
            "/": page(links=[f"/{n}" for n in range(40)]),
            **{f"/{n}": page(links=[f"http://out{n}.test/"]) for n in range(40)},
        }
    )
    config = settings(site.url, skipped=True, concurrency=2, workers=2)
    mode: Any = "new"
    for times in (5, 15, 25):
        with pytest.raises(RuntimeError, match="crash"):
            await crash(site, config, tmp_path, mode, f"/{times}")
        mode = "resume"
    with (tmp_path / "skipped.jsonl").open("ab") as file:
        file.write(b'{"url": "torn')
    await crawl(config, tmp_path, "resume")
    urls = [line["url"] for line in crawling.lines(tmp_path / "skipped.jsonl")]
    assert sorted(urls) == sorted(f"http://out{n}.test/" for n in range(40))


async def crash(site: Website, config: Config, folder: Path, mode: Any, when: str) -> None:
    """Leave a crawl by an error once a page has been asked for."""
    async with open_crawl(config, dir=folder, mode=mode) as running:
        going = asyncio.create_task(running.run())
        await site.wait_for(when)
        going.cancel()
        await asyncio.wait([going])
        raise RuntimeError("crash")


def test_killed_in_a_web_of_traps(tmp_path: Path) -> None:
    """SIGKILL, twice: every real page once, every refusal once, and the traps still end."""
    with DemoWeb(pages=200, size=1000, latency=0.002, traps=True) as demo:
        process = command(*crawl_args(demo.url, tmp_path), "--report-skipped")
        for number in (60, 160):
            wait_for_records(tmp_path, number, process)
            process.kill()
            process.communicate()
            process = command("resume", str(tmp_path), "-q")
        assert finish(process) == 0
        wanted = {"/" + url.split("/", 3)[3] for url in demo.web.urls()}
    real, wasted = split(tmp_path)
    assert real == wanted
    assert wasted.total() < 600
    told = [line["url"] for line in crawling.lines(tmp_path / "skipped.jsonl")]
    assert len(set(told)) == len(told)
    with closing(sqlite3.connect(tmp_path / "frontier.db")) as db, db:
        refused = db.execute("SELECT url FROM link WHERE state IN (5, 7, 8)").fetchall()
    db.close()
    assert {url for (url,) in refused} <= set(told)
