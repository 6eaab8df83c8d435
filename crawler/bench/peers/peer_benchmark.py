"""Peers on the same site, start-up included, interleaved; what each found, by the site's log.

A site of its own for every run: its log then is that run's alone, and no run finds it warmer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
import psutil

from crawler.bench.findings import Spread
from crawler.bench.measured_run import BenchError, metered
from crawler.bench.meter import ProcessCost
from crawler.bench.peers.peer_programs import PEERS, Peer, PeerTask, version
from crawler.bench.plan import WORKLOADS, BenchPlan, size
from crawler.bench.results import PeerRow
from crawler.bench.sites import Nginx, documentation, unavailable_reason
from crawler.demo.process import DemoWeb
from crawler.errors import ConfigError

LIMIT = 300.0  # seconds for one run


class PeerWorkload(msgspec.Struct, frozen=True):
    """A site and a width. `serial`: whether those who fetch one at a time take part."""

    workload: str
    concurrency: int
    pages: int = 0
    serial: bool = True


class PeerRun(msgspec.Struct, frozen=True):
    """One peer's one run."""

    cost: ProcessCost
    found: int
    twice: int
    other: int
    site: float  # CPU seconds
    asked: int  # all requests


QUICK: Final[tuple[PeerWorkload, ...]] = (PeerWorkload("latency-0", 64, 1000),)
FULL: Final[tuple[PeerWorkload, ...]] = (
    PeerWorkload("latency-0", 64, 2500),
    PeerWorkload("latency-100", 256, 1500, serial=False),
    PeerWorkload("docs", 16),
    PeerWorkload("docs", 64, serial=False),
)


def run_peers(plan: BenchPlan, progress: Callable[[str], None]) -> tuple[list[PeerRow], list[str]]:
    """All peers that are installed, on the workloads of a plan, and why the others are missing."""
    rounds = plan.rounds
    peer_workloads = FULL if plan.name == "full" else QUICK
    if plan.peer_workloads:
        peer_workloads = tuple(
            PeerWorkload(name, wide, _pages(name, wide)) for name, wide in plan.peer_workloads
        )
    there: list[tuple[Peer, str]] = []
    skipped: list[str] = []
    for peer in _chosen(plan.against):
        found = peer.needs()
        if found is None:
            skipped.append(f"{peer.name}: not installed ({peer.install})")
        else:
            there.append((peer, found))
    rows: list[PeerRow] = []
    for whole in peer_workloads:
        course = msgspec.structs.replace(
            whole, pages=whole.pages and size(whole.pages * plan.scale)
        )
        workload = WORKLOADS[course.workload]
        if workload.docs and (reason := unavailable_reason(workload.docs)):
            skipped.append(f"crawlers on {workload.name}: {reason}")
            continue
        runs: dict[str, list[PeerRun]] = {}
        running = [(p, at) for p, at in there if course.serial or not p.serial]
        for number in range(rounds):
            offset = number % len(running)
            for peer, found in running[offset:] + running[:offset]:
                progress(f"round {number + 1}/{rounds}: {peer.name} on {workload.name}")
                runs.setdefault(peer.name, []).append(_run(peer, found, course))
        pages = course.pages or max(run.found for run in runs["crawler"])
        rows += [
            _row(peer, version(peer, at), course, pages, runs[peer.name]) for peer, at in running
        ]
    return rows, skipped


def _chosen(against: Sequence[str]) -> Sequence[Peer]:
    """Our own crawler and the named peers. Raises ConfigError for an unknown name."""
    names = {peer.name for peer in PEERS}
    for name in against:
        if name not in names:
            raise ConfigError(f"no crawler {name!r}; there are: {', '.join(sorted(names))}")
    return [peer for peer in PEERS if not against or peer.name in {"crawler", *against}]


def _pages(name: str, concurrency: int) -> int:
    workload = WORKLOADS[name]
    return 0 if workload.docs else workload.pages(concurrency, 1.0)


def _run(peer: Peer, found: str, course: PeerWorkload) -> PeerRun:
    with TemporaryDirectory(prefix="crawler-peers-") as name:
        folder = Path(name)
        (folder / "out").mkdir()
        workload = WORKLOADS[course.workload]
        if workload.docs:
            with Nginx(documentation()[workload.docs]) as site:
                urls = sorted(site.root.rglob("*.html"))
                listed = [site.url + str(u.relative_to(site.root)) for u in urls]
                cost, used = _metered(peer, found, site.url, site.pid, course, listed, folder)
                log = [(line[5], int(line[2])) for line in map(_fields, site.lines())]
            pages = None
        else:
            path = folder / "access.jsonl"
            with DemoWeb(**workload.flags(course.pages), log=path) as web:
                listed = list(web.web.urls())
                cost, used = _metered(peer, found, web.url, web.pid, course, listed, folder)
                known = web.web
            log = [(line["path"], line["status"]) for line in web.requests()]
            pages = {known.path(number) for number in range(known.pages)}
        return _counted(cost, used, log, pages)


def _fields(line: str) -> list[str]:
    return line.split("\t")


def _metered(
    peer: Peer,
    found: str,
    url: str,
    pid: int,
    course: PeerWorkload,
    urls: Sequence[str],
    folder: Path,
) -> tuple[ProcessCost, float]:
    """The cost of one run, and the site's CPU seconds meanwhile. Raises BenchError."""
    listed = folder / "urls.txt"
    listed.write_text("\n".join(urls), "utf-8")
    errand = PeerTask(url, course.concurrency, folder / "out", listed)
    log = folder / "said.txt"
    before = _cpu(pid)
    cost = metered(peer.command(found, errand), folder, limit=LIMIT, log=log)
    used = _cpu(pid) - before
    # wget and wget2 say 8 for a link that was broken: the work is done all the same.
    if cost.code not in {0, 8}:
        last = log.read_text("utf-8", "replace").strip().splitlines()[-1:] or ["nothing last"]
        raise BenchError(f"{peer.name} ended with code {cost.code}: {last[0]}")
    return cost, used


def _cpu(pid: int) -> float:
    first = psutil.Process(pid)
    times = [one.cpu_times() for one in (first, *first.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def _counted(
    cost: ProcessCost, used: float, log: Sequence[tuple[str, int]], pages: set[str] | None
) -> PeerRun:
    """`pages` None: whatever is HTML by its name, and was there."""
    good = Counter(path for path, status in log if status == 200)
    if pages is None:
        pages = {path for path in good if path.endswith((".html", "/"))}
    found = [path for path in good if path in pages]
    asked = sum(good[path] for path in found)
    return PeerRun(cost, len(found), asked - len(found), len(log) - asked, used, len(log))


def _row(
    peer: Peer, number: str, course: PeerWorkload, pages: int, runs: Sequence[PeerRun]
) -> PeerRow:
    last = runs[-1]
    done = [run.asked if peer.is_limit else run.found for run in runs]
    rates = [n / run.cost.wall for n, run in zip(done, runs, strict=True)]
    cpus = [
        (run.cost.user + run.cost.system) * 1000 / max(n, 1)
        for n, run in zip(done, runs, strict=True)
    ]
    return PeerRow(
        name=peer.name,
        version=number,
        site=WORKLOADS[course.workload].title,
        pages=pages,
        concurrency=course.concurrency,
        found=min(last.found, pages) if peer.fixed else last.found,
        twice=0 if peer.fixed else last.twice,
        other=last.other,
        rate=Spread.of(rates),
        rates=tuple(rates),
        cpu=Spread.of(cpus),
        cpus=tuple(cpus),
        memory=max(run.cost.memory for run in runs) / 1e6,
        site_share=max(run.site / run.cost.wall for run in runs),
        is_limit=peer.is_limit,
    )
