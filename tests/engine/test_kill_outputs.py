"""Killed with every output on, and again in the middle of a recrawl: all files whole, all agree."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from helpers.crawling import records
from test_kill import command, finish, wait_for_records

from crawler.demo.process import DemoWeb
from crawler.frontier.sqlite.lookup import FrontierReader
from crawler.output.graph import read_edges
from crawler.report.crawl_diff import CrawlSide, compare

PAGES = 60

RULES = '[head.fields]\ntitle = { css = "title", required = true }\n'


def counted(folder: Path) -> int:
    path = folder / "pages.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def killed_and_resumed(
    args: tuple[str, ...], folder: Path, dice: random.Random, times: int
) -> None:
    """Start, kill at random moments, go on to the end."""
    process = command(*args)
    for _ in range(times):
        wait_for_records(folder, counted(folder) + dice.randrange(1, PAGES // 3), process)
        process.kill()
        process.communicate()
        process = command("resume", str(folder), "-q")
    assert finish(process) == 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("times", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_all_outputs_are_whole_and_agree(tmp_path: Path, times: int) -> None:
    folder, rules = tmp_path / "crawl", tmp_path / "rules.toml"
    rules.write_text(RULES)
    dice = random.Random(7)
    with DemoWeb(pages=PAGES, size=2500, latency=0.003, broken=0.05) as web:
        outputs = ("--rules", str(rules), "--text", "--save", "html")
        killed_and_resumed(
            ("crawl", web.url, "-O", str(folder), "--fast", "-q", *outputs), folder, dice, times
        )
        lines = records(folder)
        done = {one["url"] for one in lines if one["outcome"] == "done" and one["kind"] == "page"}
        assert len(lines) == len({line["url"] for line in lines})
        assert len(done) == PAGES
        found = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
        assert Counter(one["_url"] for one in found) == Counter(done)
        with FrontierReader(folder / "frontier.db") as book:
            edges = list(read_edges(folder / "graph.bin"))
            sources = [book.links([one.source])[one.source][0] for one in edges]
            by_url = {line["url"]: line["links_out"] for line in lines}
            assert len(set(sources)) == len(sources)
            assert set(sources) >= done  # and the sitemap
            assert all(
                len(one.keys) == by_url[url] for one, url in zip(edges, sources, strict=True)
            )
            assert all(book.url_of(key) for one in edges for key in one.keys)
        texts = list((folder / "text").rglob("*.md"))
        assert len(texts) == len(done)
        assert all(one.read_text().startswith("---\ntitle:") for one in texts)
        assert not list(folder.rglob("*.part"))
        assert (folder / "report.html").read_text("utf-8").rstrip().endswith("</html>")
        if times == 1:
            return  # the recrawl is killed in the long version
        before = len(lines)
        killed_and_resumed(("recrawl", str(folder), "-q"), folder, dice, times)
    again = [
        line
        for line in records(folder)[before:]
        if line["outcome"] == "unchanged" and line["kind"] == "page"
    ]
    assert {line["url"] for line in again} == done
    assert len(again) == len(done)
    changes = compare(CrawlSide(folder, 1), CrawlSide(folder, 2))
    assert (changes.number, changes.unchanged) == (0, PAGES)
