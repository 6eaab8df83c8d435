"""Scrapy, as its tutorial has it: follow every link, write url, status, title and link count.

`python scrapy_spider.py URL CONCURRENCY OUT`, run by Scrapy's own environment.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import scrapy
from scrapy.crawler import CrawlerProcess

url, concurrency, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]


class Everything(scrapy.Spider):
    """The whole host."""

    name = "everything"
    start_urls = (url,)
    allowed_domains = (url.split("/")[2].partition(":")[0],)

    def parse(self, response: Any) -> Iterator[Any]:
        links = response.css("a::attr(href)").getall()
        yield {
            "url": response.url,
            "status": response.status,
            "title": response.css("title::text").get(),
            "links": len(set(links)),
        }
        yield from response.follow_all(links)


process = CrawlerProcess(
    {
        "CONCURRENT_REQUESTS": concurrency,
        "CONCURRENT_REQUESTS_PER_DOMAIN": concurrency,
        "DOWNLOAD_DELAY": 0,
        "ROBOTSTXT_OBEY": False,
        "FEEDS": {out: {"format": "jsonlines"}},
        "LOG_LEVEL": "ERROR",
    }
)
process.crawl(Everything)
process.start()
