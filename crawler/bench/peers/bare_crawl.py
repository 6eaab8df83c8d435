"""The practical limit in one process: aiohttp fetches, lexbor parses in the loop, nothing else.

No robots.txt, limits, retries or durable queue. `python bare_crawl.py URL CONCURRENCY OUT` prints
on its last line how many pages it read and in how many seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import ada_url
import aiohttp
import msgspec
import uvloop
import yarl
from selectolax.lexbor import LexborHTMLParser

LINES_PER_WRITE = 200


def read(url: str, status: int, body: bytes) -> tuple[dict[str, object], Iterator[str]]:
    """The record of a page, and the absolute URLs of its links."""
    tree = LexborHTMLParser(body)
    title = tree.css_first("title")
    hrefs = {node.attributes.get("href") or "" for node in tree.css("a[href]")}
    name = title.text() if title is not None else ""
    record = {"url": url, "status": status, "title": name, "links": len(hrefs)}
    return record, joined(url, {href.partition("#")[0] for href in hrefs})


def joined(url: str, hrefs: Iterable[str]) -> Iterator[str]:
    """Resolve links against their page; invalid ones are dropped."""
    for href in hrefs:
        with contextlib.suppress(ValueError):
            yield ada_url.join_url(url, href)


async def main(seed: str, width: int, out: Path) -> None:
    """Crawl to the end."""
    home = "/".join(seed.split("/", 3)[:3]) + "/"
    todo: asyncio.Queue[str] = asyncio.Queue()
    todo.put_nowait(seed)
    seen = {seed}
    lines: list[dict[str, object]] = []
    encoder = msgspec.json.Encoder()
    number = 0

    async def work(session: aiohttp.ClientSession) -> None:
        nonlocal number
        while True:
            url = await todo.get()
            async with session.get(yarl.URL(url, encoded=True), allow_redirects=False) as answer:
                body = await answer.read()
            if answer.status == 200 and answer.content_type == "text/html":
                number += 1
                record, links = read(url, answer.status, body)
                lines.append(record)
                for link in links:
                    if link.startswith(home) and link not in seen:
                        seen.add(link)
                        todo.put_nowait(link)
                if len(lines) >= LINES_PER_WRITE:
                    file.write(encoder.encode_lines(lines))
                    lines.clear()
            todo.task_done()

    began = time.monotonic()
    with out.open("wb") as file:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=60),
        ) as session:
            workers = [asyncio.create_task(work(session)) for _ in range(width)]
            await todo.join()
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        file.write(encoder.encode_lines(lines))
    sys.stdout.write(f"{number} {time.monotonic() - began:.3f}\n")


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
