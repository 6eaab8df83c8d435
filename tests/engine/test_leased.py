"""What keeps a worker from asking for a link that is another's: each guard by itself.

The look, just before a request is written; the end of an exchange that outlives its lease. A worker
has both, and each covers for the other (test_redis_chaos.py); here the other one is not there.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from conftest import OpenSite
from helpers.frontier_contract import found, lease
from helpers.redis_frontiers import frontier
from helpers.redis_server import a_server
from helpers.website import page

from crawler.config.model import FetchConfig
from crawler.engine.lease_guard import LeaseGuard
from crawler.errors import LeaseLost
from crawler.fetch.fetcher import HttpFetcher
from crawler.policy.urls import host_key
from crawler.records import CrawlUrl


class Lost:
    """A lease that ends while the connection is made, and then another has the link: `ends` false
    keeps it. Nothing is broken off.
    """

    def __init__(self, *, ends: bool) -> None:
        self.ends = ends
        self.looks = 0

    def owns(self, link: CrawlUrl) -> bool:
        del link
        self.looks += 1
        return self.looks == 1 or not self.ends

    async def renew(self, link: CrawlUrl) -> bool:
        del link
        return False

    def watch(self, link: CrawlUrl, exchange: asyncio.Timeout | None) -> None:
        """Nobody does."""


@pytest.mark.parametrize("path", ["/", "/?"])
async def test_a_lease_is_looked_at_when_the_connection_is_there(
    website: OpenSite, tmp_path: Path, path: str
) -> None:
    """Nothing is sent, and the connection is as good as before. `/?` goes by aiohttp's session."""
    site = await website({"/": page(), "/?": page()})
    link = CrawlUrl(site.at(path), host_key(site.url))
    leases = Lost(ends=True)
    async with HttpFetcher(
        FetchConfig(), slots=1, user_agent="test/1", spool=tmp_path, owned=leases.owns
    ) as plain:
        fetcher = LeaseGuard(plain, leases)
        with pytest.raises(LeaseLost):
            await fetcher.fetch(link)
        assert leases.looks == 3, "before the trip, at the connection, and whether to go again"
        leases.ends = False
        assert (await fetcher.fetch(link)).status == 200
    assert site.hits.total() == 1
    assert site.connections == 1


async def test_an_exchange_ends_when_its_lease_does(tmp_path: Path) -> None:
    """A worker that cannot renew hangs up: the host may be asked by another from then on."""
    gone = asyncio.Event()

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == b""
        gone.set()
        writer.close()

    site = await asyncio.start_server(never, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{site.sockets[0].getsockname()[1]}/"
    with a_server() as server:
        async with (
            asyncio.timeout(60),
            site,
            frontier(server, "j", lease=0.5) as queue,
            HttpFetcher(FetchConfig(), slots=1, user_agent="test/1", spool=tmp_path) as plain,
        ):
            await queue.add([found(url)])
            link = await lease(queue)
            queue._tasks[1].cancel()  # nothing is renewed
            with pytest.raises(LeaseLost, match="broken off"):
                await LeaseGuard(plain, queue).fetch(link)
            await gone.wait()
