"""Measure the memory of an idle host in the scheduler: `python -m benchmarks.host_memory [HOSTS]`

The scheduler keeps a host (name, slot, expiry of its robots.txt) while URLs wait for it, and caches
some hosts without any. Compiled robots.txt files are not included: the robots gate bounds their
number. The figures are differences of this process's resident memory, allocator overhead included.
"""

from __future__ import annotations

import gc
import sys
from typing import Final

import msgspec
import psutil

from crawler.frontier.scheduling.scheduler import Scheduler
from crawler.frontier.scheduling.slot_settings import SlotSettings
from crawler.policy.autothrottle import ResponseSample
from crawler.records import CrawlUrl, Kind

HOSTS: Final = 100_000
LINKS: Final = 8  # of each host in memory, where hosts have so many on average


class Idle(msgspec.Struct, frozen=True):
    """Bytes. `met`: a host with links that wait on disk; `visited`: after its robots.txt and a
    page, with others to come; `link`: one link in its buffer, with a URL of 60 characters;
    `done`: of each host of one page, where as many are met and visited one after another.
    """

    hosts: int
    met: float
    visited: float
    link: float
    done: float

    def __str__(self) -> str:
        return (
            f"{self.hosts:,} hosts: {self.met:,.0f} bytes a host met, {self.visited:,.0f} once "
            f"visited, {self.link:,.0f} a link in its buffer, {self.done:,.0f} once done with\n"
        )


def measure(hosts: int = HOSTS) -> Idle:
    """Meet so many hosts, visit each, fill their buffers. Exact in a fresh process only."""
    schedule = Scheduler(SlotSettings(adaptive=True))
    before = _resident()
    for number in range(1, hosts + 1):
        host = schedule.host(f"host-{number}.example.org", number)
        schedule.queue(host, LINKS + 1)
    met = _resident()
    schedule.thirsty()
    now = 0.0
    for host in schedule.hosts.values():
        schedule.fill(host, [_link(host.name, host.number)])
    while (link := schedule.take(now)) is not None:
        schedule.release(link, now, lesson=ResponseSample(0.2, failed=False))
        host = schedule.hosts[link.host]
        if link.kind is Kind.ROBOTS:
            home = link.url.removesuffix("/robots.txt")
            schedule.open(host, home, now + 86_400, None)
        else:
            schedule.finish(link, page=True)
        if schedule.next_due() not in {None, now} and schedule.pages < hosts:
            now = max(now, schedule.next_due() or now)
    assert schedule.pages == hosts
    schedule.thirsty()
    visited = _resident()
    for host in schedule.hosts.values():
        first = hosts + host.number * LINKS
        schedule.fill(host, [_link(host.name, first + i) for i in range(LINKS)])
    filled = _resident()
    broad = _broad(hosts)
    done = _resident()
    assert broad.pages == hosts
    return Idle(
        hosts,
        (met - before) / hosts,
        (visited - before) / hosts,
        (filled - visited) / hosts / LINKS,
        (done - filled) / hosts,
    )


def _broad(hosts: int) -> Scheduler:
    """Visit hosts of one page one after another: most of the time nothing is left to do there."""
    schedule = Scheduler(SlotSettings(adaptive=True))
    for number in range(1, hosts + 1):
        now = float(number)
        host = schedule.host(f"host-{number}.example.org", number)
        schedule.queue(host, 1)
        schedule.thirsty()
        schedule.fill(host, [_link(host.name, number)])
        for moment in (now, now + 0.5):
            link = schedule.take(moment)
            assert link is not None
            schedule.release(link, moment, lesson=ResponseSample(0.2, failed=False))
            if link.kind is Kind.ROBOTS:
                schedule.open(host, link.url.removesuffix("/robots.txt"), now + 86_400, None)
            else:
                schedule.finish(link, page=True)
        schedule.forget(now)
    return schedule


def _link(host: str, number: int) -> CrawlUrl:
    url = f"http://{host}/{number:0{max(1, 52 - len(host))}d}"
    return CrawlUrl(url, host, depth=1, id=number)


def _resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    sys.stdout.write(str(measure(*map(int, sys.argv[1:]))))
