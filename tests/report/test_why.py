"""`crawler why`, `release`, `status` and `--dry-run`: what a person is told of a URL."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.commands import crawler as process
from helpers.crawling import crawl, lines, records, settings
from helpers.places import ROOT
from helpers.website import Website, busy, page, redirect, text

from crawler.bootstrap.crawl_setup import open_crawl
from crawler.cli.main import crawler, main
from crawler.cli.release import matcher
from crawler.cli.why import tell
from crawler.policy.urls import host_key

Open = Callable[..., Awaitable[Website]]
GUIDE = ROOT / "docs" / "guide" / "traps.md"

ROOMS = {f"/room/{n}": page(text=f"Room {n}", links=[f"/room/{m}" for m in range(n, n + 12)])
         for n in range(200)}  # fmt: skip


@pytest.fixture
async def site(website: Open) -> Website:
    return await website(
        {
            "/": page(
                head='<link rel=icon href="/i.png">',
                links=["/a", "/copy", "/moved", "/gone", "/private", "/room/0", "/no/1", "/1",
                       "http://other.test/", "/" + "y" * 3000],
            ),
            "/a": page(text="same"), "/copy": page(text="same"), "/moved": redirect("/a"),
            "/1": redirect("/2"), "/2": redirect("/1"),
            **ROOMS,
            "/robots.txt": text("User-agent: *\nDisallow: /private\n"),
        }
    )  # fmt: skip


@pytest.fixture
async def folder(site: Website, tmp_path: Path) -> Path:
    await crawl(settings(site.url, exclude=("/no/",), max_depth=80), tmp_path / "crawl")
    return tmp_path / "crawl"


def story(folder: Path, url: str) -> dict[str, str]:
    rows, tree = tell(folder, url, 0.0)
    json.dumps(tree)
    return dict(rows)


def parked(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "frontier.db")) as db, db:
        rows = db.execute("SELECT url FROM link WHERE state = 8 AND reason != 'tooLong'").fetchall()
    db.close()
    return [url for (url,) in rows]


async def test_the_story_of_every_kind_of_url(site: Website, folder: Path) -> None:
    def outcome(path: str) -> str:
        return story(folder, site.at(path))["outcome"]

    assert outcome("/").startswith("done at ")
    assert "status 200" in outcome("/")
    twins = outcome("/a") + outcome("/copy")
    assert twins.count("the same bytes as ") == 1
    assert f"to {site.at('/a')}" in outcome("/moved")
    assert "status:404" in outcome("/gone")
    assert outcome("/private").startswith("refused at ")
    assert outcome("/private").endswith("robotsTxt")
    assert outcome("/no/1") == "not followed: excluded"
    assert outcome("/i.png") == "not followed: kind"
    assert outcome("/" + "y" * 3000) == "parked: tooLong"
    assert "redirect:loop" in outcome("/1")
    assert "redirect:loop" in outcome("/2")
    assert outcome("/never") == "would be queued when a page links to it"
    assert outcome("/x/x/x/x/x") == "would be parked where it is found"
    assert story(folder, "http://other.test/")["outcome"] == "not followed: outOfScope"
    assert story(folder, "http://never.test/")["outcome"] == "would be skipped where it is found"


async def test_it_names_rules_ways_and_what_to_do(site: Website, folder: Path) -> None:
    told = story(folder, site.at("/a?utm_source=x#top"))
    assert told["url"] == site.at("/a")
    assert "strip-fragment, strip-query:utm_source" in told["as given"]
    assert told["found"] == f"on {site.url}; kind page, 1 click from its seed"
    assert story(folder, site.url)["found"].startswith("as a seed")
    assert "/no/" in story(folder, site.at("/no/1"))["scope"]
    assert story(folder, site.at("/private"))["robots"].startswith("forbidden")
    assert story(folder, site.at("/a"))["robots"].startswith("allowed")
    assert "next" not in told
    url = parked(folder)[0]
    told = story(folder, url)
    assert told["outcome"] == "parked: trap:novelty"
    assert told["brake"] == "its template is braked: trap:novelty"
    assert told["way"].endswith(f" ← {site.url}")
    assert f"crawler release {folder} {url}" in told["next"]
    assert "--resume" in story(folder, site.at("/i.png"))["next"]


async def test_it_names_a_host_that_is_parked(site: Website, folder: Path) -> None:
    with closing(sqlite3.connect(folder / "frontier.db")) as db, db:
        row = (host_key(site.url), 1.5, 5, 1, time.time() + 500)
        db.execute("INSERT OR REPLACE INTO pace VALUES (?, ?, ?, ?, ?)", row)
    db.close()
    assert "parked after failures in a row, for " in story(folder, site.at("/a"))["host"]


async def test_what_is_advised_works(site: Website, folder: Path) -> None:
    """A link that was not followed is fetched by the command that `why` names."""
    site.put("/no/1", page())
    advice = story(folder, "http://other.test/")["next"]
    assert advice == f"start there: crawler crawl http://other.test/ -O {folder} --resume"
    site.put("/i.png", page())
    command = story(folder, site.at("/i.png"))["next"].removeprefix("start there: crawler ")
    assert (await process(*shlex.split(command), "-q")).code == 0
    assert story(folder, site.at("/i.png"))["outcome"].startswith("done")


async def test_it_works_while_the_crawl_runs(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page(links=["/a", "/b"]), "/a": page(), "/b": busy(times=9)})
    config = settings(site.url, base=30.0, retries=5)
    async with open_crawl(config, dir=tmp_path) as running:
        assert story(tmp_path, site.url)["outcome"] == "queued, 0 links of its host before it"
        assert story(tmp_path, site.url)["robots"] == "its robots.txt has not been asked for yet"
        assert story(tmp_path, site.url)["host"] == "1 link queued, not paced (pace.fast)"
        running.stop()


async def test_released_links_are_visited_and_end_again(site: Website, folder: Path) -> None:
    before = len(records(folder))
    waiting = parked(folder)
    assert waiting
    runner = CliRunner()
    said = runner.invoke(crawler, ["release", str(folder), "trap:novelty"])
    assert said.exit_code == 0
    assert said.output.startswith(f"{len(waiting)} × trap:novelty queued\n")
    assert "released, no brake stops it" in story(folder, waiting[0])["outcome"]
    shown = runner.invoke(crawler, ["resume", str(folder), "--dry-run"])
    assert {f"queued  {url}" for url in waiting} < set(shown.output.splitlines())
    await crawl(settings(site.url, exclude=("/no/",), max_depth=80), folder, "resume")
    visited = {line["url"] for line in records(folder)[before:]}
    assert set(waiting) <= visited
    assert len(records(folder)) < 150


async def test_a_crawl_that_runs_is_not_released(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page()})
    async with open_crawl(settings(site.url), dir=tmp_path) as running:
        said = CliRunner().invoke(crawler, ["release", str(tmp_path), "*"])
        assert "another process is crawling into this folder" in str(said.exception)
        running.stop()


@pytest.mark.parametrize(
    ("pattern", "regex", "text", "fits"),
    [
        ("trap:*", False, "trap:query", True),
        ("trap:q", False, "trap:query", False),
        ("*/shop*", False, "http://a.test/shop?x=1", True),
        ("http://[::1]/x?y=1", False, "http://[::1]/x?y=1", True),
        (r"/\d+$", True, "http://a.test/x/12", True),
        (r"/\d+$", True, "http://a.test/x/12/", False),
    ],
)
def test_patterns(pattern: str, regex: bool, text: str, fits: bool) -> None:
    assert matcher(pattern, regex=regex)(text) == fits


def test_what_is_wrong_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "frontier.db").write_bytes(b"")
    for args, said in (
        (["why", str(tmp_path / "none"), "a.test"], "holds no crawl"),
        (["release", str(tmp_path / "none"), "x"], "holds no crawl"),
        (["release", str(tmp_path), "(", "--regex"], "is not a regular expression"),
        (["why", str(tmp_path), "mailto:x"], "not a http or https URL"),
        (["why", str(tmp_path), "a.test"], "frontier version 0"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(args)
        error = capsys.readouterr().err
        assert ended.value.code in {2, 3}
        assert error.startswith("crawler: error: ")
        assert said in error
        assert error.count("\n") == 1


async def test_status_and_summary_tell_what_is_parked(site: Website, folder: Path) -> None:
    shown = CliRunner().invoke(crawler, ["status", str(folder)]).output
    assert re.search(r"braked  \d+ × trap:novelty, 1 × tooLong", shown)
    assert re.search(r"skipped  .*1 × excluded", shown)
    assert "same  1 page has the bytes" in shown
    assert "crawler release" in shown
    tree = json.loads(CliRunner().invoke(crawler, ["status", str(folder), "--json"]).output)
    assert tree["braked"]["tooLong"] == 1
    assert tree["counts"]["braked"] == sum(tree["braked"].values())
    assert tree["skipped"] == {"kind": 1, "excluded": 1, "outOfScope": 1}
    assert site.hits["/no/1"] == 0


def test_dry_run(tmp_path: Path) -> None:
    listed = tmp_path / "urls"
    listed.write_text("https://a.test/#x\nhttps://a.test/\nhttps://a.test/no\n")
    folder = tmp_path / "crawl"
    args = ["crawl", "-i", str(listed), "-O", str(folder), "-R", "/no", "--dry-run"]
    said = CliRunner().invoke(crawler, args).output.splitlines()
    assert said[:2] == [
        "visit   https://a.test/ [strip-fragment]",
        "visit   https://a.test/no",
    ]
    assert '# scope.exclude = ["/no"]  (--exclude)' in said
    assert said[-1] == "# robots.txt is asked and obeyed when it crawls"
    assert not folder.exists()
    plans = [
        json.loads(one)
        for one in CliRunner().invoke(crawler, [*args, "--json"]).output.split("\n")[:-1]
    ]
    assert [(plan["verdict"], plan["reason"]) for plan in plans] == [
        ("visit", ""),
        ("visit", ""),
    ]
    args += ["-s", "scope.follow=sitemap"]
    said = CliRunner().invoke(crawler, args).output.splitlines()
    assert said[0].startswith("skip    https://a.test/ [strip-fragment]  links of kind 'page'")


def test_dry_run_shows_what_is_no_url_and_says_so() -> None:
    said = CliRunner().invoke(
        crawler, ["crawl", "mailto:x", "a.test", "--dry-run"], standalone_mode=False
    )
    assert said.output.splitlines()[:2] == [
        "invalid mailto:x  not a http or https URL", "visit   https://a.test/ [whatwg]",
    ]  # fmt: skip
    assert said.return_value == 2


async def test_the_guide_s_commands_work(site: Website, tmp_path: Path) -> None:
    """Each command of the guide, in its order of use, on a crawl that has what it speaks of."""
    folder = tmp_path / "example"
    await crawl(settings(site.url), folder)
    commands = re.findall(r"^\$ crawler (.*)$", GUIDE.read_text("utf-8"), re.MULTILINE)
    assert len(commands) == 7
    for documented in commands:
        command = documented.replace("https://example.com/", site.url)
        command = command.replace("trap:calendar", "trap:*")
        words = [str(folder) if one == "example" else one for one in shlex.split(command)]
        if words[0] == "crawl" and "-O" in words:
            words += ["--fresh", "--fast"]
        ended = await process(*[one.replace("*/shop*", "tooLong") for one in words])
        assert ended.code == 0, (words, ended.err)
    assert lines(folder / "skipped.jsonl")
