"""Open a crawl from its Config: the one module that knows every package, and opens what it needs.

What a crawl writes is chosen in outputs.py; a trip without a crawl is made in trip.py, of the same
parts. What has a socket, a file, a thread or a process is entered on one exit stack, in order, and
closed in reverse whatever happens.
"""

from __future__ import annotations

import logging
import resource
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import urlsplit

import msgspec

from crawler.bootstrap.outputs import outputs_of, upload_of
from crawler.config.loader import dump_toml, with_implied
from crawler.config.model import Config
from crawler.config.redaction import split_login, without_secrets
from crawler.config.workdir import FRONTIER, SAVED, Mode, prepare, worker_id, write_config
from crawler.engine.committer import Committer
from crawler.engine.engine import Engine
from crawler.engine.lease_guard import LeaseGuard
from crawler.engine.loop_monitor import LoopMonitor
from crawler.engine.robots_gate import RobotsGate
from crawler.engine.seed_redirects import SeedRedirects
from crawler.engine.stall_watchdog import StallWatchdog
from crawler.engine.stats import Gauges, StatsCollector
from crawler.engine.suspension import SuspendAwareFetcher, SuspendDetector
from crawler.errors import ConfigError
from crawler.fetch.address_guard import AddressGuard, networks
from crawler.fetch.credentials import Credentials
from crawler.fetch.fetcher import HttpFetcher
from crawler.fetch.shared_resources import SharedResources
from crawler.frontier.sqlite.sqlite_frontier import SqliteFrontier
from crawler.frontier.sqlite.statements import ENDED_RUN
from crawler.interfaces import Frontier, Sink
from crawler.parse.workers.pool import ParsePool, usable_cpus
from crawler.parse.workers.reader_settings import ReaderSettings
from crawler.policy.outcome import ResponseClassifier
from crawler.policy.retry_policy import RetryPolicy
from crawler.policy.scope import Scope
from crawler.policy.seeds import starting_points
from crawler.policy.urls import Urls
from crawler.policy.user_agent import demand_contact, product_token, user_agent
from crawler.records import CrawlUrl

if TYPE_CHECKING:
    from crawler.frontier.redis.redis_frontier import RedisFrontier
    from crawler.parse.warc_builder import WarcBuilder

OTHER_FILES: Final = 40
FILES_A_PROCESS: Final = 8
"""Descriptors beside those of connections: standard files, loop, queue, outputs, look-ups; and of
each parse process."""

log = logging.getLogger(__name__)


COMPLETE: Final = frozenset({"finished", "no-pages", "hosts-down", "max-pages"})
"""Ends of a run: what it left is for the next. Any other stops it in the middle."""


@asynccontextmanager
async def open_crawl(
    config: Config,
    *,
    dir: Path | str | None = None,  # noqa: A002 - the word that everyone uses for it
    mode: Mode = "new",
    sinks: Sequence[Sink] = (),
    neighbours: SharedResources | None = None,
    join: bool = False,
) -> AsyncIterator[Engine]:
    """An open crawl into `dir` (None: `config.output.dir`), closed on leaving.

    `new` refuses a folder that holds a crawl, `fresh` removes that crawl first, `resume` goes on
    with it. `sinks` are the caller's own, beside those of the configuration; `neighbours` is what
    several crawls in one process share, None: it is alone. `join`: the crawl is there already, on
    the Redis that `config.frontier` names; here is one more worker. Raises ConfigError for what the
    person gave, FolderLocked for a folder in use, FatalError for a folder unfit for use.
    """
    config = with_implied(config)
    asked, config = config, _within_limits(config)
    folder = Path(dir if dir is not None else config.output.dir)
    urls = Urls(config.urls)
    seeds = canonical_seeds(urls, config.seeds)
    agent = product_token(config)
    demand_contact(config, seeds)
    scope = scope_of(config, seeds, urls)
    retry = RetryPolicy(config.retry)
    verdict = ResponseClassifier(urls, scope, retry, fetch=config.fetch, pace=config.pace)
    check_readers(config)
    fetcher_of(config, folder).check()  # a folder that was made would be in the way next time
    prepare(folder, mode)
    async with AsyncExitStack() as stack:
        # First in, last out: what it copies at the end is closed.
        upload = await upload_of(stack, config, folder)
        frontier = await stack.enter_async_context(
            _frontier(config, folder, mode, scope, join=join)
        )
        if mode != "resume" or not (folder / SAVED).exists():
            write_config(asked, folder)
        outputs = outputs_of(config, folder, frontier, upload)
        for output in outputs:
            await stack.enter_async_context(output)
        marks = await frontier.marks()
        for output in outputs:
            await output.cut(marks.get(output.name, 0))
        spool = folder / "spool"
        rules = ReaderSettings(
            urls=urls,
            scope=scope,
            limits=config.scope,
            parse=config.parse,
            fetch=config.fetch,
            keep_body=config.output.save != "none",
            spool=spool,
            archivist=_archivist(config, spool) if config.output.warc else None,
            keep_text=config.output.text,
            agent=agent,
            robots=config.robots,
            sitemap_only=config.sitemap.only,
            sitemaps=config.sitemap.follow or config.sitemap.only,
        )
        parser = await stack.enter_async_context(ParsePool(rules, config.parse))
        paced: Frontier = frontier
        if neighbours is not None:
            paced = await stack.enter_async_context(neighbours.frontier(frontier, config.pace))
        local = frontier if isinstance(frontier, SqliteFrontier) else None
        leases = None if isinstance(frontier, SqliteFrontier) else frontier
        fetcher = await stack.enter_async_context(
            fetcher_of(config, spool, neighbours, owned=paced.sent, resumed=mode == "resume")
        )
        heartbeat = await stack.enter_async_context(SuspendDetector())
        leased = fetcher if leases is None else LeaseGuard(fetcher, leases)
        asking = SuspendAwareFetcher(leased, heartbeat)
        ledger = await stack.enter_async_context(
            Committer(paced, [*outputs, *sinks], marks=frontier.marks)
        )
        gate = RobotsGate(
            paced,
            asking,
            parser,
            agent=agent,
            robots=config.robots,
            sitemap=config.sitemap,
            pace=config.pace,
            retry=retry,
            urls=urls,
            verdict=verdict,
        )
        adoption = SeedRedirects(
            scope,
            tell=parser.adopt,
            guard=fetcher.guard if neighbours is None else None,
            recall=frontier.adopted if leases else None,
        )
        adoption.recalled(await frontier.adopted())
        start = starting_points(config, seeds, urls)
        await frontier.add([verdict.judged(url, 0, kind) for url, kind in start])
        tally = StatsCollector(unsent=fetcher.unsent)
        watch = _watch(tally, config, frontier, fetcher, parser, ledger)
        await stack.enter_async_context(watch)
        stages = await stack.enter_async_context(StallWatchdog(config.limits.stall))
        crawl = Engine(
            paced,
            gate,
            asking,
            parser,
            ledger,
            verdict=verdict,
            limits=config.limits,
            tally=tally,
            stages=stages,
            keep=parser.keep if config.output.warc else None,
            adoption=adoption,
            pages=True,
        )
        yield crawl
        if local is not None and crawl.finish_reason in COMPLETE:
            await local.note(**{ENDED_RUN: local.run})  # the next recrawl is another run


def _watch(
    tally: StatsCollector,
    config: Config,
    frontier: Queue,
    fetcher: HttpFetcher,
    parser: ParsePool,
    ledger: Committer,
) -> LoopMonitor:
    cpus = usable_cpus()

    def look(gauges: Gauges) -> None:
        gauges.queued = frontier.pending
        gauges.in_flight = fetcher.busy
        gauges.parsing = parser.backlog
        gauges.ledger_seconds = ledger.seconds
        gauges.slots = config.limits.concurrency
        gauges.processes = parser.width
        gauges.child_cpu = max(gauges.child_cpu, parser.cpu_seconds())
        gauges.cpus = cpus

    return LoopMonitor(tally, look)


def scope_of(config: Config, seeds: Sequence[str], urls: Urls) -> Scope:
    """Where sitemaps stand for a site, theirs are the redirects that lead to where it is now."""
    scope = Scope(config.scope, seeds)
    if config.sitemap.only and config.scope.scope in {"host", "domain"}:
        for url, _ in starting_points(config, seeds, urls):
            scope.ask(url)
    return scope


def _within_limits(config: Config) -> Config:
    """With no more connections and parse processes than there are file descriptors for: a link
    that finds none would fail, and the fork server, which gets a process's by a socket, dies with a
    traceback. A connection needs one, and often one more for its body.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    processes = config.parse.processes or usable_cpus()
    if 0 <= soft < OTHER_FILES + FILES_A_PROCESS * (processes + 1):
        processes = max(1, min(processes, (soft - OTHER_FILES) // FILES_A_PROCESS - 1))
        parse = msgspec.structs.replace(config.parse, processes=processes)
        config = msgspec.structs.replace(config, parse=parse)
    most = max(1, (soft - OTHER_FILES - FILES_A_PROCESS * processes) * 2 // 3)
    if soft < 0 or config.limits.concurrency <= most:  # no limit at all is -1
        return config
    log.warning("%d files may be open (ulimit -n): %d connections at a time", soft, most)
    limits = msgspec.structs.replace(config.limits, concurrency=most)
    return msgspec.structs.replace(config, limits=limits)


def check(config: Config) -> None:
    """Raises ConfigError for settings with which no crawl can be opened: for a door that has
    something to make before it opens one.
    """
    config = with_implied(config)
    urls = Urls(config.urls)
    seeds = canonical_seeds(urls, config.seeds)
    product_token(config)
    demand_contact(config, seeds)
    Scope(config.scope, seeds)
    check_readers(config)


def check_readers(config: Config) -> None:
    """Raises ConfigError for rules, plugins and extras that cannot be used. What reads pages is
    loaded for those who ask for it only: the parse processes have it, this one has no use for it.
    """
    if config.parse.plugins:
        from crawler.parse.plugins import check_plugins  # noqa: PLC0415

        check_plugins(config.parse.plugins)
    if config.parse.rules:
        from crawler.parse.extraction_rules import load_rules  # noqa: PLC0415

        load_rules(config.parse.rules)


def _archivist(config: Config, spool: Path) -> WarcBuilder:
    from crawler.parse.warc_builder import WarcBuilder  # noqa: PLC0415 - its packers, for archives only

    return WarcBuilder(config.warc.compression, config.warc.digest, spool)


def fetcher_of(
    config: Config,
    spool: Path,
    neighbours: SharedResources | None = None,
    *,
    owned: Callable[[CrawlUrl], bool] | None = None,
    resumed: bool = False,
) -> HttpFetcher:
    """Raises ConfigError for secrets, networks and proxies that cannot be used."""
    fetch = config.fetch
    seeds = canonical_seeds(Urls(config.urls), config.seeds)
    named = frozenset(urlsplit(seed).hostname or "" for seed in seeds)
    own = AddressGuard(named, private=fetch.private, networks=networks(fetch.allow_networks))
    most = config.limits.concurrency
    return HttpFetcher(
        fetch,
        slots=most if neighbours is None else neighbours.connections(most),
        user_agent=user_agent(config),
        spool=spool,
        keep_request=config.output.warc,
        accept=_accepted(config.scope.mime) if config.scope.mime else None,
        rate=config.pace.limit_rate,
        robots_timeout=config.robots.timeout,
        guard=neighbours.guard() if neighbours is not None else own,
        credentials=Credentials(fetch, config.seeds),
        owned=owned,
        resumed=resumed,
    )


def _accepted(types: Sequence[str]) -> Callable[[str], bool]:
    """Of pages; what says nothing of its type may be one. `text/*` is all that is text."""
    wanted = [one.strip().lower() for one in types]
    return lambda mime: not mime or any(fnmatchcase(mime, one) for one in wanted)


def canonical_seeds(urls: Urls, given: Sequence[str]) -> list[str]:
    """Each once. Raises ConfigError for what is no URL of ours."""
    seeds = []
    for url in given:
        canonical = urls.canonical(url)
        if canonical is None:
            shown, _ = split_login(url)
            raise ConfigError(f"seed {shown!r}: not a http or https URL")
        seeds.append(canonical)
    return list(dict.fromkeys(seeds))


Queue: TypeAlias = "SqliteFrontier | RedisFrontier"


@asynccontextmanager
async def _frontier(
    config: Config, folder: Path, mode: Mode, scope: Scope, *, join: bool
) -> AsyncIterator[Queue]:
    """The crawl's queue: in its folder, or where many machines reach it."""
    if config.frontier.url is None:
        async with SqliteFrontier(
            folder / FRONTIER,
            config.pace,
            concurrency=config.limits.concurrency,
            max_pages=config.limits.max_pages,
            by_depth=config.scope.max_depth is not None,
            robots=config.robots.obey,
            durable=config.output.durable,
            traps=config.scope,
            scope=scope,
            refusals=config.output.skipped,
        ) as frontier:
            yield frontier
        return
    try:
        from crawler.frontier.redis.redis_frontier import RedisFrontier  # noqa: PLC0415 - an extra
        from crawler.frontier.redis.redis_jobs import enlist  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError(f"frontier.url needs {error.name}: pip install crawler[redis]") from error
    if config.output.skipped:
        raise ConfigError("output.skipped needs a crawl on one machine")
    said = "join" if join or mode == "resume" else mode
    await enlist(config.frontier, dump_toml(without_secrets(config)), said)
    async with RedisFrontier(
        config.frontier,
        config.pace,
        concurrency=config.limits.concurrency,
        max_pages=config.limits.max_pages,
        by_depth=config.scope.max_depth is not None,
        robots=config.robots.obey,
        traps=config.scope,
        worker=worker_id(folder, config.frontier.job),
    ) as many:
        yield many
