"""Each exit code that `crawler --help` documents, by a run that ends with it."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trustme
from helpers.answers import Answer, Asked, Reply
from helpers.places import ROOT
from helpers.website import Website, page, reply

from crawler.cli.exits import MEANINGS, Exit

Open = Callable[..., Awaitable[Website]]

BUG = """
import crawler.fetch.fetcher
def broken(self, link, extra): raise UnicodeError("a bug")
crawler.fetch.fetcher.HttpFetcher._request = broken
"""
FAILS = "def extract(page):\n    raise ValueError\n"
CRAWL = ("crawl", "{site}", "-O", "out", "--fast", "--processes", "1", "--retries", "0")
WAY = {
    # what is given, the site, and what is said
    Exit.OK: (CRAWL, page(), "every link in scope was visited"),
    Exit.BUG: (CRAWL, page(), "a bug in this program"),
    Exit.USAGE: (("crawl", "ftp://x.example/"), page(), "crawler: error: "),
    Exit.HOUSE: ((*CRAWL, "-O", "/dev/null/out"), page(), "/dev/null"),
    Exit.NETWORK: (("crawl", "http://127.0.0.2:{port}/", *CRAWL[2:]), page(), "connrefused"),
    Exit.TLS: (("crawl", "https://127.0.0.1:{tls}/", *CRAWL[2:]), page(), "failed: tls:"),
    Exit.SERVER: (CRAWL, page(status=404), "1 answered 404"),
    Exit.SIZE_LIMIT: ((*CRAWL, "--size-limit", "1"), page(links=["/a"]), "--size-limit"),
    Exit.TIME_LIMIT: ((*CRAWL, "--time-limit", "0.1", "--grace", "0"), None, "--time-limit"),
    Exit.RATE_LIMITED: (CRAWL, page(status=429), "1 answered 429"),
    Exit.PLUGIN: ((*CRAWL, "--plugin", "fails.py"), page(), "failed on 1 of 1 page"),
    Exit.MISMATCH: (
        ("download", "{site}", "-O", "out", "--checksum", f"md5:{'0' * 32}"), reply("x"), "mismatch"
    ),
    Exit.INTERRUPTED: ((*CRAWL, "--no-robots"), None, "stopping: "),
    Exit.FORCED: ((*CRAWL, "--no-robots"), None, "stopping at once"),
}  # fmt: skip


@pytest.fixture
async def tls() -> AsyncIterator[int]:
    """The port of a server whose certificate nobody knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


def test_each_code_has_a_way_here() -> None:
    assert WAY.keys() == MEANINGS.keys() == set(Exit)


@pytest.mark.parametrize("code", [pytest.param(code, id=code.name) for code in WAY])
async def test_a_run_ends_with_its_code(
    code: Exit, website: Open, tls: int, tmp_path: Path
) -> None:
    words, answer, said = WAY[code]
    asked, answered = asyncio.Event(), asyncio.Event()
    site = await website({"/": answer or until(asked, answered), "/a": page()})
    (tmp_path / "fails.py").write_text(FAILS)
    if code is Exit.BUG:
        (tmp_path / "sitecustomize.py").write_text(BUG)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "crawler",
        *(word.format(site=site.url, port=site.port, tls=tls) for word in words),
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    told = b""
    try:
        async with asyncio.timeout(60):
            if code in {Exit.INTERRUPTED, Exit.FORCED}:
                await asked.wait()
                process.send_signal(signal.SIGINT)
                told += await process.stderr.readuntil(b"stopping: ")
                if code is Exit.FORCED:
                    process.send_signal(signal.SIGINT)
                else:
                    answered.set()
            told += await process.stderr.read()
            ended = await process.wait()
    finally:
        answered.set()
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (ended, said in told.decode()) == (code, True), told.decode()
    assert b"Traceback" not in told


def until(asked: asyncio.Event, answered: asyncio.Event) -> Answer:
    """A page that comes when `answered` is set; `asked` says that it was asked for."""

    async def answer(_: Asked) -> Reply:
        asked.set()
        await answered.wait()
        return Reply()

    return answer
