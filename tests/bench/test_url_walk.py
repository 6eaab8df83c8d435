"""The walk of one URL through the code, recorded in a small crawl."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from benchmarks import url_walk
from benchmarks.url_walk import CallRecord, ProcessWalk, UrlWalk


def process(*walk: tuple[str, str]) -> ProcessWalk:
    files = tuple(dict.fromkeys(file for file, _ in walk))
    return ProcessWalk(calls=len(walk), resumes=1, busy_calls=1.5, files=files, walk=walk)


def test_a_crawl_is_recorded_in_both_processes() -> None:
    walk = url_walk.measure(pages=20, pages_alone=14)
    assert {"fetch/fetcher.py", "engine/engine.py", "output/jsonl.py"} <= set(walk.main.files)
    assert "parse/reader.py" in walk.parse.files
    assert "parse/reader.py" not in walk.main.files
    order = walk.main.files
    assert order.index("fetch/fetcher.py") < order.index("output/jsonl.py")
    assert 50 < walk.main.busy_calls < 400
    assert 30 < walk.parse.busy_calls < 400
    assert walk.parse.calls == len(walk.parse.walk) > 20
    assert not any(function.endswith("<listcomp>") for _, function in walk.main.walk)


def test_the_report_counts_calls_by_file() -> None:
    walk = UrlWalk(
        main=process(("a.py", "f"), ("b.py", "g"), ("a.py", "f")), parse=process(("b.py", "h"))
    )
    assert (walk.calls, walk.busy_calls, walk.files) == (4, 3.0, ("a.py", "b.py"))
    assert walk.within_target()
    report = "\n".join(walk.lines())
    assert "     2  a.py: f ×2\n     1  b.py: g\n" in report
    assert "both: 4 calls, 2 files (target: 25); in a busy crawl 3.0 calls" in report


@pytest.mark.parametrize(("busy_calls", "code"), [(10.0, 0), (400.0, 1)])
def test_the_exit_code_says_whether_the_target_is_met(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    busy_calls: float,
    code: int,
) -> None:
    part = msgspec.structs.replace(process(("a.py", "f")), busy_calls=busy_calls)
    monkeypatch.setattr(url_walk, "measure", lambda *_, **__: UrlWalk(main=part, parse=part))
    assert url_walk.main(["--json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert (found["calls"], found["files"], found["busy_calls"]) == (2, 1, 2 * busy_calls)
    assert found["main"]["walk"] == [["a.py", "f"]]


def test_a_crawl_that_fails_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "crawler").mkdir()
    (tmp_path / "crawler" / "__init__.py").touch()
    (tmp_path / "crawler" / "__main__.py").write_text("raise SystemExit('no such crawl')", "utf-8")
    assert url_walk.main([str(tmp_path)]) == 2
    assert "no such crawl" in capsys.readouterr().err


def test_records_are_read_without_the_start_of_the_process(tmp_path: Path) -> None:
    lines = [json.dumps({"walk": [["a.py", name]], "resumes": 0}) for name in ("import", "f")]
    (tmp_path / "main-1.jsonl").write_text("\n".join(lines), "utf-8")
    assert url_walk._records(tmp_path, "main") == [CallRecord((("a.py", "f"),), 0)]
