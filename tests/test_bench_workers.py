"""What `make bench-workers` prints: a URL's memory on a real server, crawls really compared."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from redis_server import servers

from crawler.bench.queue_memory import found, table, weigh
from crawler.bench.workers import Cell, Trial, main, told


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server that tests use, where a crawl looks for one."""
    known = servers()
    if not known:
        pytest.skip("no Redis or Valkey on this machine")
    places = {str(Path(one).parent) for one in known.values()}
    monkeypatch.setenv("PATH", os.pathsep.join([*places, os.environ["PATH"]]))


@pytest.mark.usefixtures("path")
async def test_a_url_is_weighed(caplog: pytest.LogCaptureFixture) -> None:
    memory = await weigh(20_000, 100, 20_000)
    assert (memory.urls, memory.finished) == (20_000, 20_000)
    assert memory.empty < memory.after < memory.pending
    assert 60 < memory.each_pending < 1000, "a URL of 60 characters lies there"
    assert memory.each_finished < memory.each_pending - 40, "… and is gone when it is finished"
    assert "20,000 URLs" in table(memory)
    assert "appendonly" not in caplog.text


def test_urls_differ_and_are_as_long_as_said() -> None:
    urls = [found(number, 7)[0] for number in range(100)]
    assert len(set(urls)) == 100
    assert {len(url) for url in urls} == {60}


def test_a_row_is_of_medians() -> None:
    trials = [Trial(100, wall, 0.2, 0.05, 0.1, 50_000_000) for wall in (1.0, 2.0, 4.0)]
    text = "".join(told({Cell("The web", 2, 16): trials}))
    assert "| Redis, 2 loops | 16 | 50 | 25–100 | 2.00 | 0.50 | 1.00 | 0.50 | 50 |" in text


@pytest.mark.slow
@pytest.mark.usefixtures("path")
@pytest.mark.timeout(300)
def test_crawls_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    words = "--pages 100 --hosts 5 --docs= --loops 1 2 --connections 8 --rounds 1"
    assert main(words.split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[-3:]] == [
        "SQLite", "Redis, 1 loop", "Redis, 2 loops",
    ]  # fmt: skip
