"""The frontier on SQLite: its contract, on a file and in memory, and what only a file can do."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from helpers.frontier_contract import Contract, Opened, found

from crawler.config.model import PaceConfig
from crawler.errors import FolderLocked, FrontierError
from crawler.frontier.sqlite.download_rows import known_urls
from crawler.frontier.sqlite.lookup import FrontierReader
from crawler.frontier.sqlite.overview import peek
from crawler.frontier.sqlite.read_only import reader
from crawler.frontier.sqlite.sqlite_frontier import SqliteFrontier
from crawler.frontier.sqlite.statements import DONE
from crawler.frontier.sqlite.store import Store
from crawler.records import CrawlResult, CrawlUrl, Outcome, Page, ParsedPage, Timings


def frontier(
    path: Path | str, pace: PaceConfig | None = None, **settings: object
) -> SqliteFrontier:
    rest = {"robots": False, **settings}
    return SqliteFrontier(path, pace or PaceConfig(fast=True), **rest)  # type: ignore[arg-type]


class TestOnAFile(Contract):
    @pytest.fixture
    def opened(self, tmp_path: Path) -> Opened:
        return lambda **settings: frontier(tmp_path / "frontier.db", **settings)


class TestInMemory(Contract):
    """A store that lives as long as its frontier: what is said of restarts is not for it."""

    @pytest.fixture
    def opened(self, request: pytest.FixtureRequest) -> Opened:
        if "reopening" in request.node.name:
            pytest.skip("memory does not survive a restart")
        return lambda **settings: frontier(":memory:", **settings)


async def test_two_cannot_have_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "frontier.db"
    async with frontier(path):
        with pytest.raises(FolderLocked, match="another process"):
            async with frontier(path):
                pass


async def test_a_file_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "frontier.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(FrontierError, match="version 99"):
        async with frontier(path):
            pass


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "frontier.db"
    path.write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(FrontierError, match="not a database"):
        async with frontier(path):
            pass


def test_the_claim_on_a_file_dies_with_its_process(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import asyncio, os, signal, sys
        from crawler.config.model import PaceConfig
        from crawler.frontier.sqlite.sqlite_frontier import SqliteFrontier

        async def main():
            async with SqliteFrontier(sys.argv[1], PaceConfig()):
                os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(main())
    """)
    path = tmp_path / "frontier.db"
    killed = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert killed.returncode == -9

    async def reopen() -> None:
        async with frontier(path):
            pass

    asyncio.run(reopen())


# ── read from outside ────────────────────────────────────────────────────────────────────────


def beside(path: Path) -> set[str]:
    return {one.name for one in path.parent.iterdir()} - {path.name, "frontier.lock"}


async def test_reading_a_closed_crawl_leaves_nothing_beside_its_file(tmp_path: Path) -> None:
    path = tmp_path / "why?100%" / "frontier.db"  # a name is no part of a question to SQLite
    path.parent.mkdir()
    async with frontier(path):
        pass
    assert beside(path) == set()
    with closing(reader(path)) as db:
        assert db.execute("SELECT count(*) FROM link").fetchone() == (0,)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            db.execute("DELETE FROM meta")
    peek(path)
    with FrontierReader(path) as book:
        assert book.one("SELECT count(*) FROM host") == 0
    assert known_urls(path) == []
    assert beside(path) == set()


async def test_what_a_running_crawl_committed_is_read_and_its_log_left_alone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "frontier.db"
    async with frontier(path) as queue:
        await queue.note(known="yes")
        with closing(reader(path)) as db:
            assert db.execute("SELECT value FROM meta").fetchall() == [("yes",)]
        assert beside(path) == {"frontier.db-wal", "frontier.db-shm", "frontier.hand"}
        await queue.note(known="still")
        assert await queue.notes() == {"known": "still"}
    assert beside(path) == set()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_closed_crawl_is_read_where_nothing_may_be_written(tmp_path: Path) -> None:
    path = tmp_path / "frontier.db"
    async with frontier(path):
        pass
    tmp_path.chmod(0o555)
    try:
        assert peek(path).counts.seen == 0
    finally:
        tmp_path.chmod(0o755)


def test_what_a_failed_commit_found_is_not_written_later() -> None:
    store = Store(":memory:")
    store.open()
    with closing(store):
        store.add([found("http://a.test/")], 0)
        seed = store.head(1, 1, set())[0][0]
        visit = CrawlResult(
            seed, Outcome.DONE, found=(found("http://a.test/1"), found("http://a.test/\ud800"))
        )
        with pytest.raises(UnicodeEncodeError):
            store.settle([visit], {}, 0.0)
        assert store.counts().queued == 1
        again = msgspec.structs.replace(visit, found=(found("http://a.test/2"),))
        assert store.settle([again], {}, 0.0)["a.test"].links == 1
        assert [link.url for link in store.head(1, 9, set())[0]] == ["http://a.test/2"]


def page(link: CrawlUrl) -> Page:
    return Page(link, 200, (), b"", 0.0, Timings(1.0), 0)


def test_copies_name_the_first_page_in_whatever_commit_it_was(tmp_path: Path) -> None:
    """More pages than go into one statement; the same bytes as before, and twice in one commit."""
    store = Store(tmp_path / "frontier.db")
    store.open()
    with closing(store):
        store.add([found(f"http://a.test/{number}") for number in range(100)], 0)
        links, _ = store.head(1, 100, set())
        digests = [f"sha256:{number % 45:016x}{0:048x}" for number in range(100)]
        for first, end in [(0, 1), (1, 20), (20, 100)]:
            visits = store.recognise(
                [
                    CrawlResult(
                        link, Outcome.DONE, page(link), ParsedPage(digest=digest, bytes_body=1)
                    )
                    for link, digest in zip(links[first:end], digests[first:end], strict=True)
                ]
            )
            for number, visit in enumerate(visits, first):
                copied = links[number % 45].url if number >= 45 else None
                assert visit.duplicate_of == copied
            store.settle(visits, {}, 0.0)
    with closing(reader(tmp_path / "frontier.db")) as db:
        rows = db.execute("SELECT state, digest, twin FROM link ORDER BY id").fetchall()
    ids = [link.id for link in links]
    assert rows == [
        (DONE, digest, ids[number % 45] if number >= 45 else None)
        for number, digest in enumerate(digests)
    ]
