"""A second run: conditional requests, every change named and nothing else, none half begun."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.commands import crawler as command
from helpers.crawling import PATIENCE, crawl, lines, records, settings
from helpers.website import Answer, Asked, Reply, Website, busy, page, redirect, text
from hypothesis import given
from hypothesis import strategies as st

from crawler.bootstrap.crawl_setup import open_crawl
from crawler.cli.main import crawler
from crawler.config.model import Config
from crawler.errors import ConfigError
from crawler.frontier.sqlite.lookup import FrontierReader
from crawler.frontier.sqlite.overview import left_in_run, peek
from crawler.policy.revisit import FIRST, LONGEST, SHORTEST, next_interval
from crawler.report.broken import broken_in
from crawler.report.build import build_report
from crawler.report.crawl_diff import CrawlSide, PageChange, compare, runs
from crawler.report.page import render_changes

Open = Callable[..., Awaitable[Website]]


async def recrawl(config: Config, folder: Path, *, only_due: bool = False) -> int:
    async with (
        asyncio.timeout(PATIENCE),
        open_crawl(config, dir=folder, mode="resume") as running,
    ):
        number = await running.frontier.revisit(only_due=only_due)  # type: ignore[attr-defined]
        await running.run()
    return int(number)


def leaf(number: int, version: int = 1, *, text: str = "", head: str = "") -> Answer:
    return page(
        f"Page {number}",
        ["/"],
        text=text or f"The text of page {number}",
        head=head,
        etag=f'"{number}-{version}"',
    )


def many(pages: int) -> dict[str, Answer]:
    """A home page that links to all the others; all have validators."""
    home = page("Home", [f"/{n}" for n in range(pages)], etag='"home"')
    return {"/": home, **{f"/{n}": leaf(n) for n in range(pages)}}


def urls(changes: tuple[PageChange, ...], site: Website) -> set[str]:
    return {one.url.removeprefix(site.url) for one in changes}


async def the_acceptance(site: Website, folder: Path, pages: int) -> None:
    """Nothing changed: no bodies. Ten pages change: exactly those ten are fetched and named."""
    config = settings(site.url, max_links=100_000)
    await crawl(config, folder)
    first = len(records(folder))
    site.log.clear()
    assert await recrawl(config, folder) == 2
    again = records(folder)[first:]
    assert len(again) == pages + 1
    assert {line["outcome"] for line in again} == {"unchanged"}
    assert sum(line["bytes_wire"] for line in again) == 0
    assert all("if-none-match" in one.headers for one in site.log if one.path != "/robots.txt")
    changes = compare(CrawlSide(folder, 1), CrawlSide(folder, 2))
    assert (changes.number, changes.unchanged) == (0, pages + 1)
    ten = set(range(3, pages, pages // 10))
    for number in ten:
        site.put(f"/{number}", leaf(number, 2, text="Something else"))
    assert await recrawl(config, folder) == 3
    changes = compare(CrawlSide(folder, 2), CrawlSide(folder, 3))
    assert urls(changes.changed, site) == {str(number) for number in ten}
    assert (len(ten), changes.number) == (10, 10)
    bodies = [line for line in records(folder)[first + pages + 1 :] if line["bytes_wire"]]
    assert {line["url"].removeprefix(site.url) for line in bodies} == set(map(str, ten))


async def test_what_has_not_changed_is_not_sent_and_what_has_is_named(
    website: Open, tmp_path: Path
) -> None:
    await the_acceptance(await website(many(50)), tmp_path, 50)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_the_same_with_5000_pages(website: Open, tmp_path: Path) -> None:
    await the_acceptance(await website(many(5000)), tmp_path, 5000)


async def test_every_kind_of_change_by_its_name(website: Open, tmp_path: Path) -> None:
    site = await website(many(9))
    config = settings(site.url, retries=0)
    await crawl(config, tmp_path)
    site.put("/0", page(status=404))
    site.put("/1", redirect("/new"))
    site.put("/new", page("New", text="Quite new"))
    site.put("/2", busy(99, status=500))
    site.put("/3", leaf(3, 2, head="<!-- made at 12:03 --><script>other()</script>"))
    site.put("/4", page("Page 4", ["/"], text="The text of page 4, and more", etag='"x"'))
    site.put("/5", page(status=410))
    site.put("/five", page("Page 5", ["/"], text="The text of page 5"))
    site.put("/", page("Home", [*(f"/{n}" for n in range(9)), "/five"], etag='"home2"'))
    await recrawl(config, tmp_path)
    changes = compare(CrawlSide(tmp_path, 1), CrawlSide(tmp_path, 2))
    assert urls(changes.changed, site) == {"4", ""}  # the home page has one link more
    assert urls(changes.removed, site) == {"0"}
    assert urls(changes.added, site) == set()
    assert {(one.url, one.detail) for one in changes.moved} == {
        (site.at("/1"), site.at("/new")), (site.at("/5"), site.at("/five"))
    }  # fmt: skip
    assert [(one.url, one.detail) for one in changes.unreachable] == [(site.at("/2"), "status:500")]
    assert changes.unchanged == 4
    html = render_changes(changes)
    assert site.at("/five") in html
    number, broken = broken_in(tmp_path)
    assert (number, {one.url for one in broken}) == (
        3, {site.at("/0"), site.at("/2"), site.at("/5")}
    )  # fmt: skip


async def test_a_link_that_was_taken_off_its_page_breaks_no_more(
    website: Open, tmp_path: Path
) -> None:
    site = await website({"/": page(links=["/gone", "/a"]), "/a": page(links=["/gone"])})
    await crawl(settings(site.url), tmp_path)
    assert broken_in(tmp_path)[1][0].pages == 2
    site.put("/", page(links=["/a"]))
    await recrawl(settings(site.url), tmp_path)
    assert [source.url for source in broken_in(tmp_path)[1][0].sources] == [site.at("/a")]


async def test_two_folders_are_compared_as_they_are(website: Open, tmp_path: Path) -> None:
    site = await website(many(4))
    await crawl(settings(site.url), tmp_path / "a")
    site.put("/", page("Home", ["/1", "/2", "/x"], etag='"home"'))
    site.put("/x", page("X"))
    await crawl(settings(site.url), tmp_path / "b")
    changes = compare(CrawlSide(tmp_path / "a"), CrawlSide(tmp_path / "b"))
    assert urls(changes.added, site) == {"x"}
    assert {(one.url, one.detail) for one in changes.removed} == {
        (site.at("/0"), "not found again"), (site.at("/3"), "not found again")
    }  # fmt: skip
    assert urls(changes.changed, site) == {""}
    result = CliRunner().invoke(crawler, ["diff", str(tmp_path / "a"), str(tmp_path / "b")])
    assert f"+ {site.at('/x')}" in result.output
    assert result.output.endswith(
        "1 added, 2 removed, 1 changed, 0 moved, 0 unreachable, 2 unchanged\n"
    )
    result = CliRunner().invoke(
        crawler, ["diff", str(tmp_path / "a"), str(tmp_path / "b"), "--format", "json"]
    )
    assert json.loads(result.output)["added"][0]["url"] == site.at("/x")


async def test_a_run_that_was_killed_goes_on(website: Open, tmp_path: Path) -> None:
    site = await website(many(30))
    config = settings(site.url)
    await crawl(config, tmp_path)
    first = len(records(tmp_path))
    async with open_crawl(config, dir=tmp_path, mode="resume") as running:
        await running.frontier.revisit()  # type: ignore[attr-defined]
    assert runs(tmp_path) == 2
    await crawl(config, tmp_path, "resume")
    again = records(tmp_path)[first:]
    assert len({line["url"] for line in again}) == len(again) == 31
    assert compare(CrawlSide(tmp_path, 1), CrawlSide(tmp_path, 2)).unchanged == 31


async def test_a_page_limit_holds_for_a_run(website: Open, tmp_path: Path) -> None:
    site = await website(many(30))
    config = settings(site.url, max_pages=10)
    await crawl(config, tmp_path)
    await recrawl(config, tmp_path)
    assert len(records(tmp_path)) == 20


async def test_what_was_left_over_is_visited_with_the_new_run(
    website: Open, tmp_path: Path
) -> None:
    site = await website(many(30))
    await crawl(settings(site.url, max_pages=10), tmp_path)
    await recrawl(settings(site.url), tmp_path)
    written = records(tmp_path)
    assert len(written) == 10 + 31
    assert len({line["url"] for line in written[10:]}) == 31


async def test_a_failed_try_keeps_the_validators(website: Open, tmp_path: Path) -> None:
    site = await website({"/": leaf(1)})
    await crawl(settings(site.url), tmp_path)
    site.put("/", busy(1, then=leaf(1)))
    await recrawl(settings(site.url), tmp_path)
    assert records(tmp_path)[-1]["outcome"] == "unchanged"
    assert records(tmp_path)[-1]["digest"] == records(tmp_path)[0]["digest"]


async def test_only_what_is_due_is_visited_again(website: Open, tmp_path: Path) -> None:
    site = await website(many(3))
    config = settings(site.url)
    await crawl(config, tmp_path)
    assert await recrawl(config, tmp_path, only_due=True) == 0
    assert runs(tmp_path) == 1
    site.put("/2", leaf(2, 2, text="changed"))
    await recrawl(config, tmp_path)
    with FrontierReader(tmp_path / "frontier.db") as book:
        intervals = dict(book.rows("SELECT url, interval FROM link"))
    assert intervals[site.at("/1")] == FIRST * 1.4
    assert intervals[site.at("/2")] == FIRST * 0.8


async def test_a_304_brings_the_validators_of_the_next_request(
    website: Open, tmp_path: Path
) -> None:
    asked = []

    async def renamed(one: Asked) -> Reply:
        asked.append(one.headers.get("if-none-match"))
        if asked[-1] is None:
            return Reply(body=b"<p>text", headers=(("ETag", '"one"'),))
        return Reply(304, headers=(("ETag", '"two"'),))

    site = await website({"/": renamed})
    await crawl(settings(site.url), tmp_path)
    await recrawl(settings(site.url), tmp_path)
    await recrawl(settings(site.url), tmp_path)
    assert asked == [None, '"one"', '"two"']


async def test_a_page_that_was_not_read_whole_is_read_again(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page(links=["/a", "/b", "/c"], etag='"one"'), "/a": page()})
    await crawl(settings(site.url, max_links=1), tmp_path)
    await recrawl(settings(site.url, max_links=1), tmp_path)
    home = [line for line in records(tmp_path) if line["url"] == site.url]
    assert [(line["status"], line["reason"]) for line in home] == [(200, "tooManyLinks")] * 2
    assert peek(tmp_path / "frontier.db").counts.incomplete == 1
    await recrawl(settings(site.url), tmp_path)  # what had been left out is read
    assert {one.path for one in site.log} >= {"/b", "/c"}
    assert peek(tmp_path / "frontier.db").counts.incomplete == 0


async def test_a_304_that_nobody_asked_for_is_a_failure(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page(links=["/odd"]), "/odd": page(status=304)})
    await crawl(settings(site.url), tmp_path)
    await recrawl(settings(site.url), tmp_path)
    odd = [line for line in records(tmp_path) if line["url"].endswith("/odd")]
    assert [(line["outcome"], line["reason"]) for line in odd] == [("failed", "status:304")] * 2


async def test_a_page_that_fails_once_keeps_what_is_known_of_it(
    website: Open, tmp_path: Path
) -> None:
    """Its next request is conditional, and it is compared with what was read last."""
    site = await website({"/": page("Home", ["/a", "/b", "/c"], etag='"h"'),
                          **{f"/{x}": leaf(n) for n, x in enumerate("abc")}})  # fmt: skip
    config = settings(site.url, retries=0)
    await crawl(config, tmp_path)
    for path in "abc":
        site.put(f"/{path}", busy(99, status=500))
    await recrawl(config, tmp_path)
    changes = compare(CrawlSide(tmp_path, 1), CrawlSide(tmp_path, 2))
    assert (urls(changes.unreachable, site), changes.number) == ({"a", "b", "c"}, 3)
    site.log.clear()
    site.put("/a", leaf(0))  # as it was
    site.put("/b", leaf(1, 2, text="Something else"))
    site.put("/c", page(status=410))
    await recrawl(config, tmp_path)
    assert all(one.headers.get("if-none-match") for one in site.log if one.path != "/robots.txt")
    changes = compare(CrawlSide(tmp_path, 2), CrawlSide(tmp_path, 3))
    assert urls(changes.added, site) == set()
    assert urls(changes.changed, site) == {"b"}
    assert urls(changes.removed, site) == {"c"}
    assert changes.unchanged == 2
    site.put("/c", leaf(2))
    await recrawl(config, tmp_path)
    assert urls(compare(CrawlSide(tmp_path, 3), CrawlSide(tmp_path, 4)).added, site) == {"c"}


async def test_records_tell_runs_apart(website: Open, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text("def items(page):\n    return [{'title': page.title}]\n")
    site = await website({"/": page("Old", ["/a"]), "/a": leaf(1)})
    config = settings(site.url, plugins=(f"{plugin}:items",))
    await crawl(config, tmp_path / "c")
    site.put("/", page("New", ["/a"]))
    await recrawl(config, tmp_path / "c")
    assert [line["run"] for line in records(tmp_path / "c")] == [1, 1, 2, 2]
    found = lines(tmp_path / "c" / "records.jsonl")
    assert [(one["title"], one["_run"]) for one in found] == [
        ("Old", 1), ("Page 1", 1), ("New", 2),
    ]  # fmt: skip
    for table, wanted in (("records", ["New"]), ("pages", ["New", None])):
        out = tmp_path / f"{table}.jsonl"
        args = [
            "export",
            "jsonl",
            str(tmp_path / "c"),
            "-o",
            str(out),
            "--table",
            table,
            "--run",
            "2",
        ]
        result = CliRunner().invoke(crawler, args, standalone_mode=False)
        assert result.exception is None, result.output
        rows = lines(out)
        args[-1] = "3"
        result = CliRunner().invoke(crawler, args, standalone_mode=False)
        assert "has 2 runs" in str(result.exception)
        assert sorted((row["title"] for row in rows), key=str) == sorted(wanted, key=str)


async def test_sitemaps_are_no_pages_wherever_pages_are_counted(
    website: Open, tmp_path: Path
) -> None:
    site = await website({"/": page(links=["/a"]), "/a": page()})
    site.put("/map.txt", text(site.at("/a") + "\n"))
    site.put("/robots.txt", text(f"Sitemap: {site.at('/map.txt')}\n"))
    running = await crawl(settings(site.url), tmp_path)
    view = peek(tmp_path / "frontier.db")
    assert (running.tally.pages, view.counts.pages, view.counts.done) == (2, 2, 3)
    assert build_report(tmp_path).pages == 2
    await recrawl(settings(site.url), tmp_path)
    assert compare(CrawlSide(tmp_path, 1), CrawlSide(tmp_path, 2)).unchanged == 2


async def test_a_recrawl_that_was_killed_goes_on_when_it_is_given_again(
    website: Open, tmp_path: Path
) -> None:
    site = await website(many(30))
    config = settings(site.url)
    await crawl(config, tmp_path)
    assert left_in_run(tmp_path / "frontier.db") == (1, 0)
    async with open_crawl(config, dir=tmp_path, mode="resume") as running:
        await running.frontier.revisit()  # type: ignore[attr-defined]
    assert left_in_run(tmp_path / "frontier.db") == (2, 31)
    told = CliRunner().invoke(crawler, ["diff", str(tmp_path)], standalone_mode=False)
    assert "warning: run 2 has not ended: 31 pages that it has yet to visit" in told.output
    again = await command("recrawl", str(tmp_path))
    assert "run 2 was stopped before its end: going on with it, 31 links to visit" in again.err
    assert runs(tmp_path) == 2
    assert left_in_run(tmp_path / "frontier.db") == (2, 0)
    assert "run 3\n" in (await command("recrawl", str(tmp_path))).err
    told = CliRunner().invoke(crawler, ["diff", str(tmp_path)], standalone_mode=False)
    assert "warning" not in told.output


@given(history=st.lists(st.booleans(), max_size=60))
def test_the_interval_stays_within_its_bounds(history: list[bool]) -> None:
    interval = None
    for changed in history:
        before = FIRST if interval is None else interval
        interval = next_interval(interval, changed=changed)
        assert SHORTEST <= interval <= LONGEST
        assert interval <= before if changed else interval >= before


async def test_what_cannot_be_compared_is_said(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page()})
    await crawl(settings(site.url), tmp_path)
    with pytest.raises(ConfigError, match="has no run 3, only 1"):
        compare(CrawlSide(tmp_path, 1), CrawlSide(tmp_path, 3))
    result = CliRunner().invoke(crawler, ["diff", str(tmp_path)])
    assert isinstance(result.exception, ConfigError)
    assert "had one run only" in str(result.exception)
    result = CliRunner().invoke(crawler, ["diff", str(tmp_path), "--runs", "x"])
    assert "--runs" in str(result.exception)
