"""Rules and plugins that fail, or match nothing, on page after page: who is told, and how."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from helpers.crawling import records
from helpers.redis_server import servers
from helpers.serving import Client, service
from helpers.website import Website, page, reply
from hypothesis import given
from hypothesis import strategies as st

from crawler.cli.exits import Exit, SeedOutcome, exit_code
from crawler.engine.stats import StatsCollector
from crawler.parse.plugins import Plugin, PluginPage
from crawler.policy.plugin_stats import MAX_ERRORS, PluginStats, add_page, joined, sentences
from crawler.records import PluginRun

Open = Callable[..., Awaitable[Website]]

PLUGINS = """
import sys

def always(page):
    return [{"x": {}["x"]}]

def later(page):
    yield {"title": page.title}
    raise KeyError("late")

def some(page):
    if page.url.endswith("/a"):
        raise ValueError("only here")

def leaves(page):
    sys.exit("gone")

class Mute(Exception):
    def __str__(self):
        raise TypeError

def mute(page):
    raise Mute

def broken_text(page):
    raise ValueError("\\udcff\\x1b[31m")

def interrupts(page):
    raise KeyboardInterrupt

class Odd(BaseException):
    pass

def odd(page):
    raise Odd("x")

def huge(page):
    yield {"x": "x" * 2_000_000}

def quiet(page):
    return None
"""

RULES = """
[price]
fields = { price = ".price" }

[nowhere]
match = "/never/"
fields = { title = "h1" }

[{name}]
match = "/[ab]$"
[{name}.fields]
title = "title"
sku = {{ css = ".sku", required = true }}
"""

PAGES = 3


async def shop(website: Open) -> Website:
    pages = {"/a": page("A"), "/b": page("B"), "/c.txt": reply("text", mime="text/plain")}
    return await website({"/": page("Home", list(pages)), **pages})


async def crawler(*words: str) -> tuple[int, str, str]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "crawler", *words, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        said, errors = await child.communicate()
    return child.returncode or 0, said.decode(), errors.decode()


def rows(text: str) -> list[str]:
    return [
        line.strip().removeprefix("extraction  ")
        for line in text.splitlines()
        if line.strip().startswith("extraction  ")
    ]


@pytest.fixture
def plug(tmp_path: Path) -> str:
    file = tmp_path / "plug.py"
    file.write_text(PLUGINS)
    return str(file)


async def test_a_plugin_that_always_fails_is_told_once(
    website: Open, tmp_path: Path, plug: str
) -> None:
    site = await shop(website)
    out = tmp_path / "out"
    words = ("--fast", "--processes", "1", "--plugin", f"{plug}:always")
    code, _, errors = await crawler("crawl", site.url, "-O", str(out), *words)
    told = f"plugin {plug}:always failed on 3 of 3 pages: KeyError: 'x'"
    assert rows(errors) == [told]
    assert code == 20
    assert len(re.findall(r"WARNING plugin .* failed on http.*: KeyError: 'x'", errors)) == 1
    assert "Traceback" not in errors
    summary = json.loads((out / "summary.json").read_text())
    assert [(one["kind"], one["pages"], one["failed"]) for one in summary["plugins"]] == [
        ("plugin", 3, 3)
    ]
    assert "failed on 3 of 3 pages" in (out / "report.html").read_text()
    assert sum(one["outcome"] == "done" for one in records(out)) == 4

    code, said, errors = await crawler(
        "crawl", site.url, "-O", str(tmp_path / "verbose"), "-v", "--json", *words
    )
    assert code == 20
    assert errors.count("Traceback (most recent call last)") == 1
    assert 'return [{"x": {}["x"]}]' in errors
    assert json.loads(said)["plugins"][0]["errors"] == {"KeyError: 'x'": 3}

    code, _, errors = await crawler("crawl", site.url, "-O", str(tmp_path / "q"), "-q", *words)
    assert (code, errors) == (20, f"crawler: error: {told}\n")


async def test_each_way_to_fail_is_one(website: Open, tmp_path: Path, plug: str) -> None:
    site = await shop(website)
    names = (
        "later", "some", "leaves", "mute", "broken_text", "interrupts", "odd", "huge", "quiet",
    )  # fmt: skip
    words = [word for name in names for word in ("--plugin", f"{plug}:{name}")]
    code, said, errors = await crawler(
        "crawl", site.url, "-O", str(tmp_path / "out"), "--fast", "--processes", "1", *words,
        "--json",
    )  # fmt: skip
    assert code == 20, errors
    sums = {one["name"].rpartition(":")[2]: one for one in json.loads(said)["plugins"]}
    assert {name: (one["failed"], one["matched"]) for name, one in sums.items()} == {
        "later": (3, 3), "some": (1, 0), "leaves": (3, 0), "mute": (3, 0), "broken_text": (3, 0),
        "interrupts": (3, 0), "odd": (3, 0), "huge": (3, 0), "quiet": (0, 0),
    }  # fmt: skip
    assert list(sums["leaves"]["errors"]) == ["SystemExit: gone"]
    assert list(sums["mute"]["errors"]) == ["Mute: "]
    assert list(sums["huge"]["errors"]) == ["gave more than is kept of one page"]
    assert errors.count("WARNING") == 7
    assert "\x1b" not in errors


async def test_a_plugin_that_fails_on_some_pages_ends_well(
    website: Open, tmp_path: Path, plug: str
) -> None:
    site = await shop(website)
    out = str(tmp_path / "out")
    code, _, errors = await crawler("crawl", site.url, "-O", out, "--fast",
                                    "--plugin", f"{plug}:some")  # fmt: skip
    assert code == 0
    assert rows(errors) == [f"plugin {plug}:some failed on 1 of 3 pages: ValueError: only here"]


async def test_rules_that_match_nothing_or_only_what_is_unfit(
    website: Open, tmp_path: Path
) -> None:
    site = await shop(website)
    rules = tmp_path / "rules.toml"
    nothing = RULES.partition("[{name}]")[0]
    rules.write_text(nothing)
    words = ("--fast", "--rules", str(rules))
    code, _, errors = await crawler("crawl", site.url, "-O", str(tmp_path / "1"), *words)
    told = [
        "rule price matched on 0 of 3 pages",
        "rule nowhere matched on 0 of 3 pages: its match fits none of their URLs",
    ]
    assert (code, rows(errors)) == (0, told)
    rules.write_text(nothing + RULES.removeprefix(nothing).format(name="sku"))
    code, _, errors = await crawler("crawl", site.url, "-O", str(tmp_path / "2"), *words)
    unfit = "rule sku failed on 2 of 2 pages that its match fits: no sku"
    assert (code, rows(errors)) == (20, [*told, unfit])
    rules.write_text('[p]\n[p.fields]\ntitle = "title"\n')
    code, _, errors = await crawler("crawl", site.url, "-O", str(tmp_path / "3"), *words)
    assert (code, rows(errors)) == (0, [])


@pytest.mark.timeout(120)
async def test_several_loops_sum_up(
    website: Open, tmp_path: Path, plug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = servers()
    if not found:
        pytest.skip("no Redis or Valkey on this machine")
    places = {str(Path(one).parent) for one in found.values()}
    monkeypatch.setenv("PATH", os.pathsep.join([*places, os.environ["PATH"]]))
    site = await shop(website)
    code, _, errors = await crawler(
        "crawl", site.url, "-O", str(tmp_path / "out"), "--loops", "2", "--fast",
        "--processes", "1", "--plugin", f"{plug}:always",
    )  # fmt: skip
    assert rows(errors) == [f"plugin {plug}:always failed on 3 of 3 pages: KeyError: 'x'"], errors
    assert code == 20


async def test_a_job_tells_it_too(website: Open, tmp_path: Path, plug: str) -> None:
    pytest.importorskip("starlette")
    site = await shop(website)
    defaults = {"parse": {"plugins": [f"{plug}:always"], "processes": 1}}
    async with service(tmp_path / "jobs", defaults=defaults) as opened, Client(opened.url) as ask:
        job = await ask.start(site.url, pace={"fast": True})
        ended = await ask.until(job, "finished", "failed")
    assert ended["state"] == "finished"
    told = f"plugin {plug}:always failed on 3 of 3 pages: KeyError: 'x'"
    assert ended["totals"]["plugins"] == [told]


# ── the sums ─────────────────────────────────────────────────────────────────────────────────

OUTCOMES = st.sampled_from(
    [PluginRun("rule", "r", fits=False), PluginRun("rule", "r"), PluginRun("rule", "r", took=True),
     PluginRun("rule", "r", error="a"), PluginRun("rule", "r", took=True, error="b")]
)  # fmt: skip


def summed(pages: Sequence[Sequence[PluginRun]]) -> list[PluginStats]:
    sums: list[PluginStats] = []
    for one in pages:
        add_page(sums, one)
    return sums


@given(st.lists(st.tuples(OUTCOMES, OUTCOMES)), st.data())
def test_it_does_not_matter_which_process_saw_a_page(
    pages: list[tuple[PluginRun, PluginRun]], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(pages)))
    whole = summed(pages)
    assert list(joined([summed(pages[:at]), summed(pages[at:])])) == whole
    for one in whole:
        assert one.failed <= one.fitting <= one.pages
        assert sum(one.errors.values()) == one.failed


def test_errors_are_told_apart_up_to_a_number() -> None:
    sums = summed([[PluginRun("plugin", "p", error=f"KeyError: {n}")] for n in range(1000)])
    assert len(sums[0].errors) == MAX_ERRORS + 1
    assert sum(sums[0].errors.values()) == 1000
    (said,) = sentences(sums)
    assert said.endswith("pages: KeyError: 0 (and other errors)")


def test_the_exit_code_of_what_always_failed() -> None:
    def code(reason: str = "finished", pages: int = 3, **values: Any) -> Exit:
        one = PluginStats("plugin", "p", pages=3, fitting=3, **values)
        shot = msgspec.structs.replace(StatsCollector().snapshot(), pages=pages, plugins=(one,))
        return exit_code(reason, shot, [SeedOutcome.READ] if pages else [SeedOutcome.ERROR])

    assert code(failed=3) is Exit.PLUGIN
    assert code(failed=2) is code() is Exit.OK
    assert code("interrupted", failed=3) is Exit.INTERRUPTED
    assert code("max-pages", failed=3) is Exit.PLUGIN
    assert code(pages=0) is Exit.SERVER


def test_a_traceback_is_handed_on_once() -> None:
    def fails(_: PluginPage) -> list[Any]:
        raise RuntimeError("why")

    plugin = Plugin("p", fails)
    first, second = (plugin.run(PluginPage("http://a.test/", "", "", "", ()))[2] for _ in "12")
    assert first.error == second.error == "RuntimeError: why"
    assert "in fails" in first.traceback
    assert "in run" not in first.traceback
    assert second.traceback == ""
