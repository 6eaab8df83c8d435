"""The short way through aiohttp says and does what its session does (decision 0065)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import yarl
from hypothesis import given
from hypothesis import strategies as st

from crawler.config.model import FetchConfig, UrlsConfig
from crawler.errors import FetchError, TooLarge
from crawler.fetch import client
from crawler.fetch.client import _with_target, target_of
from crawler.fetch.credentials import Credentials
from crawler.fetch.fetcher import HttpFetcher
from crawler.policy.urls import Urls, host_key
from crawler.records import CrawlUrl, Kind, Page, Validators

OK = (
    b"HTTP/1.1 200 Fine\r\nContent-Type: text/html\r\n"
    b"X-One: a\r\nx-one: b\r\nContent-Length: 2\r\n\r\n"
)


class Listener:
    """Notes every head it hears, as bytes, and by which connection; answers all alike."""

    def __init__(self, answer: bytes = OK + b"hi") -> None:
        self.answer = answer
        self.heads: list[bytes] = []
        self.connections = 0
        self.asked = asyncio.Event()
        self.closed = asyncio.Event()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                self.asked.set()
                writer.write(OK if head.startswith(b"HEAD") else self.answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.closed.set()
        finally:
            writer.close()


@asynccontextmanager
async def heard(listener: Listener) -> AsyncIterator[str]:
    server = await asyncio.start_server(listener.talk, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def fetcher(spool: Path, seed: str = "", **rules: object) -> HttpFetcher:
    config = msgspec.convert(rules, FetchConfig)
    seeds = [seed] if seed else []
    return HttpFetcher(
        config,
        slots=4,
        user_agent="test/1",
        spool=spool,
        credentials=Credentials(config, seeds),
        keep_request=True,
    )


def link(url: str, **more: object) -> CrawlUrl:
    return msgspec.structs.replace(CrawlUrl(url, host_key(url)), **more)


def told(page: Page) -> tuple[object, ...]:
    return (
        page.status, page.headers, page.body, page.bytes_wire, page.http_version, page.phrase,
        page.sent, page.location, page.truncated,
    )  # fmt: skip


def use(ours: HttpFetcher, *, direct: bool) -> None:
    """aiohttp's session is asked, or its parts, as without a proxy and with one."""
    ours._clients[None]._direct = direct


async def test_both_ways_say_the_same_to_the_byte(tmp_path: Path) -> None:
    known = Validators('"tag"', "Tue, 24 Nov 2026 10:00:00 GMT", "sha256:0", None, None)
    listener = Listener()
    heads, pages = [], []
    async with heard(listener) as home:
        seed = home.replace("//", "//me:secret@") + "/"
        asked: list[tuple[CrawlUrl, dict[str, str] | None]] = [
            (link(f"{home}/"), None),
            (link(f"{home}/a/b?c=d&e=%20"), None),
            (link(f"{home}/a?"), None),
            (link(f"{home}/a?b#c"), None),
            (link(f"{home}/again", known=known), None),
            (link(f"{home}/wall", cookie="seen=1; also=2"), None),
            (link(f"{home}/there", kind=Kind.PROBE), None),
            (link(f"{home}/part"), {"Range": "bytes=1-", "Accept-Encoding": "identity"}),
            (link(f"{home}/"), None),
        ]
        for direct in (True, False):
            rules = {"headers": {"X-Mine": "yes", "Accept-Language": "de"}}
            async with fetcher(tmp_path, seed, **rules) as ours:
                use(ours, direct=direct)
                for one, extra in asked:
                    pages.append(told(await ours.fetch(one, headers=extra)))
        heads = listener.heads
    half = len(asked)
    assert len(heads) == 2 * half
    assert heads[:half] == heads[half:]
    assert pages[:half] == pages[half:]
    assert b"GET /a/b?c=d&e=%20 HTTP/1.1\r\n" in heads[1]
    assert b"GET /a? HTTP/1.1\r\n" in heads[2]
    assert b"GET /a?b HTTP/1.1\r\n" in heads[3]
    assert b"If-None-Match" in heads[4]
    assert b"If-None-Match" not in heads[8], "what one exchange was sent is not kept for the next"
    assert all(b"Authorization: Basic" in head for head in heads)


async def test_one_connection_serves_one_after_another(tmp_path: Path) -> None:
    listener = Listener()
    async with heard(listener) as home, fetcher(tmp_path) as ours:
        for number in range(20):
            page = await ours.fetch(link(f"{home}/{number}"))
            assert page.body == b"hi"
            assert (page.timings.connect is None) == (number > 0)
        assert listener.connections == 1
    await asyncio.wait_for(listener.closed.wait(), 5)


async def test_who_stops_reading_has_its_connection_closed(tmp_path: Path) -> None:
    begun = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9000\r\n\r\nhalf"
    listener = Listener(begun)
    async with heard(listener) as home, fetcher(tmp_path, max_body=1000) as ours:
        with pytest.raises(TooLarge):
            await ours.fetch(link(f"{home}/"))
        await asyncio.wait_for(listener.closed.wait(), 5)
        with pytest.raises(TooLarge):
            await ours.fetch(link(f"{home}/"))
        assert listener.connections == 2


async def test_cancelled_while_waiting_it_leaves_no_connection(tmp_path: Path) -> None:
    listener = Listener(b"")
    async with heard(listener) as home, fetcher(tmp_path) as ours:
        trip = asyncio.create_task(ours.fetch(link(f"{home}/")))
        await asyncio.wait_for(listener.asked.wait(), 5)
        trip.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trip
        await asyncio.wait_for(listener.closed.wait(), 5)
        assert ours.busy == 0


async def test_a_head_that_is_none_is_told_as_the_session_tells_it(tmp_path: Path) -> None:
    reasons = []
    async with heard(Listener(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")) as home:
        for direct in (True, False):
            async with fetcher(tmp_path) as ours:
                use(ours, direct=direct)
                with pytest.raises(FetchError) as caught:
                    await ours.fetch(link(f"{home}/"))
                reasons.append((type(caught.value), str(caught.value)))
    assert reasons[0] == reasons[1]


async def test_requests_kept_ready_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "KEPT", 2)
    async with fetcher(tmp_path) as ours:
        made = [
            ours._clients[None].request("GET", f"http://{name}", {}, {}, None)
            for name in ("a", "b", "a")
        ]
        assert made[0] is made[2]
        for name in ("c", "d", "e"):
            ours._clients[None].request("GET", f"http://{name}", {}, {}, None)
        assert len(ours._clients[None]._kept) <= 2


@given(
    st.lists(st.sampled_from(["a", "B", "%2f", "ä", " ", "/", ";p", "=", "&", "+", "..", "'"])),
    st.none() | st.lists(st.sampled_from(["q", "=", "&", "%20", "é", " ", "?", "/"])),
    st.none() | st.just("top"),
)
def test_a_target_is_what_aiohttp_would_ask_for(
    path: list[str], query: list[str] | None, fragment: str | None
) -> None:
    url = "http://example.org/" + "".join(path)
    url += "" if query is None else "?" + "".join(query)
    url += "" if fragment is None else f"#{fragment}"
    canonical = Urls(UrlsConfig(strip_fragment=False)).canonical(url)
    assert canonical is not None
    asked = yarl.URL(canonical, encoded=True).raw_path_qs
    if canonical.partition("#")[0].partition("?")[1:] == ("?", ""):
        asked += "?"  # which yarl forgets
    assert target_of(canonical) == asked == _with_target(canonical).raw_path_qs


@pytest.mark.parametrize("cookies", [False, True])  # with a jar the session is asked
@pytest.mark.parametrize(
    ("sent", "target"),
    [
        (b"/caf\xe9", "/caf%E9"),
        (b"/caf\xc3\xa9", "/caf%C3%A9"),
        (b"/q?x=\xd6\xd0", "/q?x=%D6%D0"),
        (b"/a b", "/a%20b"),
        (b"/p?", "/p?"),
        (b"?", "/?"),
        (b"/%e9", "/%e9"),
        (b"#x?y\xe9", "/#x?y%E9"),
    ],
)
async def test_where_a_redirect_leads_is_taken_byte_by_byte(
    tmp_path: Path, sent: bytes, target: str, *, cookies: bool
) -> None:
    head = b"HTTP/1.1 302 F\r\nContent-Length: 0\r\nLocation: %b\r\n\r\n" % sent
    async with heard(Listener(head)) as home, fetcher(tmp_path, cookies=cookies) as ours:
        assert (await ours.fetch(link(f"{home}/"))).location == home + target
