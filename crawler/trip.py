"""One trip, or one question, without frontier or folder: what the commands that look show."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from crawler.asker import Answer, Asker
from crawler.build import canonical_seeds, check_readers, fetcher_of
from crawler.config import Config
from crawler.identity import product_token
from crawler.model import Kind, Link, Visit
from crawler.parse.pool import ParsePool
from crawler.parse.rules import ReaderRules
from crawler.retry import Retry
from crawler.scope import Scope
from crawler.urls import Urls, host_key, origin
from crawler.verdict import Verdict


@asynccontextmanager
async def open_trip(config: Config, url: str) -> AsyncIterator[Callable[[], Awaitable[Visit]]]:
    """One trip to one URL, without frontier or folder: what `crawler fetch` shows."""
    urls = Urls(config.urls)
    (seed,) = canonical_seeds(urls, [url])
    alone = msgspec.structs.replace(config, seeds=(url,))  # it alone may be sent secrets
    scope = Scope(config.scope, [seed])
    verdict = Verdict(urls, scope, Retry(config.retry), fetch=config.fetch, pace=config.pace)
    check_readers(config)
    rules = ReaderRules(
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

        async def trip() -> Visit:
            link = Link(seed, host_key(seed))
            page = await fetcher.fetch(link)
            visit = verdict.on_answer(link, page)
            extract = await parser.read(page)
            return msgspec.structs.replace(visit, extract=extract, found=extract.found)

        yield trip


@asynccontextmanager
async def open_robots(config: Config, url: str) -> AsyncIterator[Callable[[], Awaitable[Answer]]]:
    """One question for the robots.txt of a URL's origin, without frontier or folder: what
    `crawler robots` shows.
    """
    urls = Urls(config.urls)
    (seed,) = canonical_seeds(urls, [url])
    rules = ReaderRules(
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
        asker = Asker(fetcher, parser, urls)
        link = Link(f"{origin(seed)}/robots.txt", host_key(seed), kind=Kind.ROBOTS)

        async def ask() -> Answer:
            return await asker.ask(link)

        yield ask
