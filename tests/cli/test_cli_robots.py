"""`crawler robots`, and what the door says about robots and contact."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import OpenSite
from helpers.commands import crawler
from helpers.website import busy, page, redirect, text

from crawler.cli.robots import lines
from crawler.engine.robots_fetcher import RobotsResponse
from crawler.policy.robots_txt import read_robots

FILE = """# of the house
User-agent: other
User-agent: Crawler
Disallow: /private/
Allow: /private/open$
Crawl-delay: 2

Sitemap: /sitemap.xml
User-agent: *
Disallow: /
"""


async def test_a_file_is_explained(website: OpenSite) -> None:
    site = await website({"/robots.txt": redirect("/r"), "/r": text(FILE)})
    told = await crawler("robots", site.url, "/private/x", "private/open", "/private/open?x")
    assert told.code == 8, told.err
    assert told.out.splitlines() == [
        f"GET {site.at('/robots.txt')}",
        f"  leads to {site.at('/r')}",
        "status   200: read",
        f"size     {len(FILE)} bytes, 10 lines",
        "agent    crawler",
        "group    crawler, named in line 3, with 2 rules",
        "      4  Disallow: /private/",
        "      5  Allow: /private/open$",
        "delay    2 s between requests",
        "sitemap  /sitemap.xml",
        site.at("/"),
        "  allowed: no rule of group 'crawler' matches",
        site.at("/private/x"),
        "  forbidden by line 4, Disallow: /private/",
        site.at("/private/open"),
        "  allowed by line 5, Allow: /private/open$",
        site.at("/private/open?x"),
        "  forbidden by line 4, Disallow: /private/",
    ]


async def test_for_another_agent_and_for_programs(website: OpenSite) -> None:
    site = await website({"/robots.txt": text(FILE)})
    told = await crawler("robots", site.at("/a"), "--agent", "stranger", "--json")
    assert told.code == 8
    tree = json.loads(told.out)
    assert tree["group"] == "*"
    assert tree["group_lines"] == [9]
    assert tree["urls"] == [{
        "url": site.at("/a"), "allowed": False, "line": 10, "rule": "Disallow: /",
        "why": "forbidden by line 10, Disallow: /",
    }]  # fmt: skip
    wrong = await crawler("robots", site.url, "--agent", "bot 2")
    assert wrong.code == 2
    assert "no product token" in wrong.err


async def test_what_cannot_be_had_is_said(website: OpenSite) -> None:
    site = await website({"/robots.txt": busy(9)})
    told = await crawler("robots", site.url)
    assert told.code == 8
    assert "status:503: everything is forbidden until there is an answer" in told.out
    site.put("/robots.txt", text("", 404))
    told = await crawler("robots", site.url)
    assert told.code == 0
    assert "404: no file: everything is allowed" in told.out


def test_many_rules_and_strangers_words_are_tamed() -> None:
    body = b"User-agent: *\n" + b"".join(b"Disallow: /%d\x1b[31m\n" % n for n in range(50))
    answer = RobotsResponse(200, body, ("http://h.test/robots.txt",))
    text = lines(answer, read_robots(200, body, "crawler"), "crawler", ["http://h.test/1\x1b[31m"])
    assert "         … 30 more rules" in text
    assert not any("\x1b" in line for line in text)


async def test_no_robots_is_loud(website: OpenSite, tmp_path: Path) -> None:
    site = await website({"/": page(), "/robots.txt": text("User-agent: *\nDisallow: /")})
    told = await crawler("crawl", site.url, "--fast", "--no-robots", "-O", str(tmp_path / "a"))
    assert told.code == 0
    assert "warning: --no-robots: robots.txt is not asked for" in told.err
    assert "robots  NOT obeyed: --no-robots" in told.err
    quiet = await crawler("crawl", site.url, "--fast", "--no-robots", "-O", str(tmp_path / "b"),
                          "--json")  # fmt: skip
    assert json.loads(quiet.out)["robots_obeyed"] is False
    assert site.hits["/robots.txt"] == 0


async def test_sitemap_only_wants_a_sitemap(website: OpenSite, tmp_path: Path) -> None:
    site = await website({"/": page(), "/a": page()})
    only = ("--sitemap-only", "--fast")
    told = await crawler("crawl", site.url, *only, "-O", str(tmp_path / "a"))
    assert told.code == 8, told.err
    assert site.hits["/"] == 0
    assert (tmp_path / "a" / "pages.jsonl").read_text() == ""
    site.put("/maps/all.xml", text(site.at("/a")))
    told = await crawler("crawl", site.at("/maps/all.xml"), *only, "-O", str(tmp_path / "b"))
    assert told.code == 0, told.err
    assert [site.hits[path] for path in ("/", "/a", "/maps/all.xml")] == [0, 1, 1]


async def test_strangers_want_a_contact(tmp_path: Path) -> None:
    told = await crawler(
        "crawl", "http://example.com/", "http://example.org/", "-O", str(tmp_path / "a")
    )
    assert told.code == 2
    assert told.err.startswith("crawler: error: --contact is missing: these seeds are on 2 ")
    assert not (tmp_path / "a").exists()
