"""The records of several workers as one list: the rule of `crawler merge`, page by page."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.errors import FrontierError
from crawler.export.merge_crawls import merge
from crawler.service.cluster import output_folders, worker_outputs

JOB = "0123456789ab"

RECORDS = st.lists(
    st.tuples(
        st.integers(0, 2),  # worker
        st.integers(0, 6),  # URL
        st.sampled_from(["done", "failed", "moved"]),
    ),
    max_size=30,
)
"""In the order of their fetching."""


class Crew:
    """Workers' folders, and the job's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.shares = root / "shares"
        self.job = root / "jobs" / JOB
        self.job.mkdir(parents=True)
        self._clock = 0

    def share(self, worker: int) -> Path:
        folder = self.shares / f"w{worker}" / JOB
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / "worker.json").write_text(json.dumps({"worker": f"n{worker}", "job": JOB}))
        return folder

    def write(self, worker: int, url: int, outcome: str) -> None:
        self._clock += 1
        record = {
            "url": f"https://example.com/{url}", "outcome": outcome, "status": 200 + url,
            "fetched_at": f"2026-01-01T00:00:{self._clock:02d}Z",
        }  # fmt: skip
        with (self.share(worker) / "pages.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")

    def marks(self) -> dict[str, int]:
        """All that is written is committed."""
        return {
            f"n{path.parent.parent.name[1:]}": path.stat().st_size
            for path in self.shares.glob(f"*/{JOB}/pages.jsonl")
        }

    def take_in(self) -> None:
        worker_outputs.update_index(self.job, self.shares, self.marks())

    def listed(self, limit: int, **rule: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            some, after = worker_outputs.pages(self.job, after=after, limit=limit, **rule)
            found += some
        return found


def by_url(records: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {one["url"]: one for one in records}
    assert len(found) == len(records), "a URL twice"
    return found


@settings(max_examples=25, deadline=None)  # each one syncs files
@given(records=RECORDS, looks=st.sets(st.integers(0, 29)), limit=st.integers(1, 9))
def test_however_it_is_taken_in_it_is_what_merge_makes(
    records: list[tuple[int, int, str]], looks: set[int], limit: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        crew = Crew(Path(folder))
        for number, record in enumerate(records):
            crew.write(*record)
            if number in looks:
                crew.take_in()
        crew.take_in()
        assert crew.listed(limit) == crew.listed(1000)
        found = by_url(crew.listed(limit))
        if records:
            merge(Path(folder) / "merged", [str(path) for path in crew.shares.glob(f"*/{JOB}")])
            lines = (Path(folder) / "merged" / "pages.jsonl").read_text().splitlines()
            assert found == by_url([json.loads(line) for line in lines])
        assert worker_outputs.merge_outputs(crew.job) == len(found)
        written = (crew.job / "pages.jsonl").read_text().splitlines()
        assert by_url([json.loads(line) for line in written]) == found
        failed = crew.listed(limit, outcomes=("failed",))
        assert by_url(failed) == {u: one for u, one in found.items() if one["outcome"] == "failed"}
        assert len(crew.listed(limit, statuses=(203,))) == ("https://example.com/3" in found)


def test_what_is_not_committed_is_not_shown_and_what_is_torn_waits(tmp_path: Path) -> None:
    crew = Crew(tmp_path)
    crew.write(0, 1, "done")
    marks = crew.marks()
    crew.write(0, 2, "done")
    worker_outputs.update_index(crew.job, crew.shares, marks)
    assert [one["url"] for one in crew.listed(9)] == ["https://example.com/1"]
    # A file system shows less than the server knows to be committed: the rest comes later.
    path = crew.share(0) / "pages.jsonl"
    marks, whole = crew.marks(), path.read_bytes()
    path.write_bytes(whole[:-5])
    worker_outputs.update_index(crew.job, crew.shares, marks)
    assert len(crew.listed(9)) == 1
    path.write_bytes(whole)
    worker_outputs.update_index(crew.job, crew.shares, marks)
    assert len(crew.listed(9)) == 2


def test_a_share_that_is_gone_is_said(tmp_path: Path) -> None:
    crew = Crew(tmp_path)
    crew.write(0, 1, "done")
    crew.take_in()
    output_folders.delete_outputs(crew.shares, JOB)
    with pytest.raises(FrontierError, match="a worker's folder is missing"):
        crew.listed(9)


def test_long_lines_and_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_outputs, "READ_BYTES_MAX", 100)  # less than one record
    crew = Crew(tmp_path)
    for url in range(5):
        crew.write(0, url, "done")
    crew.take_in()
    assert len(crew.listed(2)) == 5
