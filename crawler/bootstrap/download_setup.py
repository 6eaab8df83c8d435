"""Orders → an open crawl of files: the same loop, frontier, ledger and fetcher as pages have.

DIR/report.pdf  DIR/big.iso.part …      the files
DIR/.crawler-download/frontier.db       every order and how far it is
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from crawler.config.model import Config
from crawler.config.workdir import FRONTIER
from crawler.downloads import progress_store
from crawler.downloads.disk import Disk
from crawler.downloads.download_context import DownloadContext
from crawler.downloads.download_request import DownloadRequest, DownloadResult, FileProgress
from crawler.downloads.file_fetcher import DownloadFetcher, DownloadParser
from crawler.downloads.file_names import STATE_FOLDER
from crawler.downloads.progress_store import ProgressStore
from crawler.downloads.request_list import hosts, merge_requests, origins
from crawler.downloads.segment_requests import DEFAULT_HEADERS
from crawler.engine.committer import Committer
from crawler.engine.engine import Engine
from crawler.engine.loop_monitor import LoopMonitor
from crawler.engine.robots_gate import RobotsGate
from crawler.engine.stats import Gauges, StatsCollector
from crawler.errors import FatalError
from crawler.fetch.address_guard import AddressGuard, networks
from crawler.fetch.credentials import Credentials
from crawler.fetch.fetcher import HttpFetcher
from crawler.fetch.shared_resources import SharedResources
from crawler.frontier.sqlite.download_rows import Row
from crawler.frontier.sqlite.offline import revise_downloads
from crawler.frontier.sqlite.sqlite_frontier import SqliteFrontier
from crawler.interfaces import Frontier
from crawler.policy.outcome import ResponseClassifier
from crawler.policy.retry_policy import RetryPolicy
from crawler.policy.scope import Scope
from crawler.policy.urls import Urls, fingerprint, host_key
from crawler.policy.user_agent import product_token, user_agent
from crawler.records import Kind, Outlink

if TYPE_CHECKING:
    from crawler.parse.workers.pool import ParsePool


class DownloadSession:
    """An open download. `here` are the files of the orders that were complete before it began."""

    def __init__(
        self,
        crawl: Engine,
        desk: DownloadContext,
        arrivals: DownloadParser,
        here: list[DownloadResult],
    ) -> None:
        self.crawl = crawl
        self.desk = desk
        self.here = here
        self._arrivals = arrivals


@asynccontextmanager
async def open_depot(
    config: Config,
    orders: Sequence[DownloadRequest],
    folder: Path,
    *,
    tell: Callable[[DownloadResult], Awaitable[None]],
    neighbours: SharedResources | None = None,
) -> AsyncIterator[DownloadSession]:
    """Open for these orders and what an earlier run left in `folder`; closed on leaving.

    `tell` hears of every file as it is final; what it awaits slows the download, not the memory.
    `neighbours` is what other crawls and downloads of this process share with it.
    Raises ConfigError for what the person gave, FolderLocked for a folder in use, FatalError for
    one unfit for use.
    """
    urls = Urls(config.urls)
    logins = [url for one in orders for url in (one.url, *one.mirrors) if "@" in url]
    orders = merge_requests(urls, orders)
    ours = folder / STATE_FOLDER
    _prepare(ours)
    here: list[DownloadResult] = []
    renewed: list[str] = []

    def judge(rows: list[Row], states: dict[str, str]) -> list[str]:
        renewed.extend(_again(rows, states, orders, folder, config, here))
        return renewed

    revise_downloads(ours / FRONTIER, judge)
    retry = RetryPolicy(config.retry)
    limits = config.limits
    async with AsyncExitStack() as stack:
        frontier = await stack.enter_async_context(
            SqliteFrontier(
                ours / FRONTIER,
                config.pace,
                concurrency=limits.concurrency,
                robots=config.robots.obey,
                durable=config.output.durable,
            )
        )
        store = await stack.enter_async_context(ProgressStore(frontier))
        for url in renewed:
            if store.progress[url].finished:  # its name stays its own
                store.progress[url] = FileProgress(name=store.progress[url].name)
        await store.add(orders)
        every = list(store.requests.values())
        named = origins(every)
        scope = Scope(config.scope, [one.url for one in every[:1]])
        verdict = ResponseClassifier(urls, scope, retry, fetch=config.fetch, pace=config.pace)
        paced: Frontier = frontier
        if neighbours is not None:
            paced = await stack.enter_async_context(neighbours.frontier(frontier, config.pace))
        fetcher = await stack.enter_async_context(
            HttpFetcher(
                config.fetch,
                slots=limits.concurrency
                if neighbours is None
                else neighbours.connections(limits.concurrency),
                user_agent=user_agent(config),
                spool=ours,
                guard=AddressGuard(
                    hosts(named),
                    private=config.fetch.private,
                    networks=networks(config.fetch.allow_networks),
                )
                if neighbours is None
                else neighbours.guard(),
                credentials=Credentials(config.fetch, [*logins, *named]),
                always=DEFAULT_HEADERS,
                rate=config.pace.limit_rate,
                robots_timeout=config.robots.timeout,
                owned=paced.sent,
            )
        )
        disk = await stack.enter_async_context(Disk(fsync=config.output.durable == "power"))
        desk = DownloadContext(
            config.download,
            folder,
            frontier=paced,
            fetcher=fetcher,
            disk=disk,
            store=store,
            urls=urls,
            decode=_decode,
            queued_for=frontier.waiting,
            free_connections=lambda: limits.concurrency - fetcher.busy,
            max_redirects=config.fetch.max_redirects,
            host_rate=config.pace.host_rate,
            fsync=disk.fsync,
        )
        trips = DownloadFetcher(desk)
        arrivals = DownloadParser(desk, tell)
        ledger = await stack.enter_async_context(Committer(paced, [arrivals]))
        agent = product_token(config)
        parser: Any = trips
        if config.robots.obey:
            parser = await stack.enter_async_context(_reader(config, urls, scope, agent))
        gate = RobotsGate(
            paced,
            fetcher,
            parser,
            agent=agent,
            robots=config.robots,
            pace=config.pace,
            retry=retry,
            urls=urls,
        )
        await frontier.add([_found(one.url) for one in orders])
        tally = StatsCollector()

        def look(gauges: Gauges) -> None:
            gauges.queued = frontier.pending
            gauges.in_flight = fetcher.busy
            gauges.ledger_seconds = ledger.seconds
            gauges.slots = limits.concurrency

        await stack.enter_async_context(LoopMonitor(tally, look))
        crawl = Engine(
            paced, gate, trips, trips, ledger, verdict=verdict, limits=limits, tally=tally
        )
        yield DownloadSession(crawl, desk, arrivals, here)


def _reader(config: Config, urls: Urls, scope: Scope, agent: str) -> ParsePool:
    """For robots.txt files; loaded for those who ask for them only."""
    from crawler.parse.workers.pool import ParsePool  # noqa: PLC0415
    from crawler.parse.workers.reader_settings import ReaderSettings  # noqa: PLC0415

    rules = ReaderSettings(
        urls=urls, scope=scope, limits=config.scope, parse=config.parse,
        fetch=config.fetch, agent=agent, robots=config.robots,
    )  # fmt: skip
    return ParsePool(rules, msgspec.structs.replace(config.parse, processes=1))


def _decode(body: bytes | Path, codings: str, problems: list[str]) -> Iterator[bytes]:
    from crawler.parse.decode import stream  # noqa: PLC0415 - for the few that are coded

    return stream(body, codings, problems)


def _found(url: str) -> Outlink:
    host = host_key(url)
    return url, host, fingerprint(url, host), Kind.FILE.value, ""


def _prepare(ours: Path) -> None:
    try:
        ours.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FatalError(f"{error.filename or ours}: {error.strerror}") from error


def _again(
    rows: list[Row],
    states: dict[str, str],
    orders: Sequence[DownloadRequest],
    folder: Path,
    config: Config,
    here: list[DownloadResult],
) -> list[str]:
    """Which of the orders that an earlier run ended are to be had again: those that failed, those
    whose file is gone, all of them where newer ones are asked for. The others are `here`.
    """
    wanted = {order.url: order for order in orders}
    again = []
    for url, ordered, blob in rows:
        state = states.get(url, "queued")
        if url not in wanted or state in {"queued", "resting"}:
            continue
        order, progress = progress_store.decode_row(ordered, blob)
        path = folder / progress.name
        complete = state in {"done", "unchanged"} and _is_complete(path, progress)
        new = wanted[url]
        same = (new.checksums, new.name, new.also) == (order.checksums, order.name, order.also)
        if complete and same and config.download.exists not in {"newer", "replace"}:
            here.append(
                DownloadResult(url, "here", path, progress.size, progress.digest, "complete")
            )
        else:
            again.append(url)
    return again


def _is_complete(path: Path, progress: FileProgress) -> bool:
    return progress.finished and path.is_file() and path.stat().st_size == progress.size
