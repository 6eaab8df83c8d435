"""Who runs a job, on a service whose crawls are shared among workers (`frontier = redis://…`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crawler.service.jobs.job import Job, JobKind, JobState
from crawler.service.jobs.runner import LocalRunner, RunnerTable

ELSEWHERE = {"frontier": {"url": "redis://127.0.0.1:1/0"}}
"""Nothing listens there: who runs a job is told without asking it."""


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("nothing is opened to tell who runs a job")


def job(kind: JobKind, config: dict[str, Any]) -> Job:
    return Job("0123456789ab", 1, "a", "me", JobState.QUEUED, "", config, (), 0.0, kind=kind)


@pytest.mark.parametrize("config", [{}, ELSEWHERE])
def test_a_download_runs_here_wherever_crawls_run(config: dict[str, Any], tmp_path: Path) -> None:
    here = LocalRunner(never)
    runner = RunnerTable(here, tmp_path).runner_for(job(JobKind.DOWNLOAD, config))
    assert runner is here


def test_a_crawl_runs_where_its_frontier_is(tmp_path: Path) -> None:
    pytest.importorskip("redis")
    here = LocalRunner(never)
    runners = RunnerTable(here, tmp_path)
    shared = runners.runner_for(job(JobKind.CRAWL, ELSEWHERE))
    assert shared is not here
    assert runners.runner_for(job(JobKind.CRAWL, ELSEWHERE)) is shared
    assert runners.runner_for(job(JobKind.CRAWL, {})) is here
