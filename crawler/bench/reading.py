"""What every variant does with an answer: the product's reader and scope, and one line to write."""

from __future__ import annotations

import time
from typing import Final, NamedTuple

from crawler.bench.crawl_task import CrawlTask
from crawler.bench.parsers import PARSERS
from crawler.config.model import Config, ScopeConfig
from crawler.parse.reader import PageReader
from crawler.parse.workers.reader_settings import ReaderSettings
from crawler.policy.scope import Scope
from crawler.policy.urls import Urls, host_key
from crawler.records import CrawlUrl, Kind

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class BenchResponse(NamedTuple):
    """What came over the wire for a URL."""

    url: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    ms: float = 0.0  # from the request to the last byte


class ReadPage(NamedTuple):
    """A page as it is written, and where it leads."""

    url: str
    status: int
    title: str
    links: int  # distinct ones, whether followed or not
    found: tuple[str, ...]  # to be followed
    size: int
    ms: float
    cpu: float  # seconds that reading took


class PageReading:
    """Reads answers; picklable by its task, so that a process can make its own."""

    def __init__(self, task: CrawlTask) -> None:
        config = Config(scope=ScopeConfig(scope="host"))
        self._urls = Urls(config.urls)
        seed = self._urls.canonical(task.seed)
        assert seed is not None
        scheme = seed.partition("://")[0]
        self._scope = Scope(config.scope, [seed, *(f"{scheme}://{host}/" for host in task.hosts)])
        rules = ReaderSettings(
            self._urls, self._scope, limits=config.scope, parse=config.parse, fetch=config.fetch
        )
        self._reader = PageReader(rules, PARSERS[task.parser]())
        self.seed = seed

    def read(self, answer: BenchResponse) -> ReadPage:
        """One page read; what is no page, or no success, leads nowhere."""
        began = time.thread_time()
        url, title, links = answer.url, "", 0
        found: tuple[str, ...] = ()
        if answer.status == 200:
            extract = self._reader.read(CrawlUrl(url, host_key(url)), answer.headers, answer.body)
            title, links = extract.title, len(extract.found)
            found = tuple(one[0] for one in extract.found if not one[4])
        elif answer.status in REDIRECTS:
            found = self._moved(answer)
        cpu = time.thread_time() - began
        return ReadPage(url, answer.status, title, links, found, len(answer.body), answer.ms, cpu)

    def _moved(self, answer: BenchResponse) -> tuple[str, ...]:
        fields = {name.lower(): value for name, value in answer.headers}
        target = self._urls.join(answer.url, fields.get("location", ""))
        if target is None or self._scope.judge(target, host_key(target), 0, Kind.PAGE):
            return ()
        return (target,)
