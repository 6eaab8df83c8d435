"""TLS with servers of all ages, and what others in this process see of it."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from conftest import OpenSite
from helpers.places import ROOT
from helpers.website import page

from crawler.config.model import FetchConfig
from crawler.errors import ConfigError, FetchError
from crawler.fetch.fetcher import HttpFetcher
from crawler.records import CrawlUrl

AUTHORITY = trustme.CA()
BROKEN_OFF = {"connection:connreset", "tls:sslv3 alert handshake failure"}
"""asyncio's servers close without a word; others send an alert."""

PROJECT = str(ROOT)


@asynccontextmanager
async def server(old: Callable[[ssl.SSLContext], None]) -> AsyncIterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1", key_type=trustme.KeyType.RSA).configure_cert(context)
    old(context)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    listening = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    finally:
        listening.close()


def by_rsa(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA")


def last_century(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.options |= ssl.OP_NO_TLSv1_2 | ssl.OP_NO_TLSv1_3
    context.set_ciphers("ALL:@SECLEVEL=0")


async def ask(url: str, folder: Path, **rules: Any) -> bytes:
    AUTHORITY.cert_pem.write_to_path(folder / "ca.pem")
    config = FetchConfig(ca_certificate=str(folder / "ca.pem"), **rules)
    async with HttpFetcher(config, slots=1, user_agent="t", spool=folder) as fetch:
        body = (await fetch.fetch(CrawlUrl(url, "127.0.0.1"))).body
    assert isinstance(body, bytes)
    return body


async def test_keys_exchanged_by_rsa_are_spoken_by_default(tmp_path: Path) -> None:
    """As browsers, curl and wget do; and verified, as any."""
    async with server(by_rsa) as url:
        assert await ask(url, tmp_path) == b"ok"
        with pytest.raises(FetchError) as caught:
            await ask(url, tmp_path, ciphers="ECDHE+AESGCM")
        assert caught.value.cause in BROKEN_OFF
        assert await ask(url, tmp_path, ciphers="AES128-SHA") == b"ok"


@pytest.mark.filterwarnings("ignore:ssl.OP_NO_:DeprecationWarning")
async def test_old_servers_are_reached_by_a_setting_and_still_verified(tmp_path: Path) -> None:
    async with server(last_century) as url:
        with pytest.raises(FetchError) as caught:
            await ask(url, tmp_path)
        assert caught.value.cause in BROKEN_OFF
        assert await ask(url, tmp_path, tls_legacy=True) == b"ok"
        trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
        config = FetchConfig(ca_certificate=str(tmp_path / "other.pem"), tls_legacy=True)
        async with HttpFetcher(config, slots=1, user_agent="t", spool=tmp_path) as fetch:
            with pytest.raises(FetchError, match="certificate"):
                await fetch.fetch(CrawlUrl(url, "127.0.0.1"))


def test_a_list_of_ciphers_must_be_one(tmp_path: Path) -> None:
    config = FetchConfig(ciphers="NONE-OF-THEM")
    with pytest.raises(ConfigError, match=r"fetch\.ciphers: 'NONE-OF-THEM': no such cipher"):
        HttpFetcher(config, slots=1, user_agent="t", spool=tmp_path).check()


async def test_a_crawl_uploads_to_a_place_behind_tls(website: OpenSite, tmp_path: Path) -> None:
    """fsspec fetches with aiohttp in our process: its contexts must know whom to trust."""
    put: list[str] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readuntil(b"\r\n")).decode()
        method, target, _ = line.split(" ", 2)
        await reader.readuntil(b"\r\n\r\n")
        if method in {"POST", "PUT"}:
            await reader.readuntil(b"0\r\n\r\n")
            put.append(target)
        status = b"404 None" if method in {"GET", "HEAD"} else b"200 OK"
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1").configure_cert(context)
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    depot = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context, limit=1 << 24)
    site = await website({"/": page()})
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "crawler", "crawl", site.url, "-O", str(tmp_path / "crawl")),
        *("--upload", f"https://127.0.0.1:{depot.sockets[0].getsockname()[1]}/up"),
        *("--fast", "--no-robots", "--no-report", "-q", "-s", "parse.processes=1"),
        env={**os.environ, "SSL_CERT_FILE": str(tmp_path / "ca.pem"), "PYTHONPATH": PROJECT},
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(40):
        _, said = await child.communicate()
    depot.close()
    assert (child.returncode, said.decode()) == (0, "")
    assert "/up/pages.jsonl" in put
