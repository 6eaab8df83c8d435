"""The report: complete, escaped, self-contained, and true to the crawl it tells of."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Awaitable, Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jinja2
import pytest
from click.testing import CliRunner
from helpers.crawling import crawl, settings
from helpers.website import Website, busy, page, redirect, reply, text

from crawler.cli.main import crawler
from crawler.errors import ConfigError, FatalError
from crawler.report import page as report_page
from crawler.report.broken import broken_in
from crawler.report.build import build_report
from crawler.report.page import render, write_report
from crawler.report.page import templates as report_templates
from crawler.report.page_records import PageLine, PageRecords

Open = Callable[..., Awaitable[Website]]

EVIL = "<script>alert(1)</script>&\"'"


async def odd_site(website: Open) -> Website:
    return await website(
        {
            "/robots.txt": text("User-agent: *\nDisallow: /private\nCrawl-delay: 0.01\n"),
            "/": page("Home", ["/a", "/b", "/gone", "/old", "/private/x", "/img.png", EVIL]),
            "/a": page("A", ["/gone", "/twin", "/circle", "/x/x/x/x/x/"]),
            "/b": page("A", ["/gone", "/old", "/down", "http://elsewhere.test/"]),
            "/twin": reply("<p>the same"),
            "/twin2": reply("<p>the same"),
            "/old": redirect("/older", 301),
            "/older": redirect("/vanished"),
            "/circle": redirect("/circle2"),
            "/circle2": redirect("/circle"),
            "/down": busy(99, status=500),
            "/vanished": page(status=410),
        }
    )


async def test_broken_links_name_every_page_that_links_to_them(
    website: Open, tmp_path: Path
) -> None:
    site = await odd_site(website)
    await crawl(settings(site.url, retries=0), tmp_path)
    number, found = broken_in(tmp_path)
    by_path = {one.url.removeprefix(site.url): one for one in found}
    assert number == len(found)
    assert {source.url for source in by_path["gone"].sources} == {
        site.url, site.at("/a"), site.at("/b")
    }  # fmt: skip
    assert by_path["gone"].pages == 3
    assert (by_path["down"].status, by_path["down"].reason) == (500, "status:500")
    through = {(source.url, source.through) for source in by_path["vanished"].sources}
    assert through == {(site.url, site.at("/old")), (site.at("/b"), site.at("/old"))}
    _, others = broken_in(tmp_path, accept=[404, 410, 500])
    assert {one.url.removeprefix(site.url) for one in others} <= {"circle", "circle2"}


async def test_without_a_graph_the_first_page_is_named(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page(links=["/gone", "/b"]), "/b": page(links=["/gone"])})
    await crawl(settings(site.url, graph=False), tmp_path)
    _, (only,) = broken_in(tmp_path)
    assert [source.url for source in only.sources] == [site.url]


async def test_a_host_that_is_gone_is_a_broken_link(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page(links=["http://nowhere.invalid/x"])})
    await crawl(settings(site.url, scope="any", retries=0), tmp_path)
    _, (only,) = broken_in(tmp_path)
    assert (only.url, only.reason) == ("http://nowhere.invalid/x", "dns:nowhere.invalid")


async def test_the_report_tells_what_happened(website: Open, tmp_path: Path) -> None:
    site = await odd_site(website)
    await crawl(settings(site.url, retries=0), tmp_path)
    facts = build_report(tmp_path)
    names = {bar.name: bar.number for bar in facts.statuses}
    assert names == {"200": 4, "301": 1, "302": 3, "404": 3, "410": 1, "500": 1}
    assert {bar.name: bar.number for bar in facts.failures} == {
        "status:404": 3, "status:410": 1, "status:500": 1, "redirect:loop": 2
    }  # fmt: skip
    skipped = {bar.name for bar in facts.skipped}
    assert {"robotsTxt", "outOfScope", "trap:repeats"} <= skipped
    assert facts.traps[0].name.endswith("trap:repeats")
    assert sum(one.visits for one in facts.slices) == 13
    assert facts.hosts[0].crawl_delay == 0.01
    assert facts.hosts[0].p50 is not None
    ends = {chain.urls[0].removeprefix(site.url): chain.end for chain in facts.chains}
    assert ends == {"old": "status:410", "circle": "loop"}
    page_text = write_report(tmp_path).read_text("utf-8")
    assert "trap:repeats" in page_text
    assert page_text.count(site.at("/gone")) >= 2


async def test_pages_with_the_same_body_are_twins(website: Open, tmp_path: Path) -> None:
    site = await website(
        {"/": page(links=["/1", "/2"]), "/1": reply("<p>same"), "/2": reply("<p>same")}
    )
    await crawl(settings(site.url), tmp_path)
    facts = build_report(tmp_path)
    assert (facts.twins_groups, facts.twins_pages) == (1, 2)
    assert set(facts.twins[0].urls) == {site.at("/1"), site.at("/2")}


class Elements(HTMLParser):
    """Collects what a page would load, and whether tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.loads += [tag] if tag in {"script", "link", "img", "iframe", "object"} else []
        self.loads += [name for name in values if name == "src" or name.startswith("on")]
        if tag not in {"meta", "rect"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "rect":
            assert self.open.pop() == tag, tag


async def test_the_page_is_self_contained_and_everything_in_it_escaped(
    website: Open, tmp_path: Path
) -> None:
    site = await website(
        {"/": page(links=["/<script>alert(1)</script>"]), "/robots.txt": text("User-agent: *\n")}
    )
    folder = tmp_path / "<b>bold</b>"
    await crawl(settings(site.url), folder)
    facts = build_report(folder)
    html = render(facts)
    reader = Elements()
    reader.feed(html)
    assert (reader.loads, reader.open) == ([], [])
    assert "<b>bold" not in html
    assert "url(" not in html
    assert "@import" not in html


def test_lines_are_read_on_from_where_they_ended(tmp_path: Path) -> None:
    path = tmp_path / "pages.jsonl"
    one = b'{"url": "http://a.test/1", "outcome": "done", "bytes_body": 3}\n'
    lines = PageRecords()
    lines.read_file(path)  # not there yet
    for content, number in ((one + one[:20], 1), (one * 2, 2), (one * 5, 5), (one * 5, 5)):
        path.write_bytes(content)
        lines.read_file(path)
        assert (lines.bytes_body, lines.mimes.total()) == (3 * number, number)
    path.write_bytes(one * 5 + b"what?\n")
    with pytest.raises(FatalError, match=r"pages\.jsonl:6: "):
        lines.read_file(path)


def test_redirects_that_are_no_addresses_are_not_links() -> None:
    lines = PageRecords()
    lines.add(PageLine("http://a.test/x", "moved", "redirect:not http", "javascript:alert(1)"))
    (chain,), number = lines.chains()
    assert (chain.urls[1], number) == ("javascript:alert(1)", 1)
    assert re.search(r"redirect", chain.end)


def test_a_folder_without_a_crawl_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no crawl"):
        write_report(tmp_path)


async def test_a_crawl_that_was_killed_before_its_first_page_has_a_report(
    website: Open, tmp_path: Path
) -> None:
    site = await website({"/": page()})
    await crawl(settings(site.url), tmp_path)
    (tmp_path / "pages.jsonl").unlink()
    (tmp_path / "graph.bin").unlink()
    (tmp_path / "crawl.toml").unlink()
    html = render(build_report(tmp_path))
    assert "Unknown: the crawl wrote no pages.jsonl" in html


async def test_the_command_writes_the_report_and_lists_what_is_broken(
    website: Open, tmp_path: Path
) -> None:
    site = await website({"/": page(links=["/gone"])})
    await crawl(settings(site.url), tmp_path)
    result = CliRunner().invoke(crawler, ["report", str(tmp_path)])
    assert result.output.strip() == str(tmp_path / "report.html")
    result = CliRunner().invoke(crawler, ["report", str(tmp_path), "--broken"])
    assert site.at("/gone") in result.output
    result = CliRunner().invoke(crawler, ["report", str(tmp_path), "--json"])
    assert '"broken_number":1' in result.output


# ── templates ────────────────────────────────────────────────────────────────────────────────


def test_templates_are_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    compiled: list[str | None] = []

    class Counting(jinja2.Environment):
        def compile(self, source: Any, name: Any = None, *args: Any, **kwargs: Any) -> Any:
            compiled.append(name)
            return super().compile(source, name, *args, **kwargs)

    monkeypatch.setattr(jinja2, "Environment", Counting)
    fresh = report_templates.__wrapped__
    name = "style.html.jinja"
    plain = fresh().get_template(name).render()  # there is no folder to keep it in
    assert compiled == [name]
    place = Path(importlib.util.cache_from_source(report_page.__file__)).parent
    place.mkdir(parents=True)
    assert fresh().get_template(name).render() == plain
    (kept,) = place.iterdir()
    assert compiled == [name] * 2
    assert fresh().get_template(name).render() == plain
    assert compiled == [name] * 2  # from the folder
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert fresh().get_template(name).render() == plain
    assert compiled == [name] * 2  # what is not to be written may be read
    kept.write_bytes(kept.read_bytes()[:-20])
    before = kept.read_bytes()
    assert fresh().get_template(name).render() == plain
    assert compiled == [name] * 3
    assert kept.read_bytes() == before
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setitem(report_page.TEMPLATE_OPTIONS, "trim_blocks", False)
    fresh().get_template(name)
    assert compiled == [name] * 4  # what is damaged or was made with other settings is not taken
