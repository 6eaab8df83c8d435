"""One trip, or one question, without frontier or folder: what the commands that look show."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from crawler.bootstrap.crawl_setup import canonical_seeds, check_readers, fetcher_of
from crawler.config.model import Config
from crawler.engine.robots_fetcher import RobotsFetcher, RobotsResponse
from crawler.parse.workers.pool import ParsePool
from crawler.parse.workers.reader_settings import ReaderSettings
from crawler.policy.outcome import ResponseClassifier
from crawler.policy.retry_policy import RetryPolicy
from crawler.policy.scope import Scope
from crawler.policy.urls import Urls, host_key, origin
from crawler.policy.user_agent import product_token
from crawler.records import CrawlResult, CrawlUrl, Kind


@asynccontextmanager
async def open_trip(
    config: Config, url: str
) -> AsyncIterator[Callable[[], Awaitable[CrawlResult]]]:
    """One trip to one URL, without frontier or folder: what `crawler fetch` shows."""
    urls = Urls(config.urls)
    (seed,) = canonical_seeds(urls, [url])
    alone = msgspec.structs.replace(config, seeds=(url,))  # it alone may be sent secrets
    scope = Scope(config.scope, [seed])
    verdict = ResponseClassifier(
        urls, scope, RetryPolicy(config.retry), fetch=config.fetch, pace=config.pace
    )
    check_readers(config)
    rules = ReaderSettings(
        urls=urls,
        scope=scope,
        limits=config.scope,
        parse=config.parse,
        fetch=config.fetch,
        keep_body=False,
        agent=product_token(config),
        robots=config.robots,
    )
    async with AsyncExitStack() as stack:
        spool = Path(stack.enter_context(TemporaryDirectory(prefix="crawler-")))
        parse = msgspec.structs.replace(config.parse, processes=1)
        parser = await stack.enter_async_context(ParsePool(rules, parse))
        fetcher = await stack.enter_async_context(fetcher_of(alone, spool))

        async def trip() -> CrawlResult:
            link = CrawlUrl(seed, host_key(seed))
            page = await fetcher.fetch(link)
            visit = verdict.on_answer(link, page)
            extract = await parser.read(page)
            return msgspec.structs.replace(visit, extract=extract, found=extract.found)

        yield trip


@asynccontextmanager
async def open_robots(
    config: Config, url: str
) -> AsyncIterator[Callable[[], Awaitable[RobotsResponse]]]:
    """One question for the robots.txt of a URL's origin, without frontier or folder: what
    `crawler robots` shows.
    """
    urls = Urls(config.urls)
    (seed,) = canonical_seeds(urls, [url])
    rules = ReaderSettings(
        urls=urls,
        scope=Scope(config.scope, [seed]),
        limits=config.scope,
        parse=config.parse,
        fetch=config.fetch,
    )
    async with AsyncExitStack() as stack:
        spool = Path(stack.enter_context(TemporaryDirectory(prefix="crawler-")))
        parse = msgspec.structs.replace(config.parse, processes=1)
        parser = await stack.enter_async_context(ParsePool(rules, parse))
        fetcher = await stack.enter_async_context(
            fetcher_of(msgspec.structs.replace(config, seeds=(url,)), spool)
        )
        asker = RobotsFetcher(fetcher, parser, urls)
        link = CrawlUrl(f"{origin(seed)}/robots.txt", host_key(seed), kind=Kind.ROBOTS)

        async def ask() -> RobotsResponse:
            return await asker.ask(link)

        yield ask
