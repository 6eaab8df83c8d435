"""The door with real crawls: whole processes, a site on loopback, and what they leave behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
from conftest import OpenSite
from helpers.commands import PATIENCE, crawler, end, start
from helpers.places import ROOT
from helpers.website import Answer, Asked, Reply, busy, gate, page, redirect, reply, text

from crawler.cli.exits import Exit

QUICK = ("--fast", "--no-robots", "--processes", "1", "-s", "retry.base=0.01")


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(one) for one in (folder / "pages.jsonl").read_text("utf-8").splitlines()]


def chain(number: int) -> dict[str, Answer]:
    """Pages in a row, each naming the next."""
    return {
        "/" if n == 0 else f"/{n}": page(links=[f"/{n + 1}"] if n < number - 1 else [])
        for n in range(number)
    }


async def test_a_crawl_its_status_and_what_a_second_one_may_do(
    website: OpenSite, tmp_path: Path
) -> None:
    site = await website(chain(6))
    folder = tmp_path / "out"
    where = (site.url, "-O", str(folder), *QUICK)
    ended = await crawler("crawl", *where, "--max-pages", "4")
    assert ended.code == 0, ended.err
    assert "reached --max-pages" in ended.err
    assert ended.out == ""
    assert len(records(folder)) == 4

    again = await crawler("crawl", *where)
    assert again.code == 3
    assert again.err.count("\n") == 1
    assert again.err.startswith("crawler: error: ")
    assert f"crawler resume {folder}" in again.err
    assert "--fresh" in again.err

    more = await crawler("crawl", *where, "--resume", "-s", "limits.max_pages=9", "--json")
    assert more.code == 0, more.err
    assert json.loads(more.out)["pages"] == 2
    assert sorted(one["url"] for one in records(folder)) == sorted(
        {one["url"] for one in records(folder)}
    )
    assert len(records(folder)) == 6

    shown = await crawler("status", str(folder))
    assert shown.code == 0
    assert "state  finished" in shown.out
    assert "6 done" in shown.out
    assert json.loads((await crawler("status", str(folder), "--json")).out)["counts"]["done"] == 6

    site.hosts[0]["/new"] = page()
    # DIR/crawl.toml still says four pages.
    going = ("-O", str(folder), "--resume", "-q", "--limit", "9")
    joined = await crawler("crawl", site.at("/new"), *going)
    assert joined.code == 0, joined.err
    assert len(records(folder)) == 7

    fresh = await crawler("crawl", *where, "--fresh", "-q", "--max-pages", "1")
    assert (fresh.code, fresh.out, fresh.err) == (0, "", "")
    assert len(records(folder)) == 1


@pytest.mark.parametrize("signals", [1, 2])
async def test_signals_and_going_on(website: OpenSite, tmp_path: Path, signals: int) -> None:
    held = gate(page(links=["/2"]))
    site = await website({**chain(4), "/1": held})
    child = await start("crawl", site.url, "-O", str(tmp_path), *QUICK)
    await site.wait_for("/1")
    child.send_signal(signal.SIGINT)
    assert child.stderr is not None
    warning = await asyncio.wait_for(child.stderr.readline(), PATIENCE)
    assert warning.startswith(b"warning: --no-robots")
    line = await asyncio.wait_for(child.stderr.readline(), PATIENCE)
    assert line.startswith(b"stopping: what is in hand has 10 s to finish")
    if signals == 2:
        child.send_signal(signal.SIGTERM)
        assert (await end(child)).code == 13
        assert len(records(tmp_path)) == 1
        held.open()
    else:
        held.open()
        assert (await end(child)).code == 11
        assert len(records(tmp_path)) == 2
    assert (await crawler("resume", str(tmp_path), "-q")).code == 0
    assert len(records(tmp_path)) == len({one["url"] for one in records(tmp_path)}) == 4


async def test_limits_have_codes_of_their_own(website: OpenSite, tmp_path: Path) -> None:
    held = gate(page())
    site = await website({**chain(4), "/3": held})
    ended = await crawler("crawl", site.url, "-O", str(tmp_path), *QUICK, "--time-limit", "1500ms")
    assert ended.code == 15, ended.err
    held.open()
    tiny = await crawler("crawl", site.url, "-O", str(tmp_path / "b"), *QUICK, "--size-limit", "1")
    assert tiny.code == 14, tiny.err


async def test_a_seed_that_fails_says_why(website: OpenSite, tmp_path: Path) -> None:
    site = await website({
        "/busy": busy(times=99, retry_after=0, status=429),
        "/away": redirect("{1}/"),
        "/secret": page(),
        "/robots.txt": text("User-agent: *\nDisallow: /secret"),
    }, {"/": page()})  # fmt: skip
    quick = tuple(flag for flag in QUICK if flag != "--no-robots")
    for path, code, words in (
        ("missing", 8, "status:404"),
        ("away", 8, "start there, or widen --scope"),
        ("away", 0, "which was crawled in its place"),
        ("secret", 8, "robots.txt forbids it"),
        ("busy", 18, "status:429"),
    ):
        stay = ("--no-seed-redirects",) if code else ()
        folder = str(tmp_path / f"{path}-{code}")
        ended = await crawler("crawl", site.url + path, "-O", folder, *quick, *stay)
        assert ended.code == code, ended.err
        assert words in ended.err


async def test_nobody_there(tmp_path: Path, unused_tcp_port: int) -> None:
    url = f"127.0.0.1:{unused_tcp_port}"
    ended = await crawler("crawl", url, "-O", str(tmp_path / "a"), *QUICK)
    assert ended.code == 4, ended.err
    robots = await crawler("crawl", url, "-O", str(tmp_path / "b"), *QUICK, "--robots")
    assert robots.code == 4, robots.err
    silent = await crawler("crawl", url, "-O", str(tmp_path / "c"), *QUICK, "-q")
    assert silent.code == 4
    assert silent.err == f"crawler: error: http://{url}/ failed: connection:connrefused\n"
    fetched = await crawler("fetch", url)
    assert fetched.code == 4
    assert fetched.err.startswith("crawler: error: connection")


async def test_one_trip_in_full(website: OpenSite) -> None:
    html = '<title>T\x1b[2J\u202e</title><a href="/in">a</a><a href="https://other.test/">b</a>'
    site = await website({"/": reply(html.encode(), mime="text/html; charset=utf-8")})
    shown = await crawler("fetch", site.url, "-H", "X-Mine: yes")
    assert shown.code == 0, shown.err
    for words in (
        f"GET {site.url}", "> X-Mine: ***", "> User-Agent: crawler/", "HTTP/1.1 200 from 127.0.0.1",
        "charset  utf-8 (http)", "title    T [2J", f"page    {site.url}in\n",
        "page    https://other.test/  [outOfScope]", "first byte",
    ):  # fmt: skip
        assert words in shown.out
    assert "\x1b" not in shown.out
    assert "\u202e" not in shown.out
    tree = json.loads((await crawler("fetch", site.url, "--json")).out)
    assert tree["page"]["status"] == 200
    assert [one["refused"] for one in tree["extract"]["found"]] == [None, "outOfScope"]
    assert (await crawler("fetch", site.url + "none")).code == 8


async def test_what_is_wrong_is_said_before_anything_is_opened(tmp_path: Path) -> None:
    for args in (["mailto:me@a.test"], ["a.test", "-A", "("], ["a.test", "-c", "0"]):
        ended = await crawler("crawl", *args, "-O", str(tmp_path / "out"))
        assert ended.code == 2
        assert ended.err.startswith("crawler: error: ")
        assert ended.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    blocked = tmp_path / "file"
    blocked.write_text("")
    ended = await crawler("crawl", "a.test", "-O", str(blocked))
    assert ended.code == 3
    assert ended.err.startswith("crawler: error: ")


async def test_an_update_fetches_what_changed(website: OpenSite, tmp_path: Path) -> None:
    kept = reply(b"<p>kept", headers={"ETag": '"1"'})

    async def as_before(asked: Asked) -> Reply:
        known = asked.headers.get("if-none-match") == '"1"'
        return Reply(304, headers=(("ETag", '"1"'),)) if known else await kept(asked)

    site = await website({"/": page(links=["/kept"]), "/kept": as_before})
    folder = str(tmp_path / "crawl")
    for _ in range(2):  # the first finds no crawl there, and makes one
        ended = await crawler("crawl", site.url, "-N", "-O", folder, *QUICK)
        assert ended.code == 0, ended.err
    written = (tmp_path / "crawl" / "pages.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in written.splitlines()]
    assert [line["outcome"] for line in lines if line["url"].endswith("/kept")] == [
        "done",
        "unchanged",
    ]
    assert (await crawler("crawl", site.url, "-N", "--dry-run", "-O", folder)).code == 2


# ── what a start costs ───────────────────────────────────────────────────────────────────────

START = """
import sys
from crawler.cli.main import main
try: main(sys.argv[1:])
except SystemExit as end: print(end.code)
heavy = {"rich", "tenacity", "turbohtml", "bs4", "redis", "starlette", "fsspec", "yaml"}
print(sorted(heavy & set(sys.modules)))
"""
"""A crawl, and then what it loaded."""


async def start_up(url: str, folder: Path, authority: Path) -> tuple[str, str]:
    """The exit code, and the last line of START."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", START, "crawl", url, "--no-robots", "-q", "-O", str(folder),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SSL_CERT_FILE": str(authority),
        },
    )  # fmt: skip
    code, last = (await end(child)).out.splitlines()
    return code, last


async def test_a_crawl_loads_what_it_uses(website: OpenSite, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    site = await website({"/": page()})
    ended = await start_up(site.url, tmp_path / "out", tmp_path / "ca.pem")
    assert ended == ("0", "[]")


async def test_whom_to_trust_is_read_at_the_first_https(tmp_path: Path) -> None:
    ours, theirs = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(tmp_path / "ours.pem")
    theirs.cert_pem.write_to_path(tmp_path / "theirs.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.issue_cert("127.0.0.1").configure_cert(context)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        trusted = await start_up(url, tmp_path / "a", tmp_path / "ours.pem")
        refused = await start_up(url, tmp_path / "b", tmp_path / "theirs.pem")
    assert trusted == ("0", "[]")
    assert refused == ("5", "[]")


@pytest.mark.parametrize(("signals", "code"), [(1, Exit.INTERRUPTED), (2, Exit.FORCED)])
async def test_a_crawl_whose_server_is_away_can_be_stopped(
    signals: int, code: int, tmp_path: Path
) -> None:
    """It waits ten minutes for its Redis; whoever stops it does not."""
    args = ("--frontier", "redis://127.0.0.1:1/", "--grace", "0.5" if signals == 1 else "600")
    child = await start("crawl", "http://127.0.0.1:1/", *args, "-O", str(tmp_path / "crawl"))
    assert child.stderr is not None
    async with asyncio.timeout(PATIENCE):
        while b"waiting for it" not in await child.stderr.readline():
            assert child.returncode is None
        for word in (b"stopping: ", b"stopping at once")[:signals]:
            child.send_signal(signal.SIGINT)
            while word not in await child.stderr.readline():
                pass
        assert (await end(child)).code == code
