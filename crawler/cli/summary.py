"""What the person sees at the end: what happened, what held it up, where it lies. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from crawler.cli.words import amount, duration, plain, size
from crawler.model import Counts
from crawler.tally import Snapshot, bottleneck

REASONS: Final = {
    "finished": "finished: every link in scope was visited",
    "max-pages": "reached --max-pages",
    "time-limit": "reached --time-limit",
    "size-limit": "reached --size-limit",
    "interrupted": "interrupted",
    "aborted": "stopped at once",
}

LISTED: Final = 12
"""Entries of one row at most."""


class Ending(msgspec.Struct, frozen=True):
    """How a crawl ended."""

    reason: str
    folder: Path
    shot: Snapshot
    counts: Counts
    troubles: tuple[tuple[str, str, str], ...] = ()  # seeds that failed: url, reason, target


def summary(ending: Ending) -> list[str]:
    """One line a row."""
    rows = _rows(ending)
    width = max(len(name) for name, _ in rows)
    return [f"{name:>{width}}  {text}" for name, text in rows]


def summary_json(ending: Ending) -> str:
    """The same for programs: one JSON object on one line."""
    tree = {
        "finish_reason": ending.reason,
        "dir": str(ending.folder),
        "counts": msgspec.to_builtins(ending.counts),
        "bottleneck": bottleneck(ending.shot),
        "seeds_failed": [
            {"url": url, "reason": reason, "leads_to": target or None}
            for url, reason, target in ending.troubles
        ],
        **msgspec.to_builtins(ending.shot, str_keys=True),
    }
    return msgspec.json.encode(tree).decode()


def _rows(ending: Ending) -> list[tuple[str, str]]:
    shot, counts, gauges = ending.shot, ending.counts, ending.shot.gauges
    pages = (
        f"{amount(shot.pages)} in {duration(shot.elapsed)} ({shot.pages_per_second:.1f}/s), "
        f"{size(shot.bytes_wire)} on the wire, {size(shot.bytes_body)} decoded"
    )
    rows = [
        ("ended", REASONS.get(ending.reason, ending.reason)),
        ("pages", pages),
        ("visits", f"{_list(shot.outcomes)}, {amount(shot.retries)} retries"),
    ]
    if shot.statuses:
        rows.append(("status", ", ".join(f"{amount(n)} × {s}" for s, n in shot.statuses.items())))
    if shot.reasons:
        rows.append(("reasons", _list(shot.reasons)))
    if shot.robots:
        rows.append(("robots", f"{_list(shot.robots)} (robots.txt that could not be had)"))
    rows += [("seed", told(*trouble)) for trouble in ending.troubles]
    urls = (
        f"{amount(counts.seen)} seen on {_hosts(counts.hosts)}: "
        f"{amount(counts.done)} done, {amount(counts.pending)} still queued, "
        f"{amount(counts.refused)} refused, {amount(counts.failed)} failed"
    )
    rows.append(("urls", urls))
    if shot.fetch_seconds:
        p50, p95, p99 = shot.fetch_ms
        rows.append(("fetch", f"{p50:.0f} ms median, {p95:.0f} ms p95, {p99:.0f} ms p99"))
    if len(shot.slowest) > 1:
        slow = (f"{plain(host.name, 60)} {host.mean_ms:.0f} ms" for host in shot.slowest)
        rows.append(("slowest", ", ".join(slow)))
    loop = (
        f"lag {gauges.lag_mean_ms:.0f} ms mean, {gauges.lag_max_ms:.0f} ms at most, "
        f"{gauges.loop_cpu:.1f} s CPU; parsing {gauges.child_cpu:.1f} s "
        f"in {gauges.processes} processes"
    )
    rows += [
        ("loop", loop),
        ("held up by", bottleneck(shot)),
        ("output", str(ending.folder)),
        ("next", _next(ending)),
    ]
    return rows


def told(url: str, reason: str, target: str) -> str:
    """A seed's failure in one line."""
    said = f"{plain(url, 300)} failed: {plain(reason, 200) or 'no answer'}"
    if target:
        said += f"; it leads to {plain(target, 300)}: start there, or widen --scope"
    elif reason == "robotsTxt":
        said += " (the site's robots.txt forbids it)"
    return said


def _next(ending: Ending) -> str:
    folder = shlex.quote(str(ending.folder))
    if ending.reason == "max-pages":
        more = ending.counts.done * 2 or 100
        return f"crawler resume {folder} --max-pages {more}"
    return f"crawler resume {folder}" if ending.counts.pending else f"crawler status {folder}"


def _hosts(number: int) -> str:
    return f"{amount(number)} host{'s' if number != 1 else ''}"


def _list(numbers: Mapping[str, int]) -> str:
    shown = [f"{amount(n)} {plain(name, 60)}" for name, n in list(numbers.items())[:LISTED]]
    if len(numbers) > LISTED:
        shown.append("…")
    return ", ".join(shown) or "none"
