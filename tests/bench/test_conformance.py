"""The conformance page is true: its table is the cases', its proofs exist, this crawler obeys."""

from __future__ import annotations

import re
import shlex

from conformance import BEGIN, DOC, END, judge, peers, table, wire_cases
from conftest import OpenSite
from helpers.commands import crawler
from helpers.places import TESTS
from helpers.website import page, text

GUIDE = DOC.parent / "guide" / "robots.md"


async def test_this_crawler_obeys_every_case_on_the_wire() -> None:
    cases = wire_cases()
    (ours,) = [peer for peer in peers(None) if peer.name == "crawler"]
    wrong = await judge(ours, cases)
    assert {case.rule: one for case, one in zip(cases, wrong, strict=True) if one} == {}


def test_the_judge_sees_who_does_not_obey() -> None:
    cases = wire_cases()[:3]
    shown = table(cases, {"good": [[], [], []], "bad": [["+/x"], [], ["-/a|b", "+/y", "+/z"]]})
    assert "| ✓ | ✗ asked for `/x` |" in shown
    assert r"✗ left out `/a\|b`, asked for `/y`, …" in shown
    assert "| **obeyed** | 3 of 3 | 1 of 3 |" in shown


def test_the_page_has_all_the_cases() -> None:
    shown = DOC.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    rows = [line.split(" | ") for line in shown.splitlines() if line.startswith("| §")]
    told = [(row[0].removeprefix("| §"), row[1]) for row in rows]
    assert told == [(case.section, case.rule.replace("|", "\\|")) for case in wire_cases()]
    assert {row[2].strip(" |") for row in rows} == {"✓"}


def test_every_proof_that_is_named_exists() -> None:
    named = re.findall(r"`(?:(test_\w+\.py)::|…)(test_\w+)`", DOC.read_text("utf-8"))
    assert len(named) > 10
    every = {path.name: path.read_text("utf-8") for path in TESTS.rglob("test_*.py")}
    every["test_frontier.py"] += (TESTS / "helpers" / "frontier_contract.py").read_text(
        "utf-8"
    )  # run there
    for file, name in named:
        texts = [every[file]] if file else every.values()
        assert any(f"def {name}(" in one for one in texts), name


async def test_the_guides_commands_run(website: OpenSite) -> None:
    site = await website({"/": page(), "/robots.txt": text("User-agent: *\nDisallow: /private")})
    commands = re.findall(r"^\$ crawler (.*)$", GUIDE.read_text("utf-8"), re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        words = [site.url if "://" in word else word for word in shlex.split(command)]
        told = await crawler(*words)
        assert told.code == (8 if "/private/report.html" in words else 0), told.err
        assert told.out
