"""What a limit leaves of a page is told everywhere; real pages meet no limit."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import turbohtml
from click.testing import CliRunner
from helpers.commands import crawler as process
from helpers.crawling import by_path, crawl, lines, settings
from helpers.reading import links, read, reader
from helpers.website import Website, page
from hypothesis import given
from hypothesis import strategies as st

from crawler.cli.main import crawler
from crawler.cli.why import tell
from crawler.parse import markup_limits
from crawler.policy.end_message import sentence
from crawler.report.build import build_report
from crawler.report.page import render

Open = Callable[..., Awaitable[Website]]

PLUGIN = """
from crawler import Follow

def extract(page):
    for number in range(10_002):
        yield Follow(f"/made/{number}")
"""


# ── told ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_page_with_too_many_links_is_told_everywhere(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page(links=["/a", "/b", "/c", "/d"]), "/a": page(), "/b": page()})
    folder = tmp_path / "crawl"
    code, _, said = await process(
        "crawl",
        site.url,
        "-O",
        str(folder),
        "--fast",
        "-s",
        "scope.max_links=2",
        "--report-skipped",
    )
    assert code == 0
    assert "finished; 1 page was not read whole: links were left out" in said
    assert "cut  pages not read whole: 1 tooManyLinks" in said
    assert "every link in scope was visited" not in said
    record = by_path(folder)["/"]
    assert (record["outcome"], record["reason"]) == ("done", "tooManyLinks")
    assert record["problems"] == ["4 links, the first 2 taken"]
    (skip,) = lines(folder / "skipped.jsonl")
    assert (skip["url"], skip["reason"]) == (site.url, "tooManyLinks")
    assert (
        "not read whole, links were left out: tooManyLinks"
        in dict(tell(folder, site.url, 0.0)[0])["outcome"]
    )
    assert "1 page was not read whole" in dict(tell(folder, site.at("/d"), 0.0)[0])["found"]
    shown = CliRunner().invoke(crawler, ["status", str(folder)]).output
    assert "1 page was not read whole" in shown
    tree = json.loads(CliRunner().invoke(crawler, ["status", str(folder), "--json"]).output)
    assert tree["counts"]["incomplete"] == 1
    assert tree["reasons"] == {"tooManyLinks": 1}
    facts = build_report(folder)
    assert [(bar.name, bar.number) for bar in facts.incomplete] == [("tooManyLinks", 1)]
    assert "1 page was not read whole" in render(facts)
    # the next run has nothing left to do, and does not say that nothing was left out
    code, _, said = await process("resume", str(folder))
    assert "finished; 1 page was not read whole: links were left out" in said


async def test_refusals_asked_for_later_have_it_too(website: Open, tmp_path: Path) -> None:
    site = await website({"/": page(links=["/a", "/b"]), "/a": page()})
    await crawl(settings(site.url, max_links=1), tmp_path / "crawl")
    config = settings(site.url, max_links=1, skipped=True)
    await crawl(config, tmp_path / "crawl", mode="resume")
    assert [one["reason"] for one in lines(tmp_path / "crawl" / "skipped.jsonl")] == [
        "tooManyLinks"
    ]


async def test_a_check_says_that_links_were_not_asked_for(website: Open) -> None:
    site = await website({"/": page(links=["/a", "/b"]), "/a": page()})
    _, said, _ = await process("check", site.url, "--fast", "-s", "scope.max_links=1")
    assert "1 page not read whole, links were left out" in said


def test_all_is_said_to_be_visited_only_when_it_was() -> None:
    def said(reason: str, pages: int) -> str:
        return sentence(reason, pending=0, left={}, incomplete=pages)

    assert said("finished", 0) == "finished: every link in scope was visited"
    assert said("finished", 3) == "finished; 3 pages were not read whole: links were left out"
    assert said("max-pages", 1).startswith("reached --max-pages; 1 page was not read whole")


def test_links_that_a_plugin_gives_beyond_its_limit(tmp_path: Path) -> None:
    (tmp_path / "made.py").write_text(PLUGIN)
    extract = read("<p>x", reader=reader((f"{tmp_path}/made.py:extract",)))
    assert extract.incomplete == "tooManyRecords"
    assert len(extract.found) == 10_000


# ── real pages meet no limit ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "around",
    [
        "<tr><td><svg><path d='M1 1'/><path/></svg><td>{}",
        "<p><font size=2>{}",
        "<p>{}<p>",
        "<div>{}",
        "<b>{}<i>",
        "<span><nobr>{}</span>",
        "<script>if (a<b && c<d) document.write('<div><div><ul>')</script>{}",
        "<!-- <div><div> -->{}",
        "<custom-element>{}",
        "<li><svg><g><g/><use href='#i'/></g>{}",
    ],
)
def test_a_page_keeps_all_its_links_whatever_stays_open(around: str) -> None:
    number = 6_000
    page = "".join(around.format(f"<a href=/p{each}>x</a>") for each in range(number))
    extract = read(f"<table>{page}" if "<td>" in around else page)
    assert links(extract) == [f"/p{each}" for each in range(number)]
    assert not extract.incomplete
    assert not extract.problems


def test_what_a_script_holds_is_no_markup() -> None:
    script = "if(i<n){" + "some words of a script that has no sign of an end " * 400 + "}"
    extract = read(f"<script>{script}</script>" + "<a href=/x>x</a>")
    assert links(extract) == ["/x"]
    assert not extract.problems


def test_a_large_page_is_read_to_its_end() -> None:
    row = (
        "<p>" + "words of a large page " * 20 + "<a href='/p{0}' title='page {0}' class=c>{0}</a>\n"
    )
    page = "".join(row.format(each) for each in range(15_000))
    assert len(page) > 6_000_000
    extract = read(page)
    assert len(links(extract)) == 15_000
    assert not extract.incomplete


# ── bounds of memory ─────────────────────────────────────────────────────────────────────────


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that pages of a test can reach."""
    monkeypatch.setattr(markup_limits, "LARGE", 0)
    monkeypatch.setattr(markup_limits, "MAX_TAGS", 5)
    monkeypatch.setattr(markup_limits, "MAX_ATTRIBUTES", 4)
    monkeypatch.setattr(markup_limits, "MAX_NULS", 2)


def bounded(text: str) -> tuple[str, list[str]]:
    reasons: list[str] = []
    return markup_limits.within_bounds(text, [], reasons), reasons


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("text", "kept", "reasons"),
    [
        ("<p></p>" * 5, "<p></p>" * 5, []),
        ("<p></p>" * 6, "<p></p>" * 5, ["tooManyTags"]),
        ("<!---->" * 6, "<!---->" * 5, ["tooManyTags"]),
        ("a < b, c </ d <1" * 9, "a < b, c </ d <1" * 9, []),
        ("<script>" + "<p>" * 9 + "</script><p>", "<script>" + "<p>" * 9 + "</script><p>", []),
        ("<SCRIPT>" + "<p>" * 9 + "</Script ><p>" * 9, "<SCRIPT>" + "<p>" * 9 + "</Script >"
         "<p></Script ><p></Script ><p></Script ><p></Script >", ["tooManyTags"]),
        ("<!--" + "<p>" * 9 + "-->" + "<p>" * 5, "<!--" + "<p>" * 9 + "-->" + "<p>" * 4,
         ["tooManyTags"]),
        ("<a b c d e>", "<a b c d e>", []),
        ("<a b c d e f>", "", ["tooManyAttributes"]),
        ("<a b='c d e f g h' i>", "<a b='c d e f g h' i>", []),
        ("<p a>" * 4 + "<p a='>'b>x", "<p a>" * 4, ["tooManyAttributes"]),
        ("<a b='>'c=\">\"d/e/f=g><p h>", "<a b='>'c=\">\"d/e/f=g><p h>"[:0], ["tooManyAttributes"]),
        ("\0\0\0x<p>", "x<p>", []),
    ],
)  # fmt: skip
def test_what_is_out_of_bounds_is_left_out(text: str, kept: str, reasons: list[str]) -> None:
    assert bounded(text) == (kept, reasons)


@given(
    st.lists(
        st.sampled_from(
            ["<p>", "</p>", "<a b", " c=d", " e='>'", ' f="x y"', "/", ">", "<br/>", "x", " ", "=",
             "<!--", "-->", "<svg>", "</svg>", "<é>", "< ", "<b g=h>"]
        ),
        max_size=40,
    ).map("".join)
)  # fmt: skip
def test_tags_and_attributes_are_counted_as_the_parser_finds_them(text: str) -> None:
    """No fewer than there are: a page within its bounds needs no more memory than they say."""
    tree = turbohtml.parse(text)
    made = {"html", "head", "body"}
    elements = [one for one in tree.iter_elements() if one.tag not in made]
    attributes = sum(len(dict(one.attrs)) for one in elements)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(markup_limits, "LARGE", 0)
        patch.setattr(markup_limits, "MAX_TAGS", len(elements) - 1)
        patch.setattr(markup_limits, "MAX_ATTRIBUTES", 10_000)
        formatting = {"a", "b", "p"}  # the parser makes some of them again
        if elements and not formatting & {one.tag for one in elements}:
            assert bounded(text)[1] == ["tooManyTags"]
        if attributes and not formatting & {one.tag for one in elements}:
            patch.setattr(markup_limits, "MAX_TAGS", 10_000)
            patch.setattr(markup_limits, "MAX_ATTRIBUTES", attributes - 1)
            assert bounded(text)[1] == ["tooManyAttributes"]
