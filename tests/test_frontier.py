"""The frontier on SQLite: its contract, on a file and in memory, and what only a file can do."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from frontier_contract import Contract, Opened

from crawler.config import PaceConfig
from crawler.errors import FrontierError, Occupied
from crawler.frontier.sqlite import SqliteFrontier


def frontier(path: Path | str, **settings: object) -> SqliteFrontier:
    return SqliteFrontier(path, PaceConfig(fast=True), **{"robots": False, **settings})  # type: ignore[arg-type]


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
        with pytest.raises(Occupied, match="another process"):
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
        from crawler.config import PaceConfig
        from crawler.frontier.sqlite import SqliteFrontier

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
