"""Every process that a crawl starts may be killed at any moment: the crawl goes on, and exits.

An out-of-memory killer takes what is largest, which is a parse process or, where their memory is
counted together, the fork server that they come from.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest
from helpers.answers import Answer, Asked, Reply
from helpers.crawling import outcomes
from helpers.processes import tree
from helpers.website import Website, page

Open = Callable[..., Awaitable[Website]]

PAGES: Final = 24
BODY: Final = 150_000
"""Letters of a page: what goes to a process and what comes back both fill a pipe."""

PATIENCE: Final = 120.0
"""Seconds until a crawl that takes one counts as hung, on a machine that is busy with others."""

KINDS: Final = ("parse process", "every parse process", "fork server", "resource tracker")


def children(pid: int, kind: str) -> list[int]:
    """The processes of one kind below a crawl."""
    found: dict[str, list[int]] = {name: [] for name in KINDS}
    for one in tree(pid)[1:]:
        try:
            command = Path(f"/proc/{one}/cmdline").read_bytes()
            status = Path(f"/proc/{one}/status").read_text()
        except OSError:
            continue
        parent = int(status.partition("\nPPid:\t")[2].partition("\n")[0])
        if b"resource_tracker" in command:
            found["resource tracker"].append(one)
        elif b"forkserver" in command:
            found["fork server" if parent == pid else "every parse process"].append(one)
    found["parse process"] = found["every parse process"][:1]
    return found[kind]


class Killer:
    """Answers pages; with the n-th of them it kills."""

    def __init__(self, kind: str, moment: int, delay: float) -> None:
        self.pid = 0
        self.killed = 0
        self._kind, self._moment, self._delay = kind, moment, delay
        self._seen = 0

    def page(self) -> Answer:
        async def answer(asked: Asked) -> Reply:
            self._seen += 1
            if self._seen == self._moment and self.pid:
                await asyncio.sleep(self._delay)  # somewhere in what the pages before it cause
                for one in children(self.pid, self._kind):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(one, signal.SIGKILL)
                        self.killed += 1
            return await body(asked)

        body = page(text="word " * (BODY // 5))
        return answer


async def killed(
    website: Open, folder: Path, kind: str, moment: int, delay: float
) -> tuple[int, str, int]:
    """Crawl and kill; the exit code, what was said, and how many were killed."""
    killer = Killer(kind, moment, delay)
    leaves = {f"/{number}": killer.page() for number in range(PAGES)}
    site = await website({"/": page(links=list(leaves)), **leaves})
    crawl = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "crawler", "crawl", site.url, "-O", str(folder), "--fast", "--warc",
        "--text", "--save", "all", "--processes", "2", "--no-report", "--no-color",
        stderr=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    killer.pid = crawl.pid
    try:
        async with asyncio.timeout(PATIENCE):
            _, said = await crawl.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(crawl.pid, signal.SIGKILL)
    assert crawl.returncode is not None
    return crawl.returncode, said.decode(), killer.killed


def demand_whole(code: int, said: str, folder: Path) -> None:
    assert "Traceback" not in said, said
    assert "Warning" not in said, said
    assert code == 0, said
    assert set(outcomes(folder).values()) == {"done"}
    assert len(outcomes(folder)) == PAGES + 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_crawl_outlives_the_children_that_are_killed(
    kind: str, website: Open, tmp_path: Path
) -> None:
    code, said, number = await killed(website, tmp_path / "c", kind, PAGES // 2, 0.0)
    assert number or kind != "fork server"
    demand_whole(code, said, tmp_path / "c")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("moment", [1, 2, 5, 8, 12, 16, 20, 23, 24])
@pytest.mark.parametrize("delay", [0.0, 0.02, 0.1])
async def test_a_crawl_outlives_its_children_at_any_moment(
    kind: str, moment: int, delay: float, website: Open, tmp_path: Path
) -> None:
    code, said, _ = await killed(website, tmp_path / "c", kind, moment, delay)
    demand_whole(code, said, tmp_path / "c")
