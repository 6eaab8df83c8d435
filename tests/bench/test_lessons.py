"""The lessons of docs/concurrency.md run, show what they say, and quote what was measured."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.places import ROOT

from benchmarks.quoted_figures import MARKED, filled, quote
from crawler.bench import report_writer
from crawler.errors import ConfigError

EXAMPLES = ROOT / "docs" / "examples"
RESULTS = ROOT / "docs" / "benchmarks" / "results.json"


def run(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_linked_and_run_here() -> None:
    linked = set(re.findall(r"\(examples/(\w+\.py)\)", (ROOT / "docs/concurrency.md").read_text()))
    assert linked == {path.name for path in EXAMPLES.glob("*.py")}
    ours = Path(__file__).read_text()
    assert all(f'run("{name}"' in ours for name in linked)


def test_a_race_is_shown_and_cured() -> None:
    without, with_lock = run("race.py").splitlines()
    assert without.count("/same-page") == 2
    assert with_lock.count("/same-page") == 1


def test_a_deadlock_is_made_found_and_cured() -> None:
    said = run("deadlock.py")
    assert "stuck after 3 pages" in said
    assert said.count("await todo.put(depth + 1)") == 3, "the stacks say who waits for what"
    assert "no bound: finished: 73 pages" in said


def test_back_pressure_bounds_memory() -> None:
    unbounded, bounded = (int(line.split()[-4]) for line in run("backpressure.py").splitlines())
    assert bounded == 10
    assert unbounded > 100


def test_a_loop_that_parses_wakes_late() -> None:
    in_loop, in_process = run("loop_lag.py").splitlines()
    assert int(in_loop.split()[-3]) >= 180, "it burned 200 ms where nobody else could run"
    assert "ms late" in in_process


def test_the_gil_example_measures_both_parsers() -> None:
    said = run("gil.py", "1")
    assert re.findall(r"^(\w+): one thread", said, re.MULTILINE) == ["lexbor", "soup"]


def test_the_ways_to_look_into_a_program() -> None:
    said = run("stuck.py")
    assert re.search(r"asyncio: Executing <Task .*reader.* took 0\.\d+ seconds", said)
    assert "await answer.wait()" in said
    assert re.search(r'stuck\.py", line \d+ in main', said), "faulthandler's stack of the thread"


@pytest.mark.parametrize("name", ["docs/concurrency.md", "README.md"])
def test_quoted_figures_are_those_of_the_results(name: str) -> None:
    text = (ROOT / name).read_text()
    assert filled(text, report_writer.read(RESULTS)) == text, (
        f"python -m benchmarks.quoted_figures docs/benchmarks {name}"
    )


def test_every_claim_of_the_lessons_has_a_figure() -> None:
    marks = MARKED.findall((ROOT / "docs/concurrency.md").read_text())
    assert len(marks) > 25
    missing = [mark[1] for mark in marks if "not measured" in mark[2]]
    assert not missing


def test_a_figure_that_is_none_is_refused() -> None:
    results = report_writer.read(RESULTS)
    for words in ("speed latency-0 64 threads", "rate nowhere 64 threads", "rate latency-0",
                  "faster latency-0 64 threads", "peer-best latency-0 64 Scrapy"):  # fmt: skip
        with pytest.raises(ConfigError, match="not a figure"):
            quote(words.split(), results)
    assert quote(["rate", "latency-0", "9999", "threads"], results) == "(not measured)"
