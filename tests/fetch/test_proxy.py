"""A proxy that is reached over TLS: what goes through it, and what it does not get to see."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
import trustme
from helpers.crawling import records, settings
from helpers.website import Website, page, reply

from crawler.bootstrap.crawl_setup import open_crawl
from crawler.cli.run_crawl import loop_factory

AUTHORITY = trustme.CA()
LOGIN = "Basic Y2Fyb2w6cHIweHk="  # carol:pr0xy


class TlsProxy:
    """Speaks HTTP in TLS. CONNECT leads to a TLS site of its own, anything else to `behind`."""

    def __init__(self, behind: Website) -> None:
        self.asked: list[tuple[str, str | None]] = []  # request lines, logins
        self.certificates: list[object] = []  # that were shown to us
        self.site_saw: list[object] = []
        self.refuse = b""  # what CONNECT is answered instead
        self._behind = behind
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.verify_mode = ssl.CERT_OPTIONAL
        AUTHORITY.configure_trust(self._context)
        AUTHORITY.issue_cert("127.0.0.1", "name.example").configure_cert(self._context)

    async def __aenter__(self) -> Self:
        serve = asyncio.start_server
        self._server = await serve(self._proxy, "127.0.0.1", 0, ssl=self._context)
        self._site = await serve(self._answer, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self._site.close()

    async def _proxy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.certificates.append(writer.get_extra_info("peercert"))
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *fields = head.split("\r\n")
            pairs = dict(field.lower().split(": ", 1) for field in fields if field)
            login = pairs.get("proxy-authorization")
            exact = next(
                (f.split(": ")[1] for f in fields if f.lower().startswith("proxy-a")), None
            )
            self.asked.append((line, exact if login else None))
            tunnel = line.startswith("CONNECT ")
            if tunnel and self.refuse:
                writer.write(self.refuse)
                await writer.drain()
                return
            port = self._site.sockets[0].getsockname()[1] if tunnel else self._behind.port
            there, back = await asyncio.open_connection("127.0.0.1", port)
            if tunnel:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                back.write(head.encode("latin-1"))
            with contextlib.closing(back):
                await asyncio.gather(_pass(reader, back), _pass(there, writer))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.site_saw.append(writer.get_extra_info("peercert"))
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            body = b"<title>in two layers</title>"
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n"
                b"Connection: close\r\n\r\n%b" % (len(body), body)
            )
            await writer.drain()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while some := await reader.read(65536):
            writer.write(some)
            await writer.drain()
    writer.close()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Settings that name our authority, and a certificate of our own."""
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    ours = AUTHORITY.issue_cert("client.example")
    ours.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    return {
        "ca_certificate": str(tmp_path / "ca.pem"),
        "certificate": str(tmp_path / "client.pem"),
    }


async def visit(seed: str, folder: Path, **values: Any) -> dict[str, Any]:
    """The one record of a crawl of one page."""
    async with asyncio.timeout(30):
        config = settings(seed, obey=False, retries=0, **values)
        async with open_crawl(config, dir=folder) as running:
            await running.run()
    (line,) = records(folder)
    return line


LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, loop_factory()])


@LOOPS
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_pages_come_through_a_proxy_over_tls(
    loop: Callable[[], asyncio.AbstractEventLoop],
    scheme: str,
    files: dict[str, str],
    tmp_path: Path,
) -> None:
    """TLS to the proxy, and for https in that TLS to the site; a login for the proxy alone, and our
    certificate for the site alone.
    """

    async def through() -> None:
        async with Website({"http://name.example/": page(title="plain")}) as site:
            async with TlsProxy(site) as proxy:
                at = f"https://carol:pr0xy@127.0.0.1:{proxy.port}"
                seed = f"{scheme}://name.example/"
                line = await visit(seed, tmp_path / "crawl", proxy=at, **files)
            asked = [one.headers.get("proxy-authorization") for one in site.log]
        assert (line["outcome"], line["reason"]) == ("done", None)
        assert proxy.certificates == [None]
        if scheme == "http":
            assert line["title"] == "plain"
            assert proxy.asked == [("GET http://name.example/ HTTP/1.1", LOGIN)]
            assert asked == [LOGIN], "this proxy hands it on"
        else:
            assert line["title"] == "in two layers"
            assert proxy.asked == [("CONNECT name.example:443 HTTP/1.1", LOGIN)]
            assert [bool(shown) for shown in proxy.site_saw] == [True]

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(through())


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_proves_nothing_is_told_nothing(scheme: str, tmp_path: Path) -> None:
    async with Website({}) as site, TlsProxy(site) as proxy:
        at = f"https://carol:pr0xy@127.0.0.1:{proxy.port}"
        line = await visit(f"{scheme}://name.example/", tmp_path / "crawl", proxy=at)
    assert line["reason"].startswith("tls:")
    assert proxy.asked == []
    assert "pr0xy" not in str(line)


async def test_a_proxy_that_fails_is_named_in_the_reason(
    files: dict[str, str], tmp_path: Path
) -> None:
    async with Website({}) as site, TlsProxy(site) as proxy:
        proxy.refuse = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
        at = f"https://carol:pr0xy@127.0.0.1:{proxy.port}"
        line = await visit("https://name.example/", tmp_path / "crawl", proxy=at, **files)
    assert line["reason"] == "connection:proxy answers 407 Proxy Authentication Required"
    assert "pr0xy" not in str(line)
    gone = await visit("https://name.example/", tmp_path / "gone", proxy=at, **files)
    assert gone["reason"] == "connection:proxy connrefused"


async def test_the_proxy_is_named_for_what_only_it_can_have_done(tmp_path: Path) -> None:
    asks = reply(b"", status=407)
    async with Website({"/": asks, "http://name.example/": asks}) as site:
        line = await visit("http://name.example/", tmp_path / "asks", proxy=site.url)
    assert line["reason"].startswith("connection:proxy answers 407")
    gone = await visit("http://name.example/", tmp_path / "gone", proxy=site.url)
    assert gone["reason"] == "connection:proxy connrefused"
    nowhere = "http://no-such-proxy.invalid:3128"
    for scheme in ("http", "https"):
        lost = await visit(f"{scheme}://name.example/", tmp_path / scheme, proxy=nowhere)
        assert lost["reason"] == "connection:proxy dns: no-such-proxy.invalid"
