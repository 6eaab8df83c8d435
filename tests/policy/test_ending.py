"""The last sentence of a crawl: whole, or what was left, how many and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.crawling import crawl, settings
from helpers.website import Website, missing, page, redirect, reply, text
from hypothesis import given
from hypothesis import strategies as st

from crawler.cli.main import crawler
from crawler.cli.summary import CrawlEnding, ended
from crawler.frontier.sqlite.overview import peek
from crawler.policy.end_message import NO_PAGES, OUTSIDE, left_of, sentence
from crawler.records import Counts
from crawler.report.build import build_report
from crawler.report.page import render

Open = Callable[..., Awaitable[Website]]
WHOLE = "every link in scope was visited"

REASONS = st.sampled_from(
    [*OUTSIDE, "status:404", "status:503", "trap:repeats", "trap:query", "a-new-reason:x", "dns:a"]
)


@given(st.lists(st.tuples(REASONS, st.integers(0, 9))), st.integers(0, 3))
def test_whole_is_said_only_when_nothing_was_left(
    reasons: list[tuple[str, int]], pending: int
) -> None:
    left = left_of(reasons)
    wanted = Counter[str]()
    for reason, number in reasons:
        if reason.partition(":")[0] not in OUTSIDE:
            wanted[reason.partition(":")[0]] += number
    said = sentence("finished", pending=pending, left=left, folder="d")
    assert sum(left.values()) == wanted.total()
    assert (WHOLE in said) == (not wanted.total() and not pending)
    assert ("for a-new-reason" in said) == bool(wanted["a-new-reason"])
    assert "\n" not in said
    for reason in ("max-pages", "hosts-down", NO_PAGES):
        assert WHOLE not in sentence(reason, pending=pending, left=left)


@pytest.mark.parametrize(
    ("reasons", "words"),
    [
        ({"robotsTxt": 3}, "3 links in scope were not read: 3 forbidden by robots.txt"),
        ({"status:404": 1}, "1 link in scope was not read: 1 answered 404"),
        ({"status:407": 1}, "1 answered 407 (the proxy wants a login: http://USER:PASSWORD@HOST"),
        ({"status:500": 1}, "1 answered 500 (crawler retry 'my crawl')"),
        ({"too-large:9 bytes announced, 8 allowed": 2}, "2 larger than --max-body (--max-body)"),
        ({"trap:segments": 1, "trap:repeats": 1},
         "2 that look like a trap (crawler release 'my crawl' 'trap:*')"),
        ({"robotsUnreachable:timeout:total": 1, "robotsUnreachable:status:503": 2},
         ("2 on hosts whose robots.txt could not be had: status 503 (-s robots.patience=TIME), "
          "1 on hosts whose robots.txt could not be had: timeout")),
        ({"sitemapForeign": 1}, "1 sitemaps of another domain"),
        ({f"r{n}": 1 for n in range(9)}, "1 for r4, 4 for other reasons"),
    ],
)  # fmt: skip
def test_what_was_left_is_told_with_what_would_change_it(
    reasons: dict[str, int], words: str
) -> None:
    said = sentence("finished", pending=0, left=left_of(reasons.items()), folder="my crawl")
    assert words in said


@pytest.fixture
async def site(website: Open) -> Website:
    return await website(
        {
            "/": page(links=["/a", "/gone", "/large", "/deep", "/secret", "http://else.test/"]),
            "/a": page(),
            "/gone": missing,
            "/large": reply(b"x" * 5000),
            "/deep": page(links=["/deeper"]),
            "/robots.txt": text("User-agent: *\nDisallow: /secret"),
        }
    )


async def test_summary_report_and_status_say_the_same(site: Website, tmp_path: Path) -> None:
    config = settings(site.url, max_depth=1, max_body=4000)
    running = await crawl(config, tmp_path)
    counts = counts_of(tmp_path)
    assert counts.left == {"tooDeep": 1, "too-large": 1, "robotsTxt": 1, "status:404": 1}
    ending = CrawlEnding(running.finish_reason, tmp_path, running.tally.snapshot(), counts)
    said = ended(ending)
    assert said.startswith("finished; 4 links in scope were not read: ")
    shown = CliRunner().invoke(crawler, ["status", str(tmp_path)]).output
    assert f"state  {said}\n" in shown
    assert f"pages  {counts.pages} read" in shown
    (tmp_path / "summary.json").write_text('{"finish_reason": "finished"}')
    facts = build_report(tmp_path)
    assert facts.left == counts.left
    assert "Finished; 4 links in scope were not read: " in render(facts)


def counts_of(folder: Path) -> Counts:
    return peek(folder / "frontier.db").counts


async def test_a_whole_site_is_said_to_be_whole(website: Open, tmp_path: Path) -> None:
    site = await website(
        {
            "/": page(links=["/a", "/r", "http://else.test/"], head="<link rel=icon href=/i>"),
            "/a": page(),
            "/r": redirect("/a"),
        }
    )
    running = await crawl(settings(site.url), tmp_path)
    counts = counts_of(tmp_path)
    assert counts.left == {}
    assert WHOLE in sentence(running.finish_reason, pending=counts.pending, left=counts.left)
