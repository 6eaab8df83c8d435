"""Kill the crawl with every output on: afterwards each of them is valid and complete.

The archive and the files are compared with those of an undisturbed run: the same exchanges with
the same payloads, each once. `make test-kill` repeats it.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_kill import (
    SUICIDE,
    command,
    crawl_args,
    finish,
    resume_to_the_end,
    wait_for_records,
    what_matters,
)
from warcio.archiveiterator import ArchiveIterator

from crawler.config.model import UrlsConfig
from crawler.demo.process import DemoWeb
from crawler.export.mirror import write_mirror
from crawler.export.warc_reader import WarcReader
from crawler.policy.urls import Urls

PAGES = 150
ALL = ("--warc", "--mirror", "--save", "all", "--warc-max-size", "100k", "-s", "output.jsonl=true")


@pytest.fixture(scope="module")
def web() -> Iterator[DemoWeb]:
    with DemoWeb(pages=PAGES, size=3000, latency=0.002, broken=0.05, redirects=0.05) as web:
        yield web


def exchanges(folder: Path) -> dict[str, tuple[str, str]]:
    """Status line and payload digest of every URL, as warcio reads them, each digest checked."""
    found: dict[str, tuple[str, str]] = {}
    for path in sorted((folder / "warc").glob("*.warc.gz")):
        with path.open("rb") as stream:
            for record in ArchiveIterator(stream, check_digests="raise"):
                record.raw_stream.read()
                if record.rec_type in {"response", "revisit"}:
                    url = record.rec_headers["WARC-Target-URI"]
                    assert url not in found, f"{url} is there twice"
                    digest = record.rec_headers["WARC-Payload-Digest"]
                    found[url] = record.http_headers.statusline, digest
    return found


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but for the ledgers of those who wrote it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".db"
    }


class Left:
    """What a crawl left behind, in comparable form."""

    def __init__(self, folder: Path) -> None:
        self.records = what_matters(folder)
        self.exchanges = exchanges(folder)
        self.bodies = tree(folder / "html")
        self.mirror = tree(folder / "mirror")
        self.files = len(list((folder / "warc").glob("*.warc.gz")))
        with WarcReader(folder) as archive:
            self.indexed = {capture.url for capture in archive.captures.every()}


@pytest.fixture(scope="module")
def undisturbed(web: DemoWeb, tmp_path_factory: pytest.TempPathFactory) -> Left:
    folder = tmp_path_factory.mktemp("undisturbed") / "crawl"
    assert finish(command(*crawl_args(web.url, folder), *ALL)) == 0
    left = Left(folder)
    assert len(left.exchanges) > PAGES
    assert left.files > 2
    return left


def check(folder: Path, undisturbed: Left) -> None:
    left = Left(folder)
    assert left.records == undisturbed.records
    assert left.exchanges == undisturbed.exchanges
    assert left.indexed == set(left.exchanges)
    assert left.bodies == undisturbed.bodies
    start = left.mirror.pop("index.html"), undisturbed.mirror.get("index.html")
    assert all(start)  # which page was archived first may differ
    assert left.mirror == {
        name: body for name, body in undisturbed.mirror.items() if name != "index.html"
    }
    assert not [name for name in left.mirror if name.endswith(".part")]
    with WarcReader(folder) as archive:
        again = write_mirror(archive, folder / "mirror", Urls(UrlsConfig()))
    assert (again.written, again.removed) == (0, 0)


def killed_once(web: DemoWeb, folder: Path, dice: random.Random) -> bool:
    """Start a crawl and kill it somewhere; whether it was still alive."""
    process = command(*crawl_args(web.url, folder), *ALL)
    wait_for_records(folder, dice.randrange(PAGES), process)
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return alive


def test_killed_between_the_files_and_the_commit(
    web: DemoWeb, undisturbed: Left, tmp_path: Path
) -> None:
    folder = tmp_path / "crawl"
    program = ("-c", SUICIDE, "9", "before")
    code = finish(command(*crawl_args(web.url, folder), *ALL, program=program))
    assert code == -signal.SIGKILL
    resume_to_the_end(folder)
    check(folder, undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_kills(web: DemoWeb, undisturbed: Left, tmp_path: Path) -> None:
    dice = random.Random(int(os.environ.get("KILL_SEED", "2026")))
    killed = runs = 0
    while killed < 20:
        folder = tmp_path / f"run{runs}"
        if runs % 2:
            program = ("-c", SUICIDE, str(dice.randrange(1, 40)), dice.choice(["before", "after"]))
            code = finish(command(*crawl_args(web.url, folder), *ALL, program=program))
            killed += code == -signal.SIGKILL
        else:
            killed += killed_once(web, folder, dice)
        if (folder / "crawl.toml").exists():
            resume_to_the_end(folder)
        else:
            finish(command(*crawl_args(web.url, folder), *ALL, "--fresh"))
        check(folder, undisturbed)
        runs += 1
    sys.stderr.write(f"{killed} of {runs} runs killed\n")
