"""Crawlee, as its introduction has it: enqueue every link, push url, status, title, link count.

`python crawlee_crawl.py URL CONCURRENCY OUT parsel|soup`, run by Crawlee's own environment.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

url, concurrency, out, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
os.environ["CRAWLEE_STORAGE_DIR"] = out

from crawlee import ConcurrencySettings  # noqa: E402 - reads the variable
from crawlee.crawlers import BeautifulSoupCrawler, ParselCrawler  # noqa: E402

settings = {
    "concurrency_settings": ConcurrencySettings(
        min_concurrency=concurrency,
        max_concurrency=concurrency,
        desired_concurrency=concurrency,
    ),
    "respect_robots_txt_file": False,
}


async def main() -> None:
    """Crawl to the end."""
    crawler: Any = (BeautifulSoupCrawler if kind == "soup" else ParselCrawler)(**settings)

    @crawler.router.default_handler  # type: ignore[untyped-decorator]  # Crawlee is not here
    async def handle(context: Any) -> None:
        if kind == "soup":
            title = context.soup.title.string if context.soup.title else None
            links = {a.get("href") for a in context.soup.find_all("a", href=True)}
        else:
            title = context.selector.css("title::text").get()
            links = set(context.selector.css("a::attr(href)").getall())
        await context.push_data(
            {
                "url": context.request.url,
                "status": context.http_response.status_code,
                "title": title,
                "links": len(links),
            }
        )
        await context.enqueue_links()

    await crawler.run([url])


asyncio.run(main())
