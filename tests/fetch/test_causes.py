"""What kept a page from us is told with its true cause, wherever it is told: records, store, `why`,
`check`, the summary.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from helpers.commands import crawler as process
from helpers.crawling import crawl, records, settings
from helpers.website import Website, busy, page, redirect, text

from crawler.cli.why import tell
from crawler.frontier.sqlite.requeue_failed import requeue
from crawler.report.broken import broken_in

Open = Callable[..., Awaitable[Website]]


@asynccontextmanager
async def answering(answer: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that says the same to everybody; its port."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(3)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def self_signed() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


async def fate(seed: str, folder: Path, **values: Any) -> tuple[str, str, str]:
    """Outcome and reason of a seed's record, and what `why` says of it."""
    await crawl(settings(seed, retries=0, **values), folder)
    (line,) = records(folder)
    told = dict(tell(folder, seed, time.time())[0])
    assert line["reason"] in told["outcome"]
    assert line["reason"].removeprefix("robotsUnreachable:") in told["robots"]
    assert told["next"] == f"crawler retry {folder}"
    return line["outcome"], line["reason"], told["outcome"]


async def test_a_name_without_address(tmp_path: Path) -> None:
    outcome, reason, _ = await fate("http://no-such-host.invalid/", tmp_path)
    assert (outcome, reason) == ("failed", "dns:no-such-host.invalid")


async def test_a_closed_port(unused_tcp_port: int, tmp_path: Path) -> None:
    outcome, reason, _ = await fate(f"http://127.0.0.1:{unused_tcp_port}/", tmp_path)
    assert (outcome, reason) == ("failed", "connection:connrefused")


async def test_a_certificate_of_nobody_we_trust(tmp_path: Path) -> None:
    async with answering(b"", self_signed()) as port:
        outcome, reason, _ = await fate(f"https://127.0.0.1:{port}/", tmp_path)
    assert outcome == "failed"
    assert reason.startswith("tls:")
    assert "certificate" in reason


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("proxy", ["http", "socks5"])
async def test_a_proxy_that_is_not_there(
    scheme: str, proxy: str, unused_tcp_port: int, tmp_path: Path
) -> None:
    at = f"{proxy}://127.0.0.1:{unused_tcp_port}"
    outcome, reason, _ = await fate(f"{scheme}://name.example/", tmp_path, proxy=at)
    assert (outcome, reason) == ("failed", "connection:proxy connrefused")


async def test_a_proxy_that_says_no(tmp_path: Path) -> None:
    no = b"HTTP/1.1 403 Nobody here\r\nContent-Length: 0\r\n\r\n"
    async with answering(no) as port:
        at = f"http://127.0.0.1:{port}"
        outcome, reason, _ = await fate("https://name.example/", tmp_path / "a", proxy=at)
    assert (outcome, reason) == ("failed", "connection:proxy answers 403 Nobody here")
    async with answering(b"\5\xff") as port:  # RFC 1928 §3: no method is acceptable
        at = f"socks5://127.0.0.1:{port}"
        outcome, reason, _ = await fate("http://name.example/", tmp_path / "b", proxy=at)
    assert outcome == "failed"
    assert reason.startswith("connection:proxy: ")


async def test_a_robots_txt_that_the_server_will_not_give_is_another_thing(
    website: Open, tmp_path: Path
) -> None:
    """The site is there: its pages are refused, not broken."""
    site = await website({"/robots.txt": busy(times=10**9), "/": page()})
    outcome, reason, _ = await fate(site.url, tmp_path)
    assert (outcome, reason) == ("refused", "robotsUnreachable:status:503")
    assert broken_in(tmp_path) == (0, [])


async def test_a_robots_txt_that_leads_to_a_dead_host_does_not_make_its_own_dead(
    website: Open, unused_tcp_port: int, tmp_path: Path
) -> None:
    site = await website(
        {"/robots.txt": redirect(f"http://127.0.0.1:{unused_tcp_port}/"), "/": page()}
    )
    outcome, reason, _ = await fate(site.url, tmp_path)
    assert (outcome, reason) == ("refused", "robotsUnreachable:connection:connrefused")


async def test_the_cause_outlives_the_run_and_a_retry_asks_again(
    website: Open, tmp_path: Path
) -> None:
    """A resumed crawl that finds a new link there tells the same; `crawler retry` goes and sees,
    though the robots.txt that could not be had is not due yet.
    """
    site = await website({"/robots.txt": busy(times=10**9), "/": page(links=["/a"]), "/a": page()})
    await crawl(settings(site.url), tmp_path)
    asked = len(site.log)
    await crawl(settings(site.url, site.at("/new")), tmp_path, "resume")
    assert records(tmp_path)[-1]["reason"] == "robotsUnreachable:status:503"
    assert len(site.log) == asked, "it is not due yet"
    site.put("/robots.txt", text(""))
    assert requeue(tmp_path / "frontier.db", reason="robotsUnreachable*") == 2
    await crawl(settings(site.url), tmp_path, "resume")
    last = {line["url"]: line["outcome"] for line in records(tmp_path)}
    assert last[site.url] == last[site.at("/a")] == "done"


async def test_check_names_the_cause(website: Open, unused_tcp_port: int) -> None:
    dead = f"http://127.0.0.1:{unused_tcp_port}/"
    away = await website({}, {"/robots.txt": busy(times=10**9), "/x": page()})
    links = [dead, "http://no-such-host.invalid/", away.at("/x", 1)]
    site = await website({"/": page(links=links)})
    quick = ("--fast", "-t", "0", "-s", "robots.patience=0", "-s", "parse.processes=1")
    told = await process("check", site.url, *quick)
    assert f"connection:connrefused  {dead}\n     on {site.url}" in told.out
    assert "dns:no-such-host.invalid  http://no-such-host.invalid/" in told.out
    assert "2 broken, 1 not requested" in told.out
    assert "robotsUnreachable" not in told.out
