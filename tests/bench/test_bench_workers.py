"""What `make bench-workers` prints: a URL's memory on a real server, crawls really compared."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.redis_server import servers

from benchmarks import divided_hosts, link_handover
from benchmarks.queue_memory import measure_memory, outlink, table
from benchmarks.worker_scaling import main, report
from benchmarks.worker_steps import Server
from benchmarks.worker_trials import WorkerCell, WorkerTrial
from crawler.demo.web import Web


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
    memory = await measure_memory(20_000, 100, 20_000)
    assert (memory.urls, memory.finished) == (20_000, 20_000)
    assert memory.empty < memory.after < memory.pending
    assert 60 < memory.each_pending < 1000, "a URL of 60 characters lies there"
    assert memory.each_finished < memory.each_pending - 40, "… and is gone when it is finished"
    assert "20,000 URLs" in table(memory)
    assert "appendonly" not in caplog.text


def test_urls_differ_and_are_as_long_as_said() -> None:
    urls = [outlink(number, 7)[0] for number in range(100)]
    assert len(set(urls)) == 100
    assert {len(url) for url in urls} == {60}


def test_a_row_is_of_medians() -> None:
    trials = [WorkerTrial(100, wall, 0.2, 0.05, 50_000_000) for wall in (1.0, 2.0, 4.0)]
    text = "".join(report({WorkerCell("The web", 2, 16): trials}))
    assert "| Redis, 2 loops | 16 | 50 | 25–100 | 2.00 | 0.50 | 1.50 | 50 |" in text


def test_what_the_server_says_stands_in_the_rows_of_steps() -> None:
    server = Server(calls=50, busy=20_000.0, long=3000.0)
    trials = [WorkerTrial(100, 1.0, 0.2, 0.05, 50_000_000, server)]
    text = "".join(report({WorkerCell("The web", 2, 16, step=8): trials}))
    assert "calls a page" in text
    assert "| 2 workers, steps of 8 | 16 | 100 | 100–100 " in text
    assert text.endswith("| 50 | 0.50 | 0.20 | 3.0 |\n")


@pytest.mark.parametrize("uneven", [False, True])
def test_each_page_is_in_one_list(tmp_path: Path, *, uneven: bool) -> None:
    web = Web(pages=100, hosts=10, port=80)
    lists = [
        path.read_text().split()
        for path in divided_hosts.write_lists(tmp_path, web, 4, uneven=uneven)
    ]
    assert sorted(url for one in lists for url in one) == sorted(web.urls())
    assert len(lists[0]) == (50 if uneven else 30)
    hosts = [{url.split("/")[2] for url in one} for one in lists]
    assert sum(map(len, hosts)) == 10, "a host is in one of them"


def test_a_host_cannot_be_divided() -> None:
    assert divided_hosts.largest_share([50, *[1] * 50], 16) > 0.5
    assert divided_hosts.largest_share([1] * 16_000, 16) < 0.07
    lines = divided_hosts.imbalance_table(hosts=1000).splitlines()
    assert [line.split("|")[1].strip() for line in lines[-4:]] == ["2", "4", "8", "16"]


def test_links_are_passed_on() -> None:
    one = link_handover.measure(16, 1000)
    assert one.links == 1000
    assert min(one.wall, one.sender, one.receiver) > 0
    assert "| 64 |" in link_handover.table(640, (64,))


@pytest.mark.slow
@pytest.mark.usefixtures("path")
@pytest.mark.timeout(300)
def test_crawls_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "--pages 100 --hosts 6 --docs= --loops 1 2 --connections 8 --rounds 1 --divided 2 3 "
        "--steps 1 64"
    )
    assert main(words.split()) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines()]
    divided = "SQLite, hosts divided among"
    assert [row[1].strip() for row in rows if len(row) > 9 and row[2].strip() == "8"] == [
        "SQLite", "Redis, 1 loop", "Redis, 2 loops",
        f"{divided} 2", f"{divided} 3", f"{divided} 3, one with half of the pages",
        "1 worker, steps of 1", "1 worker, steps of 64",
        "2 workers, steps of 1", "2 workers, steps of 64",
    ]  # fmt: skip
