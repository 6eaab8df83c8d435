"""The website that the other tests stand on does what it says."""

from __future__ import annotations

import asyncio
import gzip

import aiohttp
import pytest
from helpers.website import (
    Website,
    busy,
    drip,
    endless,
    gate,
    gzip_bomb,
    hangup,
    page,
    raw,
    redirect,
    reply,
    sequence,
    slow,
    text,
    truncated,
)


async def get(site: Website, path: str, **options: object) -> tuple[int, bytes]:
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(site.at(path), allow_redirects=False, **options) as answer,  # type: ignore[arg-type]
    ):
        return answer.status, await answer.read()


async def test_pages_hits_and_log() -> None:
    async with Website({"/": page("Home", ["/a?b=1&c=2"]), "/robots.txt": text("no")}) as site:
        status, body = await get(site, "/")
        assert (status, b'href="/a?b=1&amp;c=2"' in body, b"<title>Home" in body) == (
            200,
            True,
            True,
        )
        assert await get(site, "/robots.txt") == (200, b"no")
        assert (await get(site, "/missing?x=1"))[0] == 404
    assert site.hits == {"/": 1, "/robots.txt": 1, "/missing?x=1": 1}
    assert (site.log[0].path, site.log[0].host) == ("/", f"127.0.0.1:{site.port}")
    assert "aiohttp" in site.log[0].headers["user-agent"]
    assert (site.open, site.peak) == (0, 1)


async def test_connections_are_kept() -> None:
    async with Website({"/": page()}) as site, aiohttp.ClientSession() as session:
        for _ in range(3):
            async with session.get(site.url) as answer:
                await answer.read()
        async with session.head(site.url) as answer:
            assert int(answer.headers["Content-Length"]) > 0
            assert await answer.read() == b""
        assert site.connections == 1


async def test_redirects_go_to_other_hosts() -> None:
    async with Website({"/": redirect("{1}/there", 307)}, {"/there": page("Other")}) as site:
        async with aiohttp.ClientSession() as session, session.get(site.url) as answer:
            assert str(answer.url) == site.at("/there", host=1)
            assert "Other" in await answer.text()
        assert site.log[1].host == f"127.0.0.2:{site.port}"
        assert site.peaks == {"127.0.0.1": 1, "127.0.0.2": 1}


async def test_busy_refuses_so_often() -> None:
    async with Website({"/": busy(times=2, retry_after=1)}) as site:
        assert [(await get(site, "/"))[0] for _ in range(3)] == [503, 503, 200]


async def test_sequence_stays_at_its_last() -> None:
    async with Website({"/": sequence(reply("1"), reply("2", 500))}) as site:
        assert [(await get(site, "/"))[1] for _ in range(3)] == [b"1", b"2", b"2"]


async def test_gate_waits_for_the_test() -> None:
    door = gate(then=reply("in"))
    async with Website({"/": door}) as site, asyncio.TaskGroup() as crew:
        asking = [crew.create_task(get(site, "/")) for _ in range(5)]
        await site.wait_for("/", times=5)
        assert (site.open, site.peak, door.waiting) == (5, 5, 5)
        assert not any(task.done() for task in asking)
        door.open()
        assert {(await task)[1] for task in asking} == {b"in"}


async def test_closing_does_not_wait_for_a_shut_gate() -> None:
    async with Website({"/": gate(), "/slow": slow(1000)}) as site:
        asking = [asyncio.create_task(get(site, path)) for path in ("/", "/slow")]
        for path in ("/", "/slow"):
            await site.wait_for(path)
    ends = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(end, aiohttp.ClientError) for end in ends)


async def test_etag() -> None:
    async with Website({"/": page(etag='"1"')}) as site:
        assert (await get(site, "/", headers={"If-None-Match": '"1"'})) == (304, b"")
        assert (await get(site, "/", headers={"If-None-Match": '"2"'}))[0] == 200


@pytest.mark.parametrize(
    "answer", [hangup(), hangup(reset=False), raw(b"SSH-2.0-x\r\n"), truncated()]
)
async def test_broken_answers_break(answer: object) -> None:
    async with Website({"/": answer}) as site:  # type: ignore[dict-item]
        with pytest.raises(aiohttp.ClientError):
            await get(site, "/")


async def test_bodies_in_pieces() -> None:
    async with Website({"/": drip(b"0123456789" * 3, pieces=7, pause=0)}) as site:
        assert await get(site, "/") == (200, b"0123456789" * 3)


async def test_endless_is_read_as_far_as_one_likes() -> None:
    async with (
        Website({"/": endless()}) as site,
        aiohttp.ClientSession() as session,
        session.get(site.url) as answer,
    ):
        assert len(await answer.content.readexactly(1_000_000)) == 1_000_000


async def test_bomb_is_small_on_the_wire() -> None:
    async with Website({"/": gzip_bomb(2_000_000)}) as site:
        _, body = await get(site, "/")
        assert len(body) < 5_000
        assert len(gzip.decompress(body)) == 2_000_003


async def test_an_answer_that_fails_fails_the_test() -> None:
    async def wrong(_: object) -> object:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):  # noqa: PT012  (it is the end of the site that raises)
        async with Website({"/": wrong}) as site:  # type: ignore[dict-item]
            with pytest.raises(aiohttp.ClientError):
                await get(site, "/")


async def test_wait_for_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helpers.website.PATIENCE", 0.01)
    async with Website({}) as site:
        with pytest.raises(TimeoutError):
            await site.wait_for("/never")
