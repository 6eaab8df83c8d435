"""The practical limit in one process: aiohttp fetches, lexbor reads in the loop, and nothing else.

No robots.txt, no limits, no retries, no record of what is under way. `python bare_crawl.py URL
CONCURRENCY OUT`; says on its last line how many pages it read and in how many seconds.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import ada_url
import aiohttp
import msgspec
import uvloop
import yarl
from selectolax.lexbor import LexborHTMLParser

LINES = 200  # written together


async def main(seed: str, width: int, out: Path) -> None:
    """Crawl to the end."""
    home = "/".join(seed.split("/", 3)[:3]) + "/"
    todo: asyncio.Queue[str] = asyncio.Queue()
    todo.put_nowait(seed)
    seen = {seed}
    lines: list[dict[str, object]] = []
    encoder = msgspec.json.Encoder()
    number = 0

    def read(url: str, status: int, body: bytes) -> None:
        nonlocal number
        number += 1
        tree = LexborHTMLParser(body)
        title = tree.css_first("title")
        hrefs = {node.attributes.get("href") or "" for node in tree.css("a[href]")}
        for href in {href.partition("#")[0] for href in hrefs}:
            try:
                found = ada_url.join_url(url, href)
            except ValueError:
                continue
            if found.startswith(home) and found not in seen:
                seen.add(found)
                todo.put_nowait(found)
        name = title.text() if title is not None else ""
        lines.append({"url": url, "status": status, "title": name, "links": len(hrefs)})

    async def work(session: aiohttp.ClientSession) -> None:
        while True:
            url = await todo.get()
            async with session.get(yarl.URL(url, encoded=True), allow_redirects=False) as answer:
                body = await answer.read()
            if answer.status == 200 and answer.content_type == "text/html":
                read(url, answer.status, body)
                if len(lines) >= LINES:
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
            crew = [asyncio.create_task(work(session)) for _ in range(width)]
            await todo.join()
            for one in crew:
                one.cancel()
            await asyncio.gather(*crew, return_exceptions=True)
        file.write(encoder.encode_lines(lines))
    sys.stdout.write(f"{number} {time.monotonic() - began:.3f}\n")


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
